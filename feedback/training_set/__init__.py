"""Training sets: rows, pairs and manifest, built from final labels."""
