"""Quarantine reasons: each reason of the checks is grouped without the line's value."""

import pytest

from feedback.ingest.quarantine_reasons import count_reasons, general_reason, is_of_the_file
from feedback.lake.event_schema import MAPPED_COLUMNS


@pytest.mark.parametrize(
    ("reason", "general", "value"),
    [
        ("occurred_at: soon is not a time", "occurred_at: is not a time", "soon"),
        ('draft_id: {"id": 7} is not text', "draft_id: is not text", '{"id": 7}'),
        ("kind: 'seen' is no kind of event", "kind: is no kind of event", "'seen'"),
        ("occurred_at: 1970-01-01 00:00:00+00 is before 2000-01-01", "occurred_at: is before 2000-01-01",
         "1970-01-01 00:00:00+00"),
        ("draft_id: 'd#sent' ends in #sent, which is kept for rows derived from drafts",
         "draft_id: ends in #sent, which is kept for rows derived from drafts", "'d#sent'"),
        ("mapping: score: Conversion Error: Could not convert string 'a''b' to DOUBLE",
         "mapping: score: Conversion Error: Could not convert string … to DOUBLE", "'a''b'"),
        ("event_id: missing", "event_id: missing", None),
        ("prompt: is not a list of {role, content} with text in both",
         "prompt: is not a list of {role, content} with text in both", None),
        ("not JSON", "not JSON", None),
    ],
)  # fmt: skip
def test_a_reason_is_told_apart_from_the_value(reason: str, general: str, value: str | None) -> None:
    assert general_reason(reason) == (general, value)


def test_lines_with_the_same_fault_are_counted_together() -> None:
    reasons = [(f"draft_id: {number} is not text", 1) for number in range(30)] + [("not JSON", 31)]
    assert count_reasons(reasons, 5) == {"not JSON": 31, "draft_id: is not text": 30}
    assert list(count_reasons(reasons, 1)) == ["not JSON"]


def test_who_is_to_blame() -> None:
    assert all(not is_of_the_file(f"{name}: missing") for name in MAPPED_COLUMNS)
    assert not is_of_the_file("mapping: Conversion Error: x")
    of_the_file = ("not JSON", "not a JSON object: array", "truncated gzip after line 2", "CSV header: x", "empty file")
    assert all(map(is_of_the_file, of_the_file))
