"""KTO compared with objectives that learn from pairs."""
