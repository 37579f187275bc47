"""Training data: rows, pairs, tokens and groups."""
