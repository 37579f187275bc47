"""The error of an invalid policy file is one sentence with line, field and advice."""

import time
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from label_policy import Label, PolicyError, Rule, Tier, dump_policy, load_policy, parse_policy, shipped_policies

GOOD = """\
name: desk
version: 3
description: A desk.
owner: support
maturity:
  reopened: 7d
  escalated: 36h
rules:
  - id: down
    when: thumbs_down_at IS NOT NULL
    label: undesirable
    tier: explicit
    weight: 1.5
    why: The agent said so.
  - id: unclear
    when: edited_at IS NOT NULL
    label: abstain
    why: Not known.
"""


def test_a_good_file_is_read():
    policy = parse_policy(GOOD)
    assert (policy.name, policy.version, policy.id) == ("desk", 3, "desk.v3")
    assert policy.maturity == {"reopened": timedelta(days=7), "escalated": timedelta(hours=36)}
    down, unclear = policy.rules
    assert (down.label, down.tier, down.weight) == (Label.UNDESIRABLE, Tier.EXPLICIT, 1.5)
    assert (unclear.label, unclear.tier, unclear.weight) == (Label.ABSTAIN, None, 0.0)


@pytest.mark.parametrize("text, window", [("30m", timedelta(minutes=30)), ("45 s", timedelta(seconds=45))])
def test_windows(text, window):
    assert parse_policy(GOOD.replace("7d", text)).maturity["reopened"] == window


