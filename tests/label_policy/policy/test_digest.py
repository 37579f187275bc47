"""The digest follows the meaning: no spelling changes it, every change of meaning does."""

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import Condition, PolicyError, Tier, load_policy, parse_condition, parse_policy, shipped_policies
from label_policy.engines.dialects import in_dialect
from label_policy.policy.digest import meaning_digest
from label_policy.policy.model import _IN_EVERY_DIGEST
from tests.label_policy.generated import Conditions

BASE = """\
name: desk
version: 1
description: A desk.
owner: support
maturity:
  reopened: 7d
  escalated: 36h
rules:
  - id: down
    when: thumbs_down_at IS NOT NULL AND edit_similarity < 0.6
    label: undesirable
    tier: explicit
    weight: 1.0
    why: The agent said so.
  - id: kept
    when: accepted_at > shown_at + INTERVAL 1 DAY AND category NOT LIKE 'x%'
    label: desirable
    tier: weak
    weight: 0.5
    why: It was kept.
"""

SAME = {
    "comments and blank lines": ("rules:", "\n# the rules\nrules:  # in order\n"),
    "another window unit": ("reopened: 7d", "reopened: 168h"),
    "the order of windows": ("  reopened: 7d\n  escalated: 36h", "  escalated: 36h\n  reopened: 7d"),
    "the order of keys": ("    tier: explicit\n    weight: 1.0", "    weight: 1.0\n    tier: explicit"),
    "another number format": ("weight: 1.0", "weight: 1"),
    "another number format in SQL": ("0.6", "0.60"),
    "case and space in SQL": ("thumbs_down_at IS NOT NULL AND", "Thumbs_Down_At  is   not null and"),
    "a folded condition": ("when: thumbs_down_at IS NOT", "when: >-\n      thumbs_down_at\n      IS NOT"),
    "parentheses": ("edit_similarity < 0.6", "((edit_similarity) < 0.6)"),
    "NOT in another place": ("thumbs_down_at IS NOT NULL", "NOT thumbs_down_at IS NULL"),
    "NOT before LIKE": ("category NOT LIKE 'x%'", "NOT category LIKE 'x%'"),
    "another interval unit": ("INTERVAL 1 DAY", "INTERVAL '24 hours'"),
    "why": ("The agent said so.", "Ask the agent."),
    "description": ("A desk.", "The desk."),
    "owner": ("owner: support", "owner: quality"),
    "name": ("name: desk", "name: counter"),
    "version": ("version: 1", "version: 2"),
    "what is the default of an audit": ("rules:\n", "audit: {overlap: 0.1, floor: 5, failing: exclude}\nrules:\n"),
}
OTHER = {
    "a rule's id": ("id: down", "id: thumb"),
    "a bound": ("0.6", "0.61"),
    "an operator": ("< 0.6", "<= 0.6"),
    "a connector": ("NOT NULL AND", "NOT NULL OR"),
    "a column": ("thumbs_down_at", "thumbs_up_at"),
    "a negation": ("thumbs_down_at IS NOT NULL", "thumbs_down_at IS NULL"),
    "a pattern's case": ("'x%'", "'X%'"),
    "a function": ("category NOT", "lower(category) NOT"),
    "a like": ("NOT LIKE", "LIKE"),
    "an ilike": ("NOT LIKE", "NOT ILIKE"),
    "grouping": (
        "accepted_at > shown_at + INTERVAL 1 DAY AND category NOT LIKE 'x%'",
        "NOT (accepted_at > shown_at + INTERVAL 1 DAY AND category NOT LIKE 'x%')",
    ),
    "an interval": ("INTERVAL 1 DAY", "INTERVAL 1 HOUR"),
    "a sign": ("shown_at + INTERVAL", "shown_at - INTERVAL"),
    "a label": ("label: undesirable", "label: desirable"),
    "a tier": ("tier: weak", "tier: strong"),
    "a weight": ("weight: 0.5", "weight: 0.25"),
    "a window": ("reopened: 7d", "reopened: 8d"),
    "one window fewer": ("  escalated: 36h\n", ""),
    "how many people read": ("rules:\n", "audit: {overlap: 0.2}\nrules:\n"),
    "what becomes of a tier that fails": ("rules:\n", "audit: {failing: block}\nrules:\n"),
    "a window of another signal": ("escalated: 36h", "unresolved: 36h"),
}

