"""Plans on a lake of handwritten events, compared with `build_labels` under both policies, and applied."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.exceptions import FeedbackError
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.labels import build_labels
from feedback.labels.ledger import days_behind, entries
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS
from feedback.policy_changes import apply
from feedback.policy_changes.apply import apply_plan, check_plan, confirm_applied
from feedback.policy_changes.backfill_plan import Plan, plan_change
from label_policy import Policy, parse_policy

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAYS = [date(2026, 3, 2) + timedelta(days=day) for day in range(4)]
NOW = datetime(2026, 3, 20, tzinfo=UTC)
VERDICT = ("rule", "label", "tier", "weight", "matures_at")
CONDITIONS = {
    "down": "thumbs_down_at IS NOT NULL",
    "reopened": "reopened_at IS NOT NULL",
    "rewritten": "edit_similarity < 0.6 OR edit_kind = 'factual'",
    "edited": "edited_at IS NOT NULL",
    "quick": "seconds_to_decision < 60",
    "late_days": "shown_at >= TIMESTAMPTZ '2026-03-04 00:00:00+00'",
    "accepted": "accepted_at IS NOT NULL",
}
ONE = """
name: desk
version: 1
description: for a test
owner: nobody
maturity: {reopened: 3d}
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1.0, why: Thumb down.}
  - {id: edited, when: edited_at IS NOT NULL, label: undesirable, tier: strong, weight: 0.5, why: It was changed.}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: It was sent.}
"""
SENT = "sent_text: {when: edited_at IS NOT NULL, tier: weak, weight: 0.5, why: What the agent wrote instead.}\n"
STRONG_ONLY = "training: {tiers: [strong]}\n"


def policy(text: str = ONE, *changes: tuple[str, str]) -> Policy:
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_policy(text)


def event(number: int, kind: str, at: datetime, **fields: Any) -> dict[str, Any]:
    return {
        **dict.fromkeys(EVENTS.schema.names), "event_id": f"e{number}", "kind": kind, "occurred_at": at,
        "received_at": at, "source": "test", "arrival_date": at.date(), "file": "log.jsonl", "line": number, **fields,
    }  # fmt: skip


def busy_days(drafts: int = 48) -> list[dict[str, Any]]:
    """Return drafts on four days with all mixtures of signals, the same on each call."""
    chance, events = random.Random(7), []
    for number in range(drafts):
        shown = START + timedelta(days=number % 4, minutes=number)
        about = {"draft_id": f"d{number}", "ticket_id": f"t{number}"}
        events.append(
            event(
                10 * number, "draft_shown", shown, **about, category=chance.choice(["billing", "refund"]),
                prompt=[{"role": "user", "content": f"write to ann{number}@example.com"}],
                completion=f"you get {number} back within 30 days",
            )
        )  # fmt: skip
        for place, kind in enumerate(("accepted", "edited", "thumbs_down", "reopened", "resolved")):
            if chance.random() < 0.4:
                final = chance.choice(["no", f"you get {number} back in 30 days"]) if kind == "edited" else None
                at = shown + timedelta(seconds=chance.choice([20, 90, 7200]), days=3 * (kind == "reopened"))
                scope = about if kind not in ("reopened", "resolved") else {"ticket_id": about["ticket_id"]}
                events.append(event(10 * number + 1 + place, kind, at, **scope, final_text=final))
    events.append(event(10**6, "resolved", NOW - timedelta(days=2), ticket_id="another"))
    return events


def fill(lake: Lake, events: Sequence[dict[str, Any]], *, as_of: datetime = NOW) -> None:
    table = pa.Table.from_pylist(list(events), schema=EVENTS.schema)
    lake.replace(EVENTS, table, sorted(set(table.column("arrival_date").to_pylist())))
    write_interactions(lake, DAYS, as_of=as_of)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake whose labels each example writes again."""
    lake = Lake(tmp_path_factory.mktemp("shared") / "lake")
    fill(lake, busy_days())
    return lake


