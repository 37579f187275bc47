"""Check bounds on a condition's text in one pass before any parser sees it.

The parser is recursive and accepts far more than a condition needs: statements, comments, quoted identifiers, escapes.
Those characters are refused here, and length and nesting bounded, so the parsed text is small, flat and visible.
"""

import re
import unicodedata

from label_policy.exceptions import PolicyError

MAX_LENGTH = 10_000
"""The longest condition, in characters. The longest shipped one has about 300."""

MAX_NESTING = 16
"""Maximum nesting of parentheses and CASE."""

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.,()<>=!+-*/ \t\r\n")
_ADVICE = {
    ";": "a condition is one expression; remove the ';' and what follows it",
    '"': "write column names plainly and text in 'single quotes'",
    "`": "write column names plainly and text in 'single quotes'",
    "%": "'%' belongs inside a LIKE pattern, and there is no modulo",
    ":": "casts with '::' are not allowed; compare values of one type",
    "|": "joining text with '||' is not allowed; compare the columns one by one",
    "[": "lists and indices are not allowed; use list_contains(reasons, 'x')",
    "{": "structures are not allowed",
    "#": "comments are not allowed; say it in the rule's 'why'",
}
_UNARY_RUN = re.compile(r"(?:(?:\bNOT\b|[-+])\s*){4}", re.IGNORECASE)
_STRING_PREFIX = re.compile(r"[A-Za-z0-9_]'")
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*|[()]")


def check_text(text: str) -> None:
    """Check length, characters, quotes and nesting of a condition.

    Raises:
        PolicyError: names the broken bound, its place, and what to do instead.

    """
    if len(text) > MAX_LENGTH:
        raise PolicyError(
            f"the condition has {len(text):,} characters, but at most {MAX_LENGTH:,} are allowed; "
            "split it into several rules"
        )
    if not text.strip():
        raise PolicyError("the condition is empty; write TRUE for a rule that always holds")
    code = _without_strings(text)
    for mark in ("--", "/*"):
        if mark in code:
            raise PolicyError(f"the condition has a comment ('{mark}'); say it in the rule's 'why' instead")
    if _STRING_PREFIX.search(code):
        raise PolicyError(
            "a letter or digit stands right before a text literal; put a space between them, or remove it"
        )
    if _UNARY_RUN.search(code):
        raise PolicyError("the condition repeats NOT or a sign four times in a row; simplify it")
    _check_nesting(code)


def _without_strings(text: str) -> str:
    """Return `text` without the content of its text literals; checks each character outside of them."""
    outside: list[str] = []
    quoted = False
    for position, character in enumerate(text):
        if character == "'":
            quoted = not quoted
            outside.append(character)
        elif not quoted:
            if character not in _PLAIN:
                raise PolicyError(_foreign(character, position))
            outside.append(character)
        elif not (character.isprintable() or character in "\t\n"):
            raise PolicyError(
                f"the text literal around character {position + 1} holds {_name(character)}, "
                "which cannot be seen; remove it"
            )
    if quoted:
        raise PolicyError("a text literal is not closed; end it with a single quote, and double a quote inside it ('')")
    # A doubled quote is one quote inside a literal: without the pair the text still has one literal.
    return "".join(outside).replace("''''", "''")


def _foreign(character: str, position: int) -> str:
    other = (
        "it has no meaning in a condition" if character.isascii() else "write plain ASCII outside of 'text literals'"
    )
    advice = _ADVICE.get(character, other)
    return f"the condition has {_name(character)} at character {position + 1}: {advice}"


def _name(character: str) -> str:
    shown = f"'{character}'" if character.isprintable() else f"U+{ord(character):04X}"
    if character.isascii() and character.isprintable():
        return shown
    return f"{shown} ({unicodedata.name(character, 'an unnamed character')})"


def _check_nesting(code: str) -> None:
    depth = 0
    for word in _WORD.findall(code):
        upper = word.upper()
        if upper in ("(", "CASE"):
            depth += 1
        elif upper in (")", "END"):
            depth -= 1
        if depth > MAX_NESTING:
            raise PolicyError(
                f"the condition nests parentheses or CASE deeper than {MAX_NESTING} levels; "
                "simplify it or split it into several rules"
            )