WHOLE = f"""\
{BASE}
reading_speed: 20
terms: [Größe XL, basic plan]
sent_text: {{when: edit_kind = 'factual', tier: strong, weight: 0.5, why: It was sent.}}
audit:
  per_class: 100
  precision: {{strong: 0.8, weak: 0.55}}
  strata: [label, tier, rule]
  floor: 3
  overlap: 0.2
  failing: block
  confidence: 0.9
  suspects: 7
training: {{tiers: [explicit, strong], weights: {{strong: 0.6}}}}
"""
"""A policy with every section, each with values of its own."""

SAME_WHOLE = {
    "the case of terms": ("Größe XL", "GRÖSSE xl"),
    "the order of terms, and a term twice": ("[Größe XL, basic plan]", "[basic plan, Größe XL, Basic plan]"),
    "why an agent's text is trusted": ("It was sent.", "It is what was sent."),
    "the order of precisions": ("{strong: 0.8, weak: 0.55}", "{weak: 0.55, strong: 0.8}"),
    "the order of tiers that train": ("[explicit, strong]", "[strong, explicit]"),
    "a factor of 1": ("{strong: 0.6}", "{strong: 0.6, explicit: 1}"),
    "a factor of a tier that does not train": ("{strong: 0.6}", "{strong: 0.6, weak: 2}"),
}
OTHER_WHOLE = {
    "the reading speed": ("reading_speed: 20", "reading_speed: 21"),
    "no reading speed": ("reading_speed: 20\n", ""),
    "a term": ("basic plan", "basic plans"),
    "a term fewer": (", basic plan", ""),
    "when an agent's text is a row": ("edit_kind = 'factual'", "edit_kind <> 'factual'"),
    "the tier of an agent's text": ("tier: strong, weight: 0.5, why: It", "tier: weak, weight: 0.5, why: It"),
    "the weight of an agent's text": ("weight: 0.5, why: It", "weight: 0.75, why: It"),
    "rows to read of a class": ("per_class: 100", "per_class: 101"),
    "the precision asked for": ("strong: 0.8", "strong: 0.85"),
    "the tier it is asked for of": ("weak: 0.55", "explicit: 0.55"),
    "the strata": ("[label, tier, rule]", "[label, tier, category]"),
    "rows to read of a stratum": ("floor: 3", "floor: 4"),
    "the share that two people read": ("overlap: 0.2", "overlap: 0.3"),
    "what becomes of a tier that fails": ("failing: block", "failing: exclude"),
    "the confidence": ("confidence: 0.9", "confidence: 0.99"),
    "the suspects": ("suspects: 7", "suspects: 8"),
    "the tiers that train": ("[explicit, strong]", "[explicit, strong, weak]"),
    "a tier's factor": ("{strong: 0.6}", "{strong: 0.65}"),
}


def digest(old: str = "", new: str = "", *, of: str = BASE) -> str:
    assert of.count(old) == 1 or not old
    return parse_policy(of.replace(old, new) if old else of).digest


@pytest.mark.parametrize("change", SAME)
def test_spelling_leaves_the_digest(change):
    assert digest(*SAME[change]) == digest()


@pytest.mark.parametrize("change", OTHER)
def test_meaning_changes_the_digest(change):
    assert digest(*OTHER[change]) != digest()


@pytest.mark.parametrize("change", SAME_WHOLE)
def test_spelling_of_a_section_leaves_the_digest(change):
    assert digest(*SAME_WHOLE[change], of=WHOLE) == digest(of=WHOLE)


@pytest.mark.parametrize("change", OTHER_WHOLE)
def test_meaning_of_a_section_changes_the_digest(change):
    assert digest(*OTHER_WHOLE[change], of=WHOLE) != digest(of=WHOLE)


def test_the_order_of_rules_is_meaning():
    head, rules = BASE.split("rules:\n")
    down, kept = rules.split("  - id: kept")
    assert parse_policy(f"{head}rules:\n  - id: kept{kept}{down}").digest != digest()


