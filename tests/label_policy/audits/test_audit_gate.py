"""The audit gate: when it opens and closes, the excluded tiers, and its messages."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_policy import Audit, Training
from label_policy.audits.audit_gate import AuditGate, Override, decide_gate
from label_policy.audits.precision import Estimate

AUDIT = {"precision": {"strong": 0.8, "weak": 0.6}, "per_class": 200}
ENOUGH = {"labels": {"desirable": 5000.0, "undesirable": 90.0}, "read": {"desirable": 200, "undesirable": 90}}
REVIEW = "`feedback-kto audit review`"


def tier_estimate(
    low: float | None, *, precision: float = 0.9, read: int = 100, sampled: int = 100, unsure: int = 0
) -> Estimate:
    return Estimate(
        labels=5000, sampled=sampled, read=read, unsure=unsure, precision=None if low is None else precision, low=low,
        high=None if low is None else 1.0, effective=read, covered=1.0,
    )  # fmt: skip


def decide(
    strong: Estimate, weak: Estimate, *, best: float = 0.0, failing: str = "exclude", override=None, **counts
) -> AuditGate:
    tiers = {"strong": strong, "weak": weak}
    return decide_gate(
        Audit(**AUDIT, failing=failing), Training(), tiers=tiers, override=override,
        at_best={tier: tier_estimate(max(best, each.low or 0)) for tier, each in tiers.items()}, **{**ENOUGH, **counts},
    )  # fmt: skip


def test_a_policy_that_asks_for_nothing_is_open() -> None:
    gate = decide_gate(Audit(), Training(), labels={}, read={}, tiers={}, at_best={})
    assert (gate.asked, gate.passed, gate.reasons) == (False, True, ())


def test_a_tier_that_does_not_train_is_not_asked_about() -> None:
    gate = decide_gate(
        Audit(precision={"weak": 0.9}), Training(tiers=("strong",)), labels={}, read={}, tiers={}, at_best={}
    )
    assert not gate.asked and gate.passed


def test_without_a_sample_it_is_shut_and_says_how_to_draw_one() -> None:
    gate = decide_gate(Audit(**AUDIT), Training(), labels={}, read={}, tiers={}, at_best={})
    assert not gate.passed
    assert "`feedback-kto audit draw` draws one" in gate.reasons[0]


def test_precise_tiers_pass() -> None:
    gate = decide(tier_estimate(0.85), tier_estimate(0.6))
    assert gate.passed and not gate.excluded and not gate.reasons
    assert {tier.outcome for tier in gate.tiers.values()} == {"passed"}


def test_too_few_rows_block_and_are_counted_by_class() -> None:
    gate = decide(tier_estimate(0.85), tier_estimate(0.7), read={"desirable": 143, "undesirable": 80})
    assert not gate.passed
    assert gate.missing == {"desirable": 57, "undesirable": 10}
    assert gate.reasons == (
        "57 desirable (of 200) and 10 undesirable (of 90) rows that the policy asks for are still to be read: "
        f"{REVIEW} shows them",
    )


def test_a_tier_that_fails_is_left_out_or_blocks() -> None:
    weak = tier_estimate(0.4, precision=0.5)
    gate = decide(tier_estimate(0.85), weak)
    assert gate.passed and gate.excluded == ("weak",)
    assert gate.notes == (
        "tier weak: 50.0% of its labels are right, at least 40.0% at 95% confidence by the 100 rows read, and the "
        "policy asks for 60.0%; it does not train",
    )
    gate = decide(tier_estimate(0.85), weak, failing="block")
    assert not gate.passed and gate.excluded == () and gate.reasons[0].startswith("tier weak: 50.0%")


def test_nothing_left_to_train_on_blocks() -> None:
    gate = decide(tier_estimate(0.1), tier_estimate(0.1))
    assert not gate.passed and "nothing is left" in gate.reasons[-1]


def test_a_tier_that_unread_rows_could_lift_is_not_excluded_but_waited_for() -> None:
    some = tier_estimate(0.5, read=30)
    gate = decide(tier_estimate(0.85), some, best=0.7)
    assert not gate.passed and gate.excluded == ()
    assert gate.reasons[0].endswith(f"70 rows drawn are still to be read: {REVIEW} shows them")
    # Where they could not, it has failed, and a few rows that are new in the draw do not undo that.
    gate = decide(tier_estimate(0.85), some, best=0.59)
    assert gate.passed and gate.excluded == ("weak",)
    assert decide(tier_estimate(0.85), some, best=0.6).tiers["weak"].outcome == "undecided", (
        "what is asked for is enough"
    )
    every = tier_estimate(0.5, read=100)
    assert decide(tier_estimate(0.85), every, best=0.9).tiers["weak"].outcome == "failed", (
        "no row is left that could lift it"
    )


def test_simulated_verdicts_are_counted_apart() -> None:
    weak = replace(tier_estimate(0.4, precision=0.5, read=1100, sampled=2000), simulated=900)
    assert decide(tier_estimate(0.85), weak).notes == (
        "tier weak: 50.0% of its labels are right, at least 40.0% at 95% confidence by 1,100 rows that people read and "
        "900 simulated ones, and the policy asks for 60.0%; it does not train",
    )


def test_nobody_could_tell_and_nobody_has_read_are_reported_apart() -> None:
    unread = decide(tier_estimate(0.9), tier_estimate(None, read=0), best=0.9).reasons[0]
    assert unread.startswith(
        "tier weak: nobody has read any of its rows, and the policy asks for 60.0%; 100 rows drawn"
    )
    unsure = decide(tier_estimate(0.9), tier_estimate(None, unsure=100)).notes[0]
    assert unsure.startswith("tier weak: nobody could tell of any of its rows, and the policy asks for 60.0%;")


def test_all_right_but_too_few_to_show_it_says_so() -> None:
    for precision in (1.0, 0.6):
        note = decide(tier_estimate(0.9), tier_estimate(0.55, precision=precision)).notes[0]
        assert "which so few rows cannot show; raise audit.floor or audit.per_class in the policy" in note
    assert "raise" not in decide(tier_estimate(0.9), tier_estimate(0.55, precision=0.59)).notes[0]


def override_for(*tiers: str) -> Override:
    return Override(
        override_id="o", who="Ann", why="the launch", expires_at=datetime(2026, 3, 9, tzinfo=UTC), tiers=tiers
    )


def test_an_override_opens_all_or_some_and_says_what_it_silenced() -> None:
    few = {"desirable": 0, "undesirable": 0}
    gate = decide(tier_estimate(0.85), tier_estimate(0.1), read=few, override=override_for())
    assert gate.passed and gate.excluded == () and len(gate.overridden) == 2
    assert gate.tiers["weak"].outcome == "overridden" and gate.tiers["strong"].outcome == "passed"
    gate = decide(tier_estimate(0.85), tier_estimate(0.1), read=few, override=override_for("weak"))
    assert not gate.passed and gate.excluded == (), "the tier is opened, and the rows are still missing"
    gate = decide(tier_estimate(0.1), tier_estimate(0.1), override=override_for("weak"))
    assert gate.passed and gate.excluded == ("strong",)
    unneeded = decide(tier_estimate(0.9), tier_estimate(0.9), override=override_for())
    assert unneeded.passed and unneeded.override is None, "what opened nothing is not recorded as having done so"


LOW = st.floats(0, 1)


@given(LOW, LOW, LOW, st.integers(0, 300), st.sampled_from(["exclude", "block"]))
def test_what_trains_without_an_override_is_precise_enough(strong, weak, best, read, failing) -> None:
    gate = decide(
        tier_estimate(strong, read=50),
        tier_estimate(weak),
        best=best,
        failing=failing,
        read={"desirable": read, "undesirable": 90},
    )
    if gate.passed:
        assert read >= 200
        assert strong >= 0.8 or "strong" in gate.excluded
        assert weak >= 0.6 or "weak" in gate.excluded
        assert failing == "exclude" or not gate.excluded
    else:
        assert gate.reasons


@pytest.mark.parametrize("override", [None, override_for("weak")])
def test_the_decision_is_plain_json(override) -> None:
    import json

    plain = json.loads(json.dumps(decide(tier_estimate(0.85), tier_estimate(0.1), override=override).as_dict()))
    assert plain["passed"] is True and (plain["override"] is None) == (override is None)
