"""Redact personal data that a pattern can recognise: each match is replaced by its type.

Patterns cost next to nothing. They match data in the usual formats, but not data that must be understood, such as names
and addresses (Presidio finds those, at a thousand times the cost). They replace too much rather than too little: every
number shaped like a card's or an IP address is replaced. The patterns are RE2, which DuckDB runs over whole columns.
"""

from __future__ import annotations

import duckdb

# In order: the most specific pattern first, so that a card number is not taken for a telephone number.
PATTERNS = {
    "EMAIL": r"[\pL\pN._%+\-]+@[\pL\pN.\-]+\.\pL{2,}",
    "IBAN": r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2}(?: ?\d{3}|(?: ?[A-Z0-9]{4}){1,5}(?: ?[A-Z0-9]{1,3})?)\b",
    "CARD": r"\b(?:\d{4}[ \-]?){3}\d{1,7}\b|\b3\d{3}[ \-]?\d{6}[ \-]?\d{5}\b",
    "SSN": r"\b\d{3}-\d{2}-\d{4}\b",
    "IP": r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b",
    "PHONE": r"\+\d{1,3}[ .\-]?(?:\(?\d{1,4}\)?[ .\-]?){2,4}\d{2,4}\b"
    r"|\(\d{3}\) ?\d{3}[ .\-]\d{4}\b|\b\d{3}[ .\-]\d{3}[ .\-]\d{4}\b|\b0\d{2,4} \d{3,4} \d{4}\b",
}


def install_redaction(connection: duckdb.DuckDBPyConnection) -> None:
    """Define the macros `redact(text)` and `redact_prompt(prompt)` on the connection."""
    expression = "text"
    for name, pattern in PATTERNS.items():
        expression = f"regexp_replace({expression}, '{pattern}', '[{name}]', 'g')"
    connection.execute(f"CREATE OR REPLACE TEMP MACRO redact(text) AS {expression}")
    connection.execute(
        "CREATE OR REPLACE TEMP MACRO redact_prompt(prompt) AS"
        " list_transform(prompt, lambda turn: {'role': turn.role, 'content': redact(turn.content)})"
    )