BAD = [
    # (replace this, by that, the line it is found in, what the message must hold)
    ("owner: support", "owner: support\nteam: x", 5, ["team", "not known", "the keys here are name, version"]),
    ("owner: support", "owner: support\nreading_sped: 50", 5, ["reading_sped", "did you mean 'reading_speed'?"]),
    ("    when: edited_at", "    whn: edited_at", 16, ["rule 'unclear': whn: ", "not known; did you mean 'when'?"]),
    ("owner: support\n", "", 1, ["owner", "missing"]),
    ("owner: support", "owner: ''", 4, ["owner", "empty"]),
    ("version: 3", "version: '3'", 2, ["version", "whole number"]),
    ("version: 3", "version: 0", 2, ["version", "a whole number of 1 or more; it is 0"]),
    ("version: 3", "version: 1.5", 2, ["version", "a whole number of 1 or more; it is 1.5"]),
    ("owner: support", "owner: 7", 4, ["owner", "must be text, in quotes"]),
    ("name: desk", "name: My Desk", 1, ["name", "My Desk", "lower-case letters, digits and -,"]),
    ("reopened: 7d", "reopend: 7d", 6, ["reopend", "did you mean 'reopened'"]),
    ("reopened: 7d", "weather: 7d", 6, ["weather", "the signals are accepted"]),
    ("reopened: 7d", "reopened: 7 fortnights", 6, ["maturity.reopened", "7 fortnights", "7d, 36h or 30m"]),
    ("reopened: 7d", "reopened: 7", 6, ["not a time span"]),
    ("reopened: 7d", "reopened: 0d", 6, ["longer than 0"]),
    ("reopened: 7d", "reopened: -1d", 6, ["not a time span"]),
    ("reopened: 7d", "reopened: 999999d", 6, ["at most ten years"]),
    ("reopened: 7d", "reopened: ٧d", 6, ["not a time span"]),
    ("reopened: 7d", "reopened: 7d\n  reopened: 8d", 7, ["'reopened'", "twice"]),
    ("id: unclear", "id: down", 15, ["rule 2: id: ", "already rule 1's"]),
    ("id: unclear", "id: no_rule", 15, ["rule 2: id: ", "no_rule"]),
    ("id: unclear", "id: Un-clear", 15, ["rule 2: id: ", "Un-clear", "digits and _,"]),
    ("when: edited_at IS", "when: category IN (SELECT 1) AND edited_at IS", 16, ["holds a subquery; list the values"]),
    ("    why: Not known.\n", "", 15, ["rule 'unclear': why: ", "missing"]),
    ("  - id: unclear\n    when", "  - when", 15, ["rule 2: id: ", "missing"]),
    (
        "  - id: unclear\n    when: edited_at",
        "  - id: 7\n    when: editd_at",
        15,
        ["rule 2: id: ", "(and 1 more problem)"],
    ),
    ("rules:\n", "rules:\n  - down\n", 9, ["rule 1: this must be keys with values"]),
    ("label: abstain", "label: maybe", 17, ["rule 'unclear': label: ", "maybe", "desirable"]),
    ("tier: explicit", "tier: gold", 12, ["rule 'down': tier: ", "gold", "critical"]),
    ("    tier: explicit\n", "", 9, ["rule 'down': tier: ", "needs a tier"]),
    ("    weight: 1.5\n", "", 9, ["rule 'down': weight: ", "needs a weight"]),
    ("tier: explicit", "tier: null", 12, ["needs a tier"]),
    ("weight: 1.5", "weight: -1", 13, ["rule 'down': weight: ", "0 or more"]),
    ("weight: 1.5", "weight: .nan", 13, ["rule 'down': weight: ", "finite"]),
    ("weight: 1.5", "weight: .inf", 13, ["finite"]),
    ("weight: 1.5", "weight: heavy", 13, ["'heavy' is not a number"]),
    ("weight: 1.5", "weight: true", 13, ["not a number"]),
    ("label: abstain", "label: abstain\n    weight: 1", 18, ["rule 'unclear': weight: ", "abstains"]),
    ("label: abstain", "label: abstain\n    tier: weak", 18, ["rule 'unclear': tier: ", "abstains"]),
    (
        "when: edited_at IS NOT NULL",
        "when: edited_att IS NOT NULL",
        16,
        ["rule 'unclear': when: ", "did you mean 'edited_at'"],
    ),
    ("when: edited_at IS NOT NULL", "when: true", 16, ["rule 'unclear': when: ", "quotes", "'TRUE'"]),
    ("when: edited_at IS NOT NULL", "when: 3", 16, ["rule 'unclear': when: ", "SQL text"]),
    ("when: edited_at IS NOT NULL", "when: >-\n      edited_at IS\n      NOT NULLL", 16, ["IS takes NULL only"]),
    ("rules:\n", "rules: none\nother:\n", 9, ["other", "not known; the keys here are", "(and 1 more problem)"]),
    ("name: desk", "name: &x desk", 1, ["anchors"]),
    ("owner: support", "owner: [support", 5, ["YAML", "indentation"]),
    ("owner: support", "\towner: support", 4, ["YAML"]),
    ("owner: support", "3: support", 4, ["key must be a word"]),
    ("owner: support", "owner: 2026-99-99", 4, ["quotes"]),
    ("owner: support", "owner: !!python/object:os.system x", 4, ["cannot be read"]),
    ("owner: support", "owner: " + "[" * 2000, 4, ["deeper"]),
    ("owner: support", "owner: a\x07", 4, ["character"]),
]


@pytest.mark.parametrize("old, new, line, parts", BAD, ids=[f"{new[:30]!r}" for _, new, _, _ in BAD])
def test_a_bad_file_names_line_and_field(tmp_path, old, new, line, parts):
    assert GOOD.count(old) == 1
    path = tmp_path / "desk.yaml"
    path.write_text(GOOD.replace(old, new), encoding="utf-8")
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert all(part in message for part in parts), message
    assert "\n" not in message


def test_a_misspelt_key_is_reported_first_and_once():
    two = GOOD.replace("    when: edited_at", "    whn: edited_at").replace("owner: support", "owner: ''")
    with pytest.raises(PolicyError, match=r"policy:16: rule 'unclear': whn: .* \(and 1 more problem\)"):
        parse_policy(two)


SECTIONS = """\
name: desk
version: 3
description: A desk.
owner: support
maturity: {reopened: 7d}
reading_speed: 40
terms: [store credit, premium]
rules:
  - id: rushed
    when: reopened_at IS NOT NULL OR seconds_to_decision < seconds_to_read
    label: undesirable
    tier: explicit
    weight: 1.5
    why: Read too fast.
sent_text:
  when: edit_kind = 'factual'
  tier: strong
  weight: 0.5
  why: It shows what would have been right.
audit:
  per_class: 100
  strata: [label, tier, rule]
  overlap: 0.2
  failing: block
  precision:
    explicit: 0.9
training:
  tiers: [explicit, strong]
  weights:
    strong: 0.5
"""


