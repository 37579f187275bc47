"""Interactions and labels by day, with their ledger, corrections and stale partitions."""
