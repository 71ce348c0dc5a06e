"""Several tables that hang together by keys: one law for each, of a row given its parent and its earlier siblings."""