@pytest.fixture
def desk(lake: Lake) -> Lake:
    """The same drafts, labelled by policy ONE."""
    fill(lake, busy_days())
    write_labels(lake, policy(), DAYS, as_of=NOW)
    return lake


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    names = draw(st.lists(st.sampled_from(sorted(CONDITIONS)), min_size=1, unique=True))
    rules = []
    for name in names:
        label = draw(st.sampled_from(["desirable", "undesirable", "abstain"]))
        rule = {"id": name, "when": CONDITIONS[name], "label": label, "why": "for a test"}
        if label != "abstain":
            rule |= {
                "tier": draw(st.sampled_from(["strong", "weak"])),
                "weight": draw(st.sampled_from([0.0, 0.5, 1.0])),
            }
        rules.append(rule)
    text = {
        "name": "drawn", "version": 1, "description": "drawn", "owner": "nobody", "rules": rules,
        "maturity": draw(st.sampled_from([{}, {"reopened": "2d"}, {"reopened": "30d"}])),
        "terms": draw(st.sampled_from([[], ["back"]])),
        "training": {"tiers": draw(st.sampled_from([["strong"], ["strong", "weak"]]))},
    }  # fmt: skip
    if draw(st.booleans()):
        text["sent_text"] = {
            "when": draw(st.sampled_from([*CONDITIONS.values()])),
            "tier": "weak",
            "weight": 1.0,
            "why": ".",
        }
    return parse_policy(yaml.safe_dump(text))


def verdicts(rows: pa.Table) -> dict[tuple[date, str], dict[str, Any]]:
    return {(row["shown_date"], row["draft_id"]): row for row in rows.to_pylist()}


def differences(old: dict, new: dict) -> dict[tuple[date, str], tuple[Any, Any]]:
    """Return the rows whose labels differ, with both labels; None for a missing one."""
    both = {
        place: tuple(side.get(place) and tuple(side[place][name] for name in VERDICT) for side in (old, new))
        for place in old.keys() | new.keys()
    }
    return {place: pair for place, pair in both.items() if pair[0] != pair[1]}


def trained(rows: dict, by: Policy) -> Counter:
    factors = by.training.factors()
    return Counter(
        row["label"]
        for row in rows.values()
        if row["state"] == "final" and row["tier"] and row["weight"] * factors.get(row["tier"], 0.0) > 0
    )


def balance(plan: Plan, side: str) -> Counter:
    counts = plan.figures["balance"][side]
    return Counter({label: counts[label] for label in ("desirable", "undesirable") if counts[label]})


@settings(max_examples=6, deadline=None)
@given(old=policies(), new=policies())
def test_a_plan_counts_what_build_labels_says_under_both(shared: Lake, old: Policy, new: Policy) -> None:
    plan = plan_change(shared, new, before=old, as_of=NOW)
    olds, news = (verdicts(build_labels(shared, by, DAYS, as_of=NOW)) for by in (old, new))
    changed = differences(olds, news)
    assert plan.changed == len(changed)
    assert plan.days == sorted({day for day, _ in changed})
    assert {(row["before"], row["after"]): row["rows"] for row in plan.figures["labels"]} == Counter(
        tuple(side[place]["label"] if place in side else "none" for side in (olds, news))
        for place in olds.keys() | news.keys()
    )
    assert (balance(plan, "before"), balance(plan, "after")) == (trained(olds, old), trained(news, new))
    assert {(row["shown_date"], row["draft_id"]) for row in plan.examples} <= changed.keys()
    assert len(plan.examples) == min(20, len(changed))
    assert plan_change(shared, new, before=new, as_of=NOW).changed == 0


@settings(max_examples=4, deadline=None)
@given(old=policies(), new=policies())
def test_what_is_applied_is_what_was_planned(shared: Lake, old: Policy, new: Policy) -> None:
    write_labels(shared, old, DAYS, as_of=NOW)
    before = verdicts(shared.dataset(LABELS).to_table())
    plan = plan_change(shared, new, as_of=NOW)
    applied = apply_plan(shared, new, plan)
    confirmed = confirm_applied(shared, new, plan)
    after = verdicts(shared.dataset(LABELS).to_table())
    assert len(differences(before, after)) == plan.changed
    assert applied.days == plan.days
    assert sorted([*applied.days, *confirmed]) == (DAYS if old.digest != new.digest else [])
    assert {row["policy_digest"] for row in after.values() if row["shown_date"] not in plan.days} <= {old.digest}
    assert days_behind(shared, new) == ([], len({day for day, _ in after}))
    assert balance(plan, "after") == trained(after, new), "the plan says what would train then"
    again = plan_change(shared, new, as_of=NOW)
    assert (again.changed, again.late) == (0, 0)


