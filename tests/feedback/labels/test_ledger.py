"""The ledger's entries of each day, after repeated and interrupted builds."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from deltalake import DeltaTable

from feedback.exceptions import FeedbackError
from feedback.labels import label_writer
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.labels import build_labels
from feedback.labels.ledger import append_entries, days_behind, entries, kept_policy
from feedback.lake import journals
from feedback.lake.delta import Lake
from feedback.lake.tables import INTERACTIONS, LABELS, LEDGER, POLICIES
from label_policy import Policy, parse_policy

DAYS = [date(2026, 3, 2), date(2026, 3, 3)]
TEXT = """
name: desk
version: 1
description: for a test
owner: nobody
maturity: {reopened: 3d}
rules:
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: it was sent}
"""
ONE = parse_policy(TEXT)
TWO = parse_policy(TEXT.replace("weight: 1.0", "weight: 0.5").replace("version: 1", "version: 2"))


@pytest.fixture
def desk(lake: Lake, make_event: Callable, store: Callable, at: Callable) -> Lake:
    """A draft on each of two days, with its interactions built."""
    store(
        make_event("draft_shown"),
        make_event("accepted"),
        make_event("draft_shown", draft="d2", ticket="t2", when=at(days=1)),
    )
    write_interactions(lake, DAYS, as_of=at(days=3), run_id="night 1")
    return lake


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_every_build_is_recorded_with_what_it_was_made_from(desk: Lake, at: Callable) -> None:
    write_labels(desk, ONE, DAYS, as_of=at(days=3), run_id="night 1")
    write_labels(desk, TWO, DAYS[1:], as_of=at(days=4), run_id="night 2")
    [built, _] = entries(desk, "interactions")
    assert (built.shown_date, built.how, built.run_id, built.policy_digest) == (DAYS[0], "built", "night 1", None)
    assert (built.input_version, built.output_version) == (1, desk.version(INTERACTIONS))
    first, second = entries(desk, "labels")
    assert (first.shown_date, first.policy, first.policy_version, first.as_of) == (DAYS[0], "desk", 1, at(days=3))
    assert (second.policy_digest, second.as_of, second.run_id) == (TWO.digest, at(days=4), "night 2")
    assert second.input_version == built.output_version
    assert desk.dataset(LABELS, version=second.output_version).to_table().equals(desk.dataset(LABELS).to_table())
    assert second.output_version == (first.output_version or 0) + 1
    assert [entry.policy_digest for entry in entries(desk, "labels", until=at(days=3))] == [ONE.digest, ONE.digest]
    assert entries(desk, "labels", until=at(days=2)) == []


def test_a_day_is_behind_until_it_is_labelled_or_confirmed_by_the_policy(desk: Lake, at: Callable) -> None:
    assert days_behind(desk, ONE) == ([], 0)
    write_labels(desk, ONE, DAYS, as_of=at(days=3))
    assert days_behind(desk, ONE) == ([], 2)
    assert days_behind(desk, TWO) == (DAYS, 2)
    write_labels(desk, TWO, DAYS[:1], as_of=at(days=3))
    assert days_behind(desk, TWO) == (DAYS[1:], 2)
    assert days_behind(desk, ONE) == (DAYS[:1], 2)
    append_entries(
        desk, stage="labels", days=DAYS[1:], how="confirmed", input_version=desk.version(INTERACTIONS),
        output_version=desk.version(LABELS), policy=TWO, as_of=at(days=4), run_id=None,
    )  # fmt: skip
    assert days_behind(desk, TWO) == ([], 2)


def test_labels_that_no_entry_speaks_of_are_behind(desk: Lake, at: Callable) -> None:
    rows = build_labels(desk, ONE, DAYS, as_of=at(days=3))
    desk.replace(LABELS, rows, DAYS)
    assert days_behind(desk, ONE) == (DAYS, 2), "as an earlier release left them"


def test_a_run_killed_before_the_ledger_is_mended_by_the_next(
    desk: Lake, at: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_labels(desk, ONE, DAYS, as_of=at(days=3))
    with monkeypatch.context() as patch:
        patch.setattr(label_writer, "append_entries", killed)
        with pytest.raises(KeyboardInterrupt):
            write_labels(desk, TWO, DAYS, as_of=at(days=4))
    assert days_behind(desk, ONE) == (DAYS, 2), "the ledger still names this policy, but the rows are not its own"
    assert days_behind(desk, TWO) == (DAYS, 2)
    write_labels(desk, ONE, DAYS, as_of=at(days=4))
    assert days_behind(desk, ONE) == ([], 2)


def test_an_older_moment_is_never_written_over_a_newer_one(desk: Lake, at: Callable) -> None:
    write_labels(desk, ONE, DAYS, as_of=at(days=5))
    write_labels(desk, ONE, DAYS, as_of=at(days=5))
    before = desk.version(LABELS), desk.version(INTERACTIONS)
    with pytest.raises(FeedbackError, match=r"labels are as of 2026-03-07 .* 2026-03-06 .* `feedback-kto rebuild --as"):
        write_labels(desk, ONE, DAYS[1:], as_of=at(days=4))
    with pytest.raises(FeedbackError, match="interactions are as of 2026-03-05 12:00:00 UTC, later than the requested"):
        write_interactions(desk, DAYS, as_of=at(days=1))
    assert (desk.version(LABELS), desk.version(INTERACTIONS)) == before
    write_interactions(desk, [date(2026, 2, 1)], as_of=at(days=-10))  # nothing newer is there
    with pytest.raises(FeedbackError, match="interactions or labels are as of 2026-02-20"):
        write_labels(desk, ONE, [date(2026, 2, 1)], as_of=at(days=-11))


def test_policies_are_kept_by_digest(desk: Lake, at: Callable) -> None:
    with pytest.raises(FeedbackError, match="no policy that labelled"):
        kept_policy(desk, "")
    write_labels(desk, ONE, DAYS, as_of=at(days=3))
    write_labels(desk, TWO, DAYS[:1], as_of=at(days=3))
    write_labels(desk, ONE, DAYS[:1], as_of=at(days=3))
    assert desk.dataset(POLICIES).to_table().num_rows == 2
    kept = kept_policy(desk, TWO.digest[:12])
    assert (kept.digest, kept.version, kept.rules[0].why) == (TWO.digest, 2, "it was sent")
    with pytest.raises(FeedbackError, match=f"several policies .* one of: .*{TWO.digest[:12]}"):
        kept_policy(desk, "")
    with pytest.raises(FeedbackError, match="starts with 'zz' belongs to no policy"):
        kept_policy(desk, "zz")


def test_a_journal_of_many_nights_stays_small_and_keeps_every_entry(
    lake: Lake, at: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST_FILES", 5)

    def night(number: int, policy: Policy) -> None:
        append_entries(
            lake, stage="labels", days=DAYS, input_version=number, output_version=number, policy=policy,
            as_of=at(days=number), run_id=str(number),
        )  # fmt: skip

    nights = 12
    for number in range(nights):
        night(number, ONE)
        assert len(DeltaTable(lake.path(LEDGER)).file_uris()) < 5
    assert lake.dataset(LEDGER).to_table().num_rows == nights * len(DAYS)
    assert [entry.run_id for entry in entries(lake, "labels")] == [str(nights - 1)] * 2
    assert {entry.run_id for entry in entries(lake, "labels", until=at(days=7, seconds=1))} == {"7"}


def test_recording_no_days_writes_nothing(lake: Lake, at: Callable) -> None:
    moment: datetime = at() + timedelta(days=1)
    append_entries(
        lake, stage="interactions", days=[], input_version=None, output_version=None, policy=None, as_of=moment,
        run_id=None,
    )  # fmt: skip
    assert not lake.exists(LEDGER)
