"""A plan's gates equal those of the audit's report right after the plan is applied and a sample drawn."""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audits.audit_outcome import measure_audit
from feedback.audits.overrides import open_gate
from feedback.audits.planned_gate import Auditing
from feedback.audits.sample import write_audit_sample
from feedback.audits.verdicts import Verdict, append_verdicts
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.tables import AUDIT_SAMPLE, LABELS
from feedback.policy_changes.apply import apply_plan, check_plan, confirm_applied
from feedback.policy_changes.backfill_plan import Plan, plan_change
from label_policy import Policy, dump_policy, parse_policy
from label_policy.audits.audit_gate import AuditGate, bounds
from tests.feedback.policy_changes.test_backfill_plan import DAYS, NOW, ONE, SENT, busy_days, fill, policies, policy

AUDIT = "audit: {{per_class: {per_class}, precision: {precision}, floor: 2, failing: {failing}}}\n"
"""The audit section to append to a policy of `test_backfill_plan`."""


def audited(text: str = ONE, *, per_class: int = 6, failing: str = "exclude", **precision: float) -> Policy:
    bounds_yaml = "{" + ", ".join(f"{tier}: {bound}" for tier, bound in precision.items()) + "}"
    return parse_policy(text + AUDIT.format(per_class=per_class, precision=bounds_yaml, failing=failing))


@pytest.fixture
def desk(lake: Lake) -> Lake:
    fill(lake, busy_days(80))
    return lake


def read(lake: Lake, *, wrong: Sequence[str] = (), share: float = 1.0, origin: str = "review") -> None:
    """Record verdicts on that share of the sample: only the labels of the `wrong` rules are wrong."""
    other = {"desirable": "undesirable", "undesirable": "desirable"}
    rows = lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    verdicts = [
        Verdict(
            draft_id=row["draft_id"],
            reviewer="Bo" if origin == "review" else "simulated-1",
            verdict=other[row["label"]] if row["rule"] in wrong else row["label"],
        )
        for row in rows[: round(share * len(rows))]
    ]
    append_verdicts(lake, verdicts, origin=origin)


def label(lake: Lake, by: Policy) -> None:
    write_labels(lake, by, DAYS, as_of=NOW)


def report(lake: Lake, by: Policy, *, simulated: bool = False) -> AuditGate:
    """Return the gate of `audit report` for the stored labels and their sample."""
    return measure_audit(lake, by, simulated=simulated).gate


def planned(lake: Lake, new: Policy, auditing: Auditing | None = None, **options: Any) -> Plan:
    return plan_change(lake, new, as_of=NOW, auditing=auditing or Auditing(), **options)


def applied(lake: Lake, new: Policy, plan: Plan, auditing: Auditing | None = None) -> AuditGate:
    """Return the report's gate after the plan is applied and a sample drawn."""
    auditing = auditing or Auditing()
    apply_plan(lake, new, plan)
    confirm_applied(lake, new, plan)
    write_audit_sample(lake, new, seed=auditing.seed, suspects=auditing.suspects())
    return report(lake, new, simulated=auditing.simulated)


