"""A policy's digest: a hash of what it means, so that two spellings of one policy are one policy.

In: the conditions' trees, the rules' ids and order, labels, tiers, weights, maturity windows, terms, reading speed, the
rest of the sections. Out: comments, layout, key order and number formats of the file; ``why``, ``description`` and
``owner``, which are for readers; ``name`` and ``version``, which identify a policy and are stored beside the digest. A
rule's id is in: it is written on every label.
"""

import hashlib
import json

FORM = 3
"""Raised when the canonical form or the compiler changes what an unchanged policy means."""


def meaning_digest(meaning: object) -> str:
    """Return the SHA-256, in hexadecimal, of `meaning` (nested lists and dicts of JSON values) in canonical JSON."""
    text = json.dumps([FORM, meaning], sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
