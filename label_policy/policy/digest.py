"""Compute a policy's digest: a hash of its meaning, equal for two spellings of one policy.

Included: the conditions' trees, the rules' ids and order, labels, tiers, weights, maturity windows, terms, reading
speed, the other sections. Excluded: comments, layout, key order and number formats of the file; ``why``,
``description`` and ``owner``, which are for readers; ``name`` and ``version``, which identify a policy and are stored
beside the digest. A rule's id is included, because every label carries it.
"""

import hashlib
import json

FORM = 3
"""Raised when the canonical form or the compiler changes what an unchanged policy means."""


def meaning_digest(meaning: object) -> str:
    """Return the SHA-256, in hexadecimal, of `meaning` (nested lists and dicts of JSON values) in canonical JSON."""
    text = json.dumps([FORM, meaning], sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
