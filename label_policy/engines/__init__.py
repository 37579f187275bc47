"""Engines that run a policy: SQL in five dialects, Polars, and a trace of one row."""
