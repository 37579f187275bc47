"""Explain one row from its history, and build past days again."""