def test_a_plan_writes_nothing(desk: Lake) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in desk.root.rglob("*") if path.is_file()}

    before = files()
    assert plan_change(desk, policy(ONE + SENT), as_of=NOW).changed > 0
    assert files() == before


def test_only_the_days_that_change_are_labelled_again(desk: Lake) -> None:
    new = policy(
        ONE, ("rules:\n", f'rules:\n  - {{id: late, when: "{CONDITIONS["late_days"]}", label: abstain, why: .}}\n')
    )
    plan = plan_change(desk, new, as_of=NOW)
    assert plan.days == DAYS[2:]
    version = desk.version(LABELS) or 0
    apply_plan(desk, new, plan, run_id="apply")
    confirm_applied(desk, new, plan)
    assert desk.version(LABELS) == version + 1, "one commit"
    assert [entry.how for entry in entries(desk, "labels")] == ["confirmed", "confirmed", "built", "built"]
    assert {entry.policy_digest for entry in entries(desk, "labels")} == {new.digest}
    by_day = {row["shown_date"]: row["policy_digest"] for row in desk.dataset(LABELS).to_table().to_pylist()}
    assert by_day == {day: policy().digest if day in DAYS[:2] else new.digest for day in DAYS}


def test_a_policy_that_only_trains_less_changes_no_label_and_writes_none(desk: Lake) -> None:
    new = policy(ONE + STRONG_ONLY)
    plan = plan_change(desk, new, as_of=NOW)
    assert plan.changed == 0
    moves = {(move["before"], move["after"]): move["rows"] for move in plan.figures["training"]}
    assert moves["undesirable", None] > 0, "what thumbs say trained, and does not any more"
    version = desk.version(LABELS)
    assert apply_plan(desk, new, plan).days == []
    assert confirm_applied(desk, new, plan) == DAYS
    assert desk.version(LABELS) == version
    assert days_behind(desk, new) == ([], len(DAYS))
    assert balance(plan, "after") == trained(verdicts(desk.dataset(LABELS).to_table()), new)
    # The rows keep the digest of the policy that wrote them; the ledger's policy of their days is the new one.
    again = plan_change(desk, new, as_of=NOW)
    assert [policy.digest for policy in again.before] == [new.digest]
    assert balance(again, "before") == balance(again, "after") == balance(plan, "after")


def test_nothing_is_confirmed_where_the_plan_does_not_come_true(desk: Lake) -> None:
    old, later = policy(), NOW + timedelta(hours=1)
    new = policy(
        ONE, ("rules:\n", f'rules:\n  - {{id: late, when: "{CONDITIONS["late_days"]}", label: abstain, why: .}}\n')
    )
    plan = plan_change(desk, new, as_of=NOW)
    # Another run ingests feedback and labels the first day by the old policy.
    feedback = event(777, "thumbs_down", START + timedelta(hours=1), draft_id="d0", ticket_id="t0")
    fill(desk, [*busy_days(), feedback], as_of=later)
    write_labels(desk, old, DAYS[:1], as_of=later)
    with pytest.raises(FeedbackError, match="later than the requested moment"):
        apply_plan(desk, new, plan)
    with pytest.raises(FeedbackError, match="not as planned"):
        confirm_applied(desk, new, plan)
    assert days_behind(desk, new) == (DAYS, len(DAYS))


def test_the_bounds_follow_from_the_classes(desk: Lake) -> None:
    side = plan_change(desk, policy(), as_of=NOW).figures["balance"]["after"]
    ratio = side["undesirable"] / side["desirable"]
    assert side["lambda_bounds"]["desirable_weight"] == [round(ratio, 4), round(1.5 * ratio, 4)]


