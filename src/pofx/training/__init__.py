"""Training: the one loop, and what it saves on the way."""
