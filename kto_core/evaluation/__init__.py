"""Evaluation on held-out rows, bootstrap intervals and the release gate."""
