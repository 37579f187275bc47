"""Rows, pairs, tokens and groups: what a model learns from."""
