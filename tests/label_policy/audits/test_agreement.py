"""Agreement between reviewers, and the order of disagreements."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_policy.audits.agreement import agreement, instructive


def test_alpha_is_krippendorffs() -> None:
    # Krippendorff (2011), "Computing Krippendorff's alpha-reliability", example A: two observers, ten units, binary.
    ann, bo = "0100000000", "1110010100"
    words = {"0": "desirable", "1": "undesirable"}
    verdicts = [
        (str(unit), who, words[value]) for who, answers in (("a", ann), ("b", bo)) for unit, value in enumerate(answers)
    ]
    result = agreement(verdicts)
    assert (result.rows, result.same) == (10, 0.6)
    assert result.alpha == pytest.approx(1 - 19 * 4 / (14 * 6)) == pytest.approx(0.095, abs=5e-4)


def test_what_nobody_decided_twice_says_nothing() -> None:
    result = agreement([("1", "a", "desirable"), ("1", "b", "unsure"), ("2", "a", "undesirable")])
    assert (result.rows, result.same, result.alpha) == (0, None, None)


def row(draft: str, answers: list[str], *, label="desirable", rule="r", stands_for=10.0, note=None) -> dict:
    verdicts = [{"verdict": verdict, "note": note} for verdict in answers]
    return {"draft_id": draft, "label": label, "rule": rule, "stands_for": stands_for, "verdicts": verdicts}


def test_the_heaviest_contradicted_by_several_or_explained_come_first() -> None:
    rows = [
        row("agreed", ["desirable"]),
        row("split", ["desirable", "undesirable"]),
        row("unknown", ["unsure"]),
        row("one", ["undesirable", "unsure"], rule="a"),
        row("two", ["undesirable", "undesirable"], rule="b"),
        row("noted", ["undesirable"], rule="c", note="the fee does not exist"),
        row("heavy", ["undesirable"], rule="d", stands_for=100.0),
    ]
    chosen = instructive(rows)
    assert [row["draft_id"] for row in chosen] == ["heavy", "noted", "two", "one"]
    assert chosen[0]["against"] == 1.0


def test_one_bad_rule_does_not_fill_the_list() -> None:
    bad = [row(f"b{number}", ["undesirable"], rule="bad", stands_for=12.0) for number in range(10)]
    other = [row("o", ["undesirable"], rule="other", stands_for=5.0)]
    assert [row["draft_id"] for row in instructive([*bad, *other], most=3)] == ["b0", "b1", "o"]


SAID = st.lists(st.sampled_from(["desirable", "undesirable", "unsure"]), min_size=1, max_size=3)


@given(st.lists(SAID, max_size=30), st.integers(0, 25))
def test_only_contradicted_rows_are_chosen_each_once(answers, most) -> None:
    rows = [row(f"d{place}", each, rule=f"r{place % 3}") for place, each in enumerate(answers)]
    chosen = [row["draft_id"] for row in instructive(rows, most)]
    against = [f"d{place}" for place, each in enumerate(answers) if each.count("undesirable") > each.count("desirable")]
    assert len(chosen) == len(set(chosen)) == min(most, len(against))
    assert set(chosen) <= set(against)
