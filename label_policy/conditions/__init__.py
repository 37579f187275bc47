"""Conditions: SQL text parsed, checked against an allow-list and typed."""
