"""A policy run by an engine: SQL in five dialects, Polars, and a trace of one row."""
