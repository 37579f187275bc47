"""Every rule fails on the damaged day and on no other, and all rules hold on a sound desk."""

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake, Table
from feedback.lake.tables import EVENTS, INTERACTIONS, LABELS
from feedback.lake.validation_log import newest_outcomes
from feedback.training_set.build import TrainingSet, build_training_set, read_training_set
from feedback.validation import SUITES, validate_days, validate_training_set
from feedback.validation.expectations import Outcome
from feedback.validation.frames import table_frames, training_set_frames
from label_policy import parse_policy

FIRST = date(2026, 3, 2)
DAYS = [FIRST + timedelta(days=number) for number in range(60)]
# The days that rules of shares check: a Saturday has too few rows.
BUSY = [day for day in DAYS[30:] if day.weekday() < 5]
SECRET = "my card is stolen, says Erika Mustermann"
POLICY = """
name: harbor-support
version: 1
description: for a test
owner: nobody
maturity: {reopened: 1d}
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1.0, why: said so}
  - {id: up, when: thumbs_up_at IS NOT NULL, label: desirable, tier: explicit, weight: 1.0, why: said so}
  - {id: edited, when: edited_at IS NOT NULL, label: undesirable, tier: strong, weight: 0.5, why: it was changed}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 0.8, why: it was sent}
"""
Rows = list[dict[str, Any]]
Damage = Callable[[Rows], Any]


@dataclass(frozen=True)
class Sound:
    """A desk without faults: sixty days, a quiet Saturday and Sunday in each week, two sources."""

    root: Path
    training_set: TrainingSet


def events() -> Iterator[dict[str, Any]]:
    """Return reactions as shares of a day's drafts, as on a real desk: similar from day to day, never equal."""
    chance = random.Random(3)
    for day in DAYS:
        for number in range(90 if day.weekday() < 5 else 35):
            shown = datetime.combine(day, time(8), UTC) + timedelta(minutes=5 * number)
            draft, ticket = f"{day}-{number}", f"ticket {day}-{number}"
            texts = {"prompt": [{"role": "user", "content": SECRET}], "completion": f"reply {draft}"}
            yield event("draft_shown", draft, ticket, shown, **texts)
            kind = chance.choices(("accepted", "thumbs_up", "thumbs_down", "edited", "dismissed"), (45, 20, 20, 5, 10))[
                0
            ]
            sent = {"final_text": f"{SECRET} {draft}"} if kind == "edited" else {}
            yield event(kind, draft, ticket, shown + timedelta(minutes=2), **sent)
            yield event("surveyed", None, ticket, shown + timedelta(hours=1), source="crm", score=0.5, extra=SECRET)


def event(kind: str, draft: str | None, ticket: str, when: datetime, **fields: Any) -> dict[str, Any]:
    return dict.fromkeys(EVENTS.schema.names) | {
        "event_id": f"{kind} {draft or ticket}", "kind": kind, "draft_id": draft, "ticket_id": ticket,
        "occurred_at": when, "received_at": when, "source": "copilot", "arrival_date": when.date(),
        "file": "log.jsonl", "line": 1, **fields,
    }  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    root = tmp_path_factory.mktemp("sound")
    lake, policy = Lake(root / "lake"), parse_policy(POLICY)
    lake.replace(EVENTS, pa.Table.from_pylist(list(events()), EVENTS.schema), DAYS)
    as_of = datetime.combine(DAYS[-1] + timedelta(days=1), time(2), UTC)
    write_interactions(lake, DAYS, as_of=as_of)
    write_labels(lake, policy, DAYS, as_of=as_of)
    return Sound(root, build_training_set(lake, policy, root / "training_sets"))


@pytest.fixture
def copied(sound: Sound, tmp_path: Path) -> Lake:
    shutil.copytree(sound.root / "lake", tmp_path / "lake")
    return Lake(tmp_path / "lake")


def outcomes(lake: Lake, asset: str, docs: Path, days: list[date] | None = None) -> dict[str, Outcome]:
    validated = validate_days(lake, asset, days, docs=docs, run_id="a run")
    return {outcome.rule.name: outcome for outcome in validated.outcomes}


def each(change: Callable[[dict[str, Any]], Any], where: Callable[[dict[str, Any]], bool] = lambda _: True) -> Damage:
    """Return a damage to every row of the day for which `where` holds."""
    return lambda rows: [change(row) for row in rows if where(row)]


def put(**fields: Any) -> Damage:
    """Return a damage to the day's first row."""
    return lambda rows: rows[0].update(fields)