def test_what_agents_sent_appears_and_vanishes(desk: Lake) -> None:
    new = policy(ONE + SENT)
    plan = plan_change(desk, new, as_of=NOW)
    assert set(plan.figures["kinds"]) == {"appears"}
    [rule] = [rule for rule in plan.figures["rules"] if rule["rule"] == "sent_text"]
    assert (rule["before"], rule["after"], rule["why"]) == (0, plan.changed, "What the agent wrote instead.")
    example = plan.examples[0]
    assert example["is_sent_text"] and example["before"] is None
    assert example["after"]["why"] == "What the agent wrote instead."
    assert example["final_text"] != example["completion"] == f"you get {example['draft_id'][1:-5]} back within 30 days"
    apply_plan(desk, new, plan)
    back = plan_change(desk, policy(), as_of=NOW)
    assert back.figures["kinds"] == {"vanishes": plan.changed}
    assert back.examples[0]["before"]["why"] == "What the agent wrote instead.", "the old policy was kept"


def test_an_example_says_what_decided_before_and_after(desk: Lake) -> None:
    rules = "rules:\n  - {id: rewritten, when: edit_similarity < 0.6, label: abstain, why: Nothing is left of it.}\n"
    plan = plan_change(desk, policy(ONE, ("rules:\n", rules)), as_of=NOW)
    example = next(row for row in plan.examples if row["before"]["rule"] == "edited")
    assert example["prompt"] == "write to [EMAIL]", "redacted, as in a training set"
    assert (example["before"]["why"], example["after"]["why"]) == ("It was changed.", "Nothing is left of it.")
    assert set(example["before"]["signals"]) == {"edited_at"}
    assert set(example["after"]["signals"]) == {"edit_similarity"}


def test_an_undecided_row_shows_all_that_happened(desk: Lake) -> None:
    plan = plan_change(desk, policy(ONE, ("when: accepted_at", "when: resolved_at")), as_of=NOW)
    undecided = [row for row in plan.examples if row["after"]["rule"] == "no_rule"]
    assert undecided
    for row in undecided:
        assert row["after"]["why"] is None
        assert "accepted_at" in row["after"]["signals"]


def test_terms_and_reading_time_are_as_the_policy_has_them(desk: Lake) -> None:
    changes = (
        ("rules:\n", "reading_speed: 10\nterms: [within]\nrules:\n"),
        ("when: edited_at IS NOT NULL", "when: edit_kind = 'factual' AND seconds_to_read > 0"),
    )
    plan = plan_change(
        desk, policy(ONE, *changes), before=policy(ONE, ("- {id: edited,", "- {id: touched,")), as_of=NOW
    )
    by_term = [row for row in plan.examples if row["final_text"] and "back in" in row["final_text"]]
    assert by_term
    for row in by_term:
        assert row["after"]["signals"] == {"edit_kind": "factual", "seconds_to_read": len(row["completion"]) / 10}


def test_feedback_that_came_since_is_told_from_the_policy(desk: Lake) -> None:
    later = NOW + timedelta(days=2)
    down = event(10**6 + 1, "thumbs_down", NOW, draft_id="d0", ticket_id="t0", received_at=NOW)
    fill(desk, [*busy_days(), down], as_of=later)
    write_interactions(desk, DAYS, as_of=later)
    same = plan_change(desk, policy(), as_of=later)
    assert (same.changed, same.late) == (1, 1)
    both = plan_change(desk, policy(ONE + SENT), as_of=later)
    assert both.late == 1 < both.changed


def test_labels_that_become_final_by_time_alone_are_counted_apart(lake: Lake) -> None:
    early = START + timedelta(days=5)
    rules = (
        "rules:\n  - {id: reopened, when: reopened_at IS NOT NULL, label: undesirable, tier: weak, weight: 1, why: .}\n"
    )
    old = policy(ONE, ("rules:\n", rules))
    new = policy(ONE, ("rules:\n", rules), ("weight: 0.5", "weight: 0.6"))
    fill(lake, [row for row in busy_days() if row["occurred_at"] < early], as_of=early)
    write_labels(lake, old, DAYS, as_of=early)
    fill(lake, busy_days())
    plan = plan_change(lake, new, as_of=NOW)
    assert plan.figures["ripened"] > 0
    apply_plan(lake, new, plan)
    stored = verdicts(lake.dataset(LABELS).to_table())
    assert plan.figures["final_after"] == sum(row["state"] == "final" for row in stored.values())