def test_the_sections_are_read_and_written():
    policy = parse_policy(SECTIONS)
    assert (policy.reading_speed, policy.terms) == (40.0, ("store credit", "premium"))
    assert policy.sent_text is not None and policy.sent_text.condition.columns == {"edit_kind"}
    audit = policy.audit
    assert (audit.per_class, audit.precision, audit.strata) == (100, {Tier.EXPLICIT: 0.9}, ("label", "tier", "rule"))
    assert (audit.overlap, audit.failing, audit.floor, audit.confidence) == (0.2, "block", 5, 0.95)
    assert policy.training.factors() == {Tier.EXPLICIT: 1.0, Tier.STRONG: 0.5}
    assert parse_policy(dump_policy(policy)) == policy


def test_without_sections_every_tier_trains_and_nothing_is_audited_by_tier():
    policy = parse_policy(GOOD)
    assert policy.training.factors() == dict.fromkeys(Tier, 1.0)
    assert (policy.audit.per_class, policy.audit.precision) == (200, {})
    assert (policy.sent_text, policy.reading_speed, policy.terms) == (None, None, ())
    assert parse_policy(dump_policy(policy)) == policy


def test_a_weight_of_nothing_is_written_too():
    policy = parse_policy(GOOD.replace("weight: 1.5", "weight: 0"))
    assert 0.0 in {rule.weight for rule in policy.rules if rule.label is not Label.ABSTAIN}
    assert parse_policy(dump_policy(policy)) == policy


BAD_SECTIONS = [
    ("reading_speed: 40", "reading_speed: 0", 6, "reading_speed: nobody reads 0 characters a second; write a number"),
    ("reading_speed: 40", "reading_speed: fast", 6, "reading_speed: 'fast' is not a number"),
    ("reading_speed: 40\n", "", 9, "rule 'rushed': when: seconds_to_read needs the policy's reading_speed; add one"),
    ("[store credit, premium]", "store credit", 7, "terms: this must be a list, as in [one, two]"),
    ("[store credit, premium]", "[premium, '!!']", 7, "terms[1]: '!!' is not a word or phrase"),
    (
        "  when: edit_kind = 'factual'",
        "  when: edit_kind = 'factua'",
        16,
        "sent_text.when: edit_kind is never 'factua",
    ),
    ("  tier: strong", "  tier: stron", 17, "sent_text.tier: there is no tier 'stron'; did you mean 'strong'?"),
    ("  why: It shows what would have been right.\n", "", 15, "sent_text.why: this key is missing; add it"),
    ("sent_text:", "sent_texts:", 15, "sent_texts: this key is not known"),
    ("  per_class: 100", "  per_class: 0", 21, "audit.per_class: "),
    ("[label, tier, rule]", "[label, tier, agent]", 22, "audit.strata[2]: there is no stratum column 'agent'; did you"),
    ("[label, tier, rule]", "[tier, rule]", 22, "audit.strata: 'label' is missing, but precision is measured by it"),
    ("[label, tier, rule]", "[label, tier, tier]", 22, "audit.strata: a column appears twice; list each once"),
    ("overlap: 0.2", "overlap: 20", 23, "audit.overlap: 20 is not a share of rows; write a number from 0 to 1"),
    (
        "failing: block",
        "failing: stop",
        24,
        "audit.failing: there is no consequence 'stop'; the consequences are exclude",
    ),
    ("failing: block", "floor: 0", 24, "audit.floor: this must be a whole number of 1 or more; it is 0"),
    ("failing: block", "confidence: 95", 24, "audit.confidence: 95 is not a confidence level; write a number"),
    ("failing: block", "suspects: -1", 24, "audit.suspects: '-1' is not a number of rows; write a whole number of 0"),
    ("failing: block", "overlaps: 0.2", 24, "audit.overlaps: this key is not known; did you mean 'overlap'?"),
    ("explicit: 0.9", "explicit: 90", 26, "audit.precision.explicit: 90 is not a share of correct labels"),
    (
        "explicit: 0.9",
        "gold: 0.9",
        26,
        "audit.precision.gold: there is no tier 'gold'; the tiers are critical",
    ),
    ("[explicit, strong]", "explicit", 28, "training.tiers: this must be a list"),
    ("[explicit, strong]", "[explict]", 28, "training.tiers[0]: there is no tier 'explict'; did you mean 'explicit'?"),
    ("[explicit, strong]", "[]", 28, "training.tiers: no tier trains; list at least one of"),
    ("    strong: 0.5", "    strong: -1", 30, "training.weights.strong: -1 is not a weight"),
    ("maturity: {reopened: 7d}", "maturity: 7d", 5, "maturity: this must be keys with values"),
    ("id: rushed", "id: sent_text", 9, "rule 1: id: 'sent_text' is the rule of texts that agents sent"),
]