def of_kind(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["kind"] == kind


def without(where: Callable[[dict[str, Any]], bool]) -> Damage:
    def drop(rows: Rows) -> None:
        rows[:] = [row for row in rows if not where(row)]

    return drop


def label_as(label: str, tier: str | None, weight: float) -> Callable[[dict[str, Any]], Any]:
    return lambda row: row.update(label=label, tier=tier, weight=weight)


# One damaged day each; days that other days are compared with come last.
DAMAGE: dict[str, tuple[Table, dict[str, Damage]]] = {
    "feedback_events": (
        EVENTS,
        {
            "known_kinds": put(kind=SECRET),
            "ids_given": put(ticket_id=""),
            "drafts_named": each(lambda row: row.update(draft_id=None), of_kind("thumbs_up")),
            "complete": each(lambda row: row.update(completion=None), of_kind("draft_shown")),
            "scores_in_range": each(lambda row: row.update(score=1.5), of_kind("surveyed")),
            "not_from_the_future": lambda rows: rows[0].update(occurred_at=rows[0]["occurred_at"] + timedelta(days=2)),
            "no_event_twice": lambda rows: rows.append(rows[0]),
            "no_signal_silent": without(of_kind("thumbs_down")),
            "no_source_stopped": without(lambda row: row["source"] == "crm"),
        },
    ),
    "interactions": (
        INTERACTIONS,
        {
            "drafts_named": put(ticket_id=None),
            "one_row_a_draft": lambda rows: rows.append(rows[0]),
            "on_their_day": lambda rows: rows[0].update(shown_at=rows[0]["shown_at"] - timedelta(days=1)),
            "known_edit_kinds": put(edit_kind="rewritten", edit_similarity=0.5),
            "similarities_in_range": put(edit_kind="wording", edit_similarity=1.2),
            "evidence_kept": put(evidence=[]),
            "nothing_from_later": lambda rows: rows[0].update(known_until=rows[0]["as_of"] + timedelta(days=1)),
            "few_blank_drafts": each(lambda row: row.update(completion=" \u00a0")),
            "few_without_prompt": each(lambda row: row.update(prompt=[])),
            "decided_after_shown": each(lambda row: row.update(seconds_to_decision=-60.0)),
        },
    ),
    "labels": (
        LABELS,
        {
            "known_labels": put(label="good"),
            "known_tiers": put(tier=None),
            "weights_in_range": put(weight=float("nan")),
            "known_states": put(state="done"),
            "final_once_mature": lambda rows: rows[0].update(matures_at=rows[0]["as_of"] + timedelta(days=1)),
            "rules_named": put(rule=""),
            "evidence_kept": put(evidence=None),
            "one_label_a_text": lambda rows: rows.append(rows[0]),
            "every_draft_labelled": lambda rows: rows.pop(),
            "one_policy_a_day": put(policy_digest="of another"),
            "labels_steady": each(label_as("undesirable", "weak", 0.1), lambda row: row["rule"] == "accepted"),
            "abstentions_steady": each(label_as("abstain", None, 0.0), lambda row: row["rule"] == "accepted"),
            "some_are_judged": each(label_as("abstain", None, 0.0)),
        },
    ),
}  # fmt: skip
# Other rules that a day's damage also breaks.
ALSO = {"some_are_judged": {"abstentions_steady"}}


@pytest.mark.parametrize("asset", DAMAGE)
def test_all_rules_are_silent_on_a_sound_desk_and_each_fires_on_the_day_that_was_damaged(
    copied: Lake, tmp_path: Path, asset: str
) -> None:
    table, damages = DAMAGE[asset]
    assert {rule.name for rule in SUITES[asset].rules} == set(damages), "no rule without its damage"
    before = outcomes(copied, asset, tmp_path / "docs")
    assert [name for name, outcome in before.items() if not outcome.passed] == []
    assert all(outcome.checked for outcome in before.values()), "and each had something to judge"
    day_of = dict(zip(damages, BUSY, strict=False))
    for rule, damage in damages.items():
        rows = day_rows(copied, table, day_of[rule])
        damage(rows)
        copied.replace(table, pa.Table.from_pylist(rows, table.schema), [day_of[rule]])
    after = outcomes(copied, asset, tmp_path / "docs")
    expected = {rule: {str(day_of[rule])} for rule in damages}
    for rule, others in ALSO.items():
        for other in others & set(damages):
            expected[other].add(str(day_of[rule]))
    assert {rule: set(outcome.units) for rule, outcome in after.items()} == expected
    assert {
        rule: set(days)
        for severity in ("critical", "warning")
        for rule, days in newest_outcomes(copied)[asset][severity].items()
    } == expected, "and the lake remembers"
    checked = outcomes(copied, asset, tmp_path / "docs", DAYS[:20])
    assert all(outcome.passed for outcome in checked.values()), "days outside the request are not checked"


def day_rows(lake: Lake, table: Table, day: date) -> Rows:
    rows: Rows = lake.dataset(table).to_table(filter=pc.field(table.partition_by[0]) == day).to_pylist()
    return sorted(rows, key=lambda row: str(row.get("event_id") or row["draft_id"]))


# Each damages a row of its own, except the last two: the damage, and how often the rule is then broken.
SET_DAMAGE: dict[str, tuple[Callable[[Rows], Any], int]] = {
    "in_their_class": (lambda rows: rows[0].update(label=False), 1),
    "known_tiers": (lambda rows: rows[1].update(tier="gold"), 1),
    "weights_positive": (lambda rows: rows[2].update(weight=0.0), 1),
    "texts_there": (lambda rows: rows[3].update(completion="\u00a0 "), 1),
    "rows_traceable": (lambda rows: rows[4].update(ticket_id=None), 1),
    "redacted": (lambda rows: rows[5].update(completion="write to erika.mustermann@example.com"), 1),
    "ids_once": (lambda rows: rows[6].update(row_id=rows[7]["row_id"]), 1),
    "texts_once": (lambda rows: rows[8].update(prompt=rows[9]["prompt"], completion=rows[9]["completion"]), 1),
    "few_long_replies": (
        lambda rows: [row.update(completion="and so on " * 900 + row["row_id"]) for row in rows[99:]],
        1,
    ),
    "as_the_manifest_says": (lambda rows: rows.pop(), 1),
}


def test_a_training_set_is_judged_row_by_row(sound: Sound, copied: Lake, tmp_path: Path) -> None:
    assert {rule.name for rule in SUITES["training_set"].rules} == set(SET_DAMAGE)
    validated = validate_training_set(copied, sound.training_set, docs=tmp_path, run_id="a run")
    assert [outcome.rule.name for outcome in validated.outcomes if not outcome.passed] == []
    assert all(outcome.checked for outcome in validated.outcomes)
    folder = tmp_path / "damaged"
    shutil.copytree(sound.training_set.path, folder)
    file = folder / "desirable" / "train-00000.parquet"
    table = pq.read_table(file)
    rows = table.to_pylist()
    for damage, _ in SET_DAMAGE.values():
        damage(rows)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    damaged = validate_training_set(copied, read_training_set(folder), docs=tmp_path, run_id="a run").outcomes
    assert {outcome.rule.name: outcome.violations for outcome in damaged} == {
        rule: against for rule, (_, against) in SET_DAMAGE.items()
    }
    assert all(set(outcome.units) == {"train"} for outcome in damaged), "the held-out rows are whole"


def test_no_text_of_a_customer_reaches_great_expectations_or_its_pages(
    sound: Sound, copied: Lake, tmp_path: Path
) -> None:
    """Not even if a mapping has put a text in the column of a name."""
    places = ((EVENTS, ("kind", "source")), (INTERACTIONS, ("source", "edit_kind")), (LABELS, ("rule", "label")))
    for table, names in places:
        rows = day_rows(copied, table, DAYS[30])
        for name in names:
            rows[0][name] = SECRET
        copied.replace(table, pa.Table.from_pylist(rows, table.schema), [DAYS[30]])
    docs = tmp_path / "docs"
    frames = list(training_set_frames(sound.training_set).values())
    for asset in DAMAGE:
        frames += table_frames(copied, asset, DAYS).values()
        failed = [outcome for outcome in outcomes(copied, asset, docs).values() if not outcome.passed]
        assert failed or asset == "interactions"
        for outcome in failed:
            assert "Mustermann" not in outcome.say()
    for frame in frames:
        assert all(not pa.types.is_nested(field.type) for field in frame.schema)
        assert "Mustermann" not in str(frame.to_pylist())
    pages = list(docs.rglob("*.html"))
    assert len(pages) == 4
    for page in pages:
        text = page.read_text()
        assert "Mustermann" not in text
        assert "<script" not in text
        assert "http" not in text.replace("http-equiv", ""), "and it asks no other machine for anything"


def test_an_empty_lake_is_sound(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    for asset, days in zip(DAMAGE, (None, DAYS[:2], DAYS[:1]), strict=True):
        assert all(outcome.passed for outcome in outcomes(lake, asset, tmp_path, days).values())


def test_what_a_failing_rule_says_names_the_day_how_many_and_what_to_do(copied: Lake, tmp_path: Path) -> None:
    rows = [row for row in day_rows(copied, EVENTS, BUSY[8]) if row["kind"] != "thumbs_down"]
    copied.replace(EVENTS, pa.Table.from_pylist(rows, EVENTS.schema), [BUSY[8]])
    message = outcomes(copied, "feedback_events", tmp_path)["no_signal_silent"].say()
    assert f"{BUSY[8]} (share_of_expected 0.0, source copilot, kind thumbs_down, events 0, expected 1" in message
    assert "; look at what changed at the source that day" in message