@st.composite
def changes(draw: st.DrawFn) -> Policy:
    """Draw a policy of `test_backfill_plan` with an audit that usually requires some precision."""
    required = {
        tier: draw(st.sampled_from([0.01, 0.1, 0.5, 0.9]))
        for tier in draw(st.lists(st.sampled_from(["strong", "weak"]), unique=True))
    }
    audit = {
        "per_class": draw(st.integers(1, 12)),
        "precision": required,
        "floor": draw(st.integers(1, 3)),
        "failing": draw(st.sampled_from(["exclude", "block"])),
        "strata": draw(st.sampled_from([["label", "tier"], ["label", "tier", "rule", "category"]])),
        "suspects": draw(st.integers(0, 3)),
    }
    fields = yaml.safe_load(dump_policy(draw(policies())))
    return parse_policy(yaml.safe_dump(fields | {"audit": audit}))


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Labels of an earlier moment, some of them provisional, and drafts with later feedback."""
    lake = Lake(tmp_path_factory.mktemp("early") / "lake")
    then = NOW - timedelta(days=14)
    fill(lake, [row for row in busy_days() if row["occurred_at"] < then], as_of=then)
    write_labels(lake, audited(strong=0.1), DAYS, as_of=then)
    write_audit_sample(lake, audited(strong=0.1), seed=0)
    fill(lake, busy_days())
    return lake


@settings(max_examples=2, deadline=None)
@given(news=st.lists(changes(), min_size=2, max_size=2), seed=st.integers(0, 999))
def test_the_gate_of_a_plan_is_that_of_the_report_after_applying_and_drawing(
    early: Lake, news: list[Policy], seed: int
) -> None:
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        lake = Lake(Path(shutil.copytree(early.root, Path(folder) / "lake")))
        drafts = lake.dataset(LABELS).to_table(columns=["draft_id", "label"]).to_pylist()
        for new in news:
            read(lake, wrong=["edited"], share=chance.random(), origin=chance.choice(["review", "simulated"]))
            doubted = [(row["draft_id"], row["label"]) for row in chance.sample(drafts, 4)]
            auditing = Auditing(
                seed=chance.randrange(3), suspects=lambda suspects=doubted: suspects, simulated=chance.random() < 0.5
            )
            if bounds(new.audit, new.training) and chance.random() < 0.5:
                open_gate(lake, new, who="Ann", why="the launch")
            plan = planned(lake, new, auditing)
            assert plan.gates is not None
            then = applied(lake, new, plan, auditing)
            # Without a required precision, no verdicts are read.
            assert plan.gates.after == (then if then.asked else replace(then, simulated=False))


def test_the_old_side_is_what_the_report_says_now(desk: Lake) -> None:
    old, new = audited(strong=0.5, explicit=0.5), audited(ONE + SENT, strong=0.5)
    label(desk, old)
    plan = planned(desk, new)
    assert plan.gates is not None and plan.gates.before is not None
    assert "no audit sample" in plan.gates.before.reasons[0], "the stored labels' own sample is what counts"
    write_audit_sample(desk, old, seed=0)
    read(desk)
    plan = planned(desk, new)
    assert plan.gates is not None and plan.gates.before == report(desk, old)
    assert plan.gates.before.passed
    # Between two policies, neither side's labels need be stored, so both samples are planned ones.
    of_two = planned(desk, new, before=old).gates
    assert of_two is not None and of_two.before is not None and of_two.before.passed
    assert of_two.after == plan.gates.after


def test_what_failed_its_audit_trains_on_neither_side(desk: Lake) -> None:
    old = audited(explicit=0.5, strong=0.5)
    label(desk, old)
    write_audit_sample(desk, old, seed=0)
    read(desk, wrong=["down"])
    plan = planned(desk, audited(strong=0.5))
    assert plan.gates is not None and plan.gates.before is not None
    assert (plan.gates.before.excluded, plan.gates.after.excluded) == (("explicit",), ())
    moves = {(move["before"], move["after"]): move["rows"] for move in plan.figures["training"]}
    explicit = [row for row in desk.dataset(LABELS).to_table().to_pylist() if row["tier"] == "explicit"]
    assert moves[None, "undesirable"] == sum(row["state"] == "final" for row in explicit)
    balance = plan.figures["balance"]
    assert balance["after"]["undesirable"] == balance["before"]["undesirable"] + moves[None, "undesirable"]
    assert balance["after"]["lambda_bounds"] != balance["before"]["lambda_bounds"]


def test_verdicts_move_the_gate_and_not_the_id(desk: Lake) -> None:
    old, new = audited(strong=0.5), audited(ONE + SENT, strong=0.5)
    label(desk, old)
    write_audit_sample(desk, old, seed=0)
    closed = planned(desk, new)
    read(desk)
    opened = planned(desk, new)
    assert closed.gates is not None and opened.gates is not None
    assert (closed.gates.after.passed, opened.gates.before.passed) == (False, True)  # type: ignore[union-attr]
    assert closed.gates.after.missing != opened.gates.after.missing
    check_plan(opened, closed.id)
    assert plan_change(desk, new, as_of=NOW).id == closed.id, "nor does asking for the gates"


def test_nothing_is_drawn_where_no_audit_is_asked_for(desk: Lake) -> None:
    label(desk, policy())

    def suspects() -> Sequence[tuple[str, str]]:
        raise AssertionError("nobody asks for a sample")

    gates = planned(desk, policy(ONE + SENT), Auditing(suspects=suspects)).gates
    assert gates is not None and gates.before is not None
    assert not gates.before.asked and not gates.after.asked


def test_an_override_ends_with_its_policy(desk: Lake) -> None:
    old, new = audited(strong=0.5), audited(strong=0.6)
    label(desk, old)
    override = open_gate(desk, old, who="Ann", why="the launch")
    plan = planned(desk, new)
    assert plan.ending == override
    assert plan.gates is not None and plan.gates.before is not None
    assert plan.gates.before.passed and not plan.gates.after.passed
    assert planned(desk, old).ending is None
    assert planned(desk, new, before=old).ending is None, "nothing is applied by comparing two policies"
    assert json.loads(json.dumps(plan.as_dict()["gates"]))["before"]["override"]["who"] == "Ann"


def test_a_plan_with_gates_writes_nothing(desk: Lake) -> None:
    old = audited(strong=0.5)
    label(desk, old)
    write_audit_sample(desk, old, seed=0)
    read(desk)
    before = {path: path.stat().st_mtime_ns for path in desk.root.rglob("*") if path.is_file()}
    planned(desk, audited(ONE + SENT, strong=0.5, weak=0.5))
    assert {path: path.stat().st_mtime_ns for path in desk.root.rglob("*") if path.is_file()} == before
