"""A desk: its settings, its lock and its folders."""