def test_labels_that_nothing_speaks_of_are_labelled_again(desk: Lake) -> None:
    rows = build_labels(desk, policy(), DAYS[:1], as_of=NOW - timedelta(hours=1))
    desk.replace(LABELS, rows, DAYS[:1])
    plan = plan_change(desk, policy(), as_of=NOW)
    assert (plan.days, days_behind(desk, policy())[0]) == ([], DAYS[:1])
    assert apply_plan(desk, policy(), plan).days == DAYS[:1]
    assert confirm_applied(desk, policy(), plan) == []
    assert days_behind(desk, policy()) == ([], len(DAYS))


def test_an_id_is_of_the_change_and_not_of_the_moment(desk: Lake) -> None:
    plan = plan_change(desk, policy(ONE + SENT), as_of=NOW)
    later = plan_change(desk, policy(ONE + SENT), as_of=NOW + timedelta(hours=1))
    assert later.id == plan.id
    check_plan(later, plan.id)


def test_a_plan_that_says_otherwise_by_now_is_refused_by_name(desk: Lake) -> None:
    new = policy(ONE + SENT)
    reviewed = plan_change(desk, new, as_of=NOW).id

    def refusal(by: Policy, reviewed: str) -> str:
        with pytest.raises(FeedbackError) as refused:
            check_plan(plan_change(desk, by, as_of=NOW), reviewed)
        return str(refused.value)

    assert refusal(new, "nonsense").startswith("'nonsense' is no plan's id")
    assert "is for another policy than desk 1" in refusal(policy(ONE + SENT.replace("weak", "strong")), reviewed)
    of_two = plan_change(desk, new, before=policy(), as_of=NOW).id
    assert "compares two policies and not the stored labels with one" in refusal(new, of_two)
    labels, interactions = (desk.version(table) or 0 for table in (LABELS, INTERACTIONS))
    write_labels(desk, policy(), DAYS[:1], as_of=NOW)
    change = f"the labels have changed since plan {reviewed} (version {labels} then, {labels + 1} now)"
    assert change in refusal(new, reviewed)
    write_interactions(desk, DAYS[:1], as_of=NOW)
    change = f"the interactions have changed since plan {reviewed} (version {interactions} then"
    assert change in refusal(new, reviewed)


def test_feedback_that_arrives_in_between_is_found_out(desk: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    new, later = policy(ONE + SENT), NOW + timedelta(days=2)
    plan = plan_change(desk, new, as_of=later)

    def slower(*arguments: Any, **named: Any) -> Any:
        down = event(10**6 + 1, "thumbs_down", NOW, draft_id="d3", ticket_id="t3", received_at=NOW)
        fill(desk, [*busy_days(), down], as_of=later)
        return write_labels(*arguments, **named)

    monkeypatch.setattr(apply, "write_labels", slower)
    apply_plan(desk, new, plan)
    with pytest.raises(
        FeedbackError, match=r"not as planned: 0 of .* and 1 are unplanned \(the first: d3 of .*feedback arrived"
    ):
        confirm_applied(desk, new, plan)
    assert plan_change(desk, new, as_of=later).changed == 0, "and what is there is right for what is known now"


def test_labels_of_another_run_are_found_out(desk: Lake) -> None:
    new = policy(ONE + SENT)
    plan = plan_change(desk, new, as_of=NOW)
    apply_plan(desk, new, plan)
    write_labels(desk, policy(), DAYS[:1], as_of=NOW)
    with pytest.raises(FeedbackError, match=r"planned changes are missing .*another run wrote labels"):
        confirm_applied(desk, new, plan)


def test_without_labels_or_interactions_it_says_what_to_do(lake: Lake) -> None:
    with pytest.raises(FeedbackError, match="no interactions and no labels yet; `feedback-kto run`"):
        plan_change(lake, policy(), as_of=NOW)
    fill(lake, busy_days(4))
    with pytest.raises(FeedbackError, match="no labels yet"):
        plan_change(lake, policy(), as_of=NOW)
    assert plan_change(lake, policy(ONE + SENT), before=policy(), as_of=NOW).stored is False


def test_an_id_names_the_versions_that_were_read(desk: Lake) -> None:
    plan = plan_change(desk, policy(ONE + SENT), as_of=NOW)
    assert plan.versions == {"interactions": desk.version(INTERACTIONS), "labels": desk.version(LABELS)}
    assert plan.id.startswith(f"i{plan.versions['interactions']}-l{plan.versions['labels']}-")