@pytest.mark.parametrize("old, new, line, message", BAD_SECTIONS, ids=[new or old for old, new, *_ in BAD_SECTIONS])
def test_a_bad_section_names_line_and_field(old, new, line, message):
    assert SECTIONS.count(old) == 1
    with pytest.raises(PolicyError) as caught:
        parse_policy(SECTIONS.replace(old, new))
    assert str(caught.value).startswith(f"policy:{line}: {message}"), str(caught.value)


def test_several_problems_name_the_first_and_count_the_others():
    text = GOOD.replace("tier: explicit", "tier: gold").replace("label: abstain", "label: maybe")
    with pytest.raises(PolicyError, match=r"^policy:12: rule 'down': tier: .* \(and 1 more problem\)$"):
        parse_policy(text)


@pytest.mark.parametrize(
    "content, part",
    [
        (b"", "a policy is a mapping"),
        (b"- a\n- b\n", "a policy is a mapping"),
        (b"just text", "a policy is a mapping"),
        (b"name: desk\n\xff\xfe", ":2: the file is not UTF-8"),
        (b"a: 1\n---\nb: 2\n", ":2: the YAML cannot be read"),
        (b"x" * 300_000, "larger than"),
    ],
)
def test_files_that_are_no_policy(tmp_path, content, part):
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(PolicyError) as caught:
        load_policy(path)
    assert str(path) in str(caught.value) and part in str(caught.value)


def test_files_that_cannot_be_opened(tmp_path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(PolicyError, match="cannot be read"):
            load_policy(path)


def test_a_file_of_the_largest_size_fails_fast():
    text = GOOD.replace("edited_at IS NOT NULL", ">-\n      agent_id = '" + "x" * 250_000 + "'")
    start = time.perf_counter()
    with pytest.raises(PolicyError, match="at most 10,000"):
        parse_policy(text)
    assert time.perf_counter() - start < 2


def test_a_weight_of_minus_zero_is_zero():
    texts = [GOOD.replace("weight: 1.5", f"weight: {zero}") for zero in ("0", "0.0", "-0.0", "-0")]
    assert len({parse_policy(text).digest for text in texts}) == 1
    assert "-0" not in dump_policy(parse_policy(texts[2]))


def test_the_model_is_frozen_and_strict_in_python_too():
    rule = Rule(id="a", when="TRUE", label="desirable", tier="weak", weight=1, why="x")
    with pytest.raises(ValidationError):
        rule.weight = 2.0
    with pytest.raises(ValidationError, match="did you mean 'edited_at'"):
        Rule(id="a", when="edit_at IS NULL", label="abstain", why="x")


def test_shipped_policies_are_named_after_what_they_hold():
    shipped = shipped_policies()
    assert list(shipped) == ["coauthor.v1", "harbor-support.v1", "harbor-support.v2", "star.v1", "taskmaster.v1"]
    for name, path in shipped.items():
        assert isinstance(path, Path) and load_policy(path).id == name


def test_a_policy_needs_rules_and_not_too_many():
    head = GOOD[: GOOD.index("rules:")]
    with pytest.raises(PolicyError, match=r"^policy:8: rules: a policy has 1 to 200 rules, but this one has 0$"):
        parse_policy(head + "rules: []\n")
    rules = "".join(f"  - {{id: r{i}, when: 'TRUE', label: abstain, why: x}}\n" for i in range(201))
    with pytest.raises(PolicyError, match="this one has 201"):
        parse_policy(head + "rules:\n" + rules)
