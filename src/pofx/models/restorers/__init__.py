"""Models that restore pictures."""
