"""Defines blank text, once for the SQL, the Polars expressions and the Python code.

Every engine defines white space differently (DuckDB's ``trim`` leaves line breaks, Spark's all but spaces), so the
characters are listed here and passed to each.
"""

WHITE_SPACE = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""The characters that ``trim`` removes from a text's ends: Unicode's white space and the four separators of ASCII,
like Python's ``str.strip``."""


def is_blank(text: str) -> bool:
    """Return whether a text is empty or only white space."""
    return not text.strip(WHITE_SPACE)