def test_the_digest_is_written_down():
    """A change here makes every label ever written look as if its policy had changed: raise `digest.FORM` knowingly."""
    assert digest() == "7ca4f8e4e729863cc1eb772348ac79c82d007439187a5bebb84e6ecadb9d711a"
    assert digest(of=WHOLE) == "23fff198faa48e309789ff581104f317963003309b730282fbaac0f4936d9029"
    assert all(len(load_policy(path).digest) == 64 for path in shipped_policies().values())


def test_a_tier_that_comes_later_changes_the_digests_of_policies_that_give_it_alone(monkeypatch):
    """Otherwise a new tier would make every label ever written look as if its policy had changed."""
    others = BASE.replace("tier: weak", "tier: strong")
    with_all = [parse_policy(text).digest for text in (BASE, others)]
    monkeypatch.setattr("label_policy.policy.model._IN_EVERY_DIGEST", _IN_EVERY_DIGEST - {Tier.WEAK})
    as_if_weak_were_new = [parse_policy(text).digest for text in (BASE, others)]
    assert as_if_weak_were_new[0] == with_all[0]
    monkeypatch.setattr("label_policy.policy.sections.Tier", [tier for tier in Tier if tier is not Tier.WEAK])
    assert parse_policy(others).digest == as_if_weak_were_new[1]


def test_what_json_cannot_hold_has_no_digest():
    with pytest.raises(ValueError, match="JSON"):
        meaning_digest([float("nan")])


def spelled_otherwise(text: str, seed: int) -> str:
    """Change case, space and number formats outside of quotes, and put the whole in parentheses."""
    chance = random.Random(seed)
    parts = re.split(r"('(?:[^']|'')*')", text)
    for index, part in enumerate(parts[::2]):
        part = re.sub(r"[a-z]\w*", lambda word: chance.choice([str.upper, str.lower, str.title])(word[0]), part)
        part = re.sub(r"(?<![\w.])(\d+\.\d+)(?![\w.])", r"\g<1>0", part)
        parts[2 * index] = re.sub(r" ", lambda _: chance.choice([" ", "  ", "\n", "\t"]), part)
    return "( " + "".join(parts) + " )"


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1_000_000))
def test_no_spelling_changes_a_condition(seed):
    text = Conditions(seed).boolean(2)
    one, other = parse_condition(text), parse_condition(spelled_otherwise(text, seed))
    assert one.meaning == other.meaning
    assert (one.columns, one.signals) == (other.columns, other.signals)


SWAPS = [
    (" AND ", " OR "),
    (" < ", " <= "),
    (" = ", " <> "),
    (" + ", " - "),
    (" LIKE ", " ILIKE "),
    (" NOT NULL", " NULL"),
    (" NOT IN (", " IN ("),
    (" IS DISTINCT", " IS NOT DISTINCT"),
    (" BETWEEN ", " NOT BETWEEN "),
    ("shown_at", "decided_at"),
    ("category", "source"),
    ("survey_score", "edit_similarity"),
    ("'$.k'", "'$.j'"),
    ("lower(", "trim("),
    ("1 DAY", "2 DAY"),
    ("TRUE", "FALSE"),
    ("0.6", "0.61"),
    ("'", "' "),
    (", ", ", 'new', "),
    ("ELSE NULL", ""),
]


@settings(max_examples=600, deadline=None)
@given(st.integers(0, 1_000_000), st.sampled_from(SWAPS), st.floats(0, 1))
def test_a_change_of_meaning_changes_a_condition(seed, swap, place):
    old, new = swap
    text = Conditions(seed).boolean(2)
    places = [match.start() for match in re.finditer(re.escape(old), text)]
    if not places:
        return
    at = places[int(place * (len(places) - 1))]
    try:
        changed = parse_condition(text[:at] + new + text[at + len(old) :])
    except PolicyError:
        return
    same = same_labels(parse_condition(text), changed)
    assert changed.meaning != parse_condition(text).meaning or same


def same_labels(one: Condition, other: Condition) -> bool:
    """Return whether two conditions are the same query, equal on every row."""
    return in_dialect(one.tree, "duckdb") == in_dialect(other.tree, "duckdb")
