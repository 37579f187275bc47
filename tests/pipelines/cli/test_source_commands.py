"""`feedback-kto source check`: what a mapping gives for one day, and who is to blame where it gives nothing."""

import contextlib
import gzip
import json
from pathlib import Path

import pytest

from pipelines.cli.main import main

MAPPING = """-- description: a log of two kinds of line
SELECT file, line, row ->> 'id' AS event_id,
    CASE row ->> 'did' WHEN 'show' THEN 'draft_shown' WHEN 'like' THEN 'thumbs_up' ELSE 'ignored' END AS kind,
    row ->> 'did' AS reason, row -> 'at' AS occurred_at, row ->> 'ticket' AS ticket_id, row ->> 'draft' AS draft_id,
    [{'role': 'user', 'content': 'hello'}] AS prompt, row ->> 'text' AS completion
FROM lines
"""


def line(number: int, did: str, **more: object) -> str:
    common = {"id": f"e{number}", "did": did, "ticket": "t", "draft": "d", "at": "2026-03-02T09:00:00Z", "text": "hi"}
    return json.dumps({**common, **more}) + "\n"


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "mine.sql"
    path.write_text(MAPPING)
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


def check(capsys: pytest.CaptureFixture[str], mapping: object, logs: Path) -> tuple[str, str]:
    """What the command prints, and says where it ends in an error."""
    with contextlib.suppress(SystemExit):
        main(["source", "check", str(mapping), "--input", str(logs)])
    return capsys.readouterr()


def test_every_line_is_accounted_for(capsys: pytest.CaptureFixture[str], mapping: Path, logs: Path) -> None:
    lines = [line(1, "show"), line(1, "show"), line(2, "like"), line(3, "type"), line(4, "type"), "{\n"]
    lines += [line(number, "like", at=f"day {number}") for number in range(5, 9)]
    (logs / "2026-03-02.jsonl").write_text("".join(lines))
    (logs / "notes.txt").write_text("not a log")
    said, error = check(capsys, mapping, logs)
    assert error == ""
    assert "10 lines, 3 mapped, 2 ignored, 5 quarantined, 3 events, 1 delivered twice" in said
    assert "2 ignored: type\n" in said
    assert '4 quarantined: occurred_at: is not a time (first 2026-03-02.jsonl line 7: "day 5")\n' in said
    assert "1 quarantined: not JSON (first 2026-03-02.jsonl line 6)\n" in said
    assert "not read: notes.txt" in said
    assert "the first draft_shown:\n{" in said
    assert "the first thumbs_up:\n{" in said


def test_a_file_that_cannot_be_read_is_not_the_mappings_fault(
    capsys: pytest.CaptureFixture[str], mapping: Path, logs: Path
) -> None:
    (logs / "2026-03-02.jsonl.gz").write_bytes(gzip.compress(line(1, "show").encode())[:20])
    said, error = check(capsys, mapping, logs)
    assert "not read to the end: 2026-03-02.jsonl.gz (truncated gzip" in said
    assert "its files cannot be read, whatever the mapping" in error


def test_who_wrote_the_mapping_is_told_what_to_do(
    capsys: pytest.CaptureFixture[str], mapping: Path, logs: Path
) -> None:
    (logs / "2026-03-02.jsonl").write_text(line(1, "type"))
    assert f"correct the mapping {mapping}" in check(capsys, mapping, logs)[1]
    assert "write a mapping of your own" in check(capsys, "star", logs)[1]


def test_text_in_double_quotes_is_explained(capsys: pytest.CaptureFixture[str], mapping: Path, logs: Path) -> None:
    mapping.write_text(MAPPING.replace("'ignored'", '"ignored"'))
    (logs / "2026-03-02.jsonl").write_text(line(1, "show"))
    error = check(capsys, mapping, logs)[1]
    assert "put text in 'single quotes', and write a key of the line as row ->> 'key'" in error
