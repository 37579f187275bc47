"""The lake: Delta tables, their schemas, and how DuckDB reads them."""
