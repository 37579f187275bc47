"""A mapping that fails says where: the SQL file's line and column, the event column, the log's file and line."""

import json

import pytest

from feedback.exceptions import SourceError
from feedback.ingest.map_day import check_mapping, map_day
from feedback.lake.event_schema import MAPPED_COLUMNS
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source

GOOD = """-- a desk
SELECT
    file, line,
    row ->> 'id' AS event_id,
    'accepted' AS kind,
    to_timestamp((row ->> 'ts')::BIGINT) AS occurred_at,
    row ->> 'ticket' AS ticket_id,
    row ->> 'draft' AS draft_id
FROM lines
"""
ROW = {"id": "e", "ts": 1767348000, "ticket": "t", "draft": "d"}


@pytest.fixture
def mapping(tmp_path):
    def mapping(sql):
        path = tmp_path / "mine.sql"
        path.write_text(sql)
        return load_source(path)

    return mapping


@pytest.fixture
def run(tmp_path, mapping):
    def run(sql, rows):
        root = tmp_path / "in"
        root.mkdir()
        (root / "2026-01-02.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = mapping(sql)
        return map_day(source, discover(root, source), input_root=root)

    return run


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (GOOD.replace("AS kind,", "AS kind"), 'mine.sql, line 6, column 5: syntax error at or near "to_timestamp".'),
        (GOOD.replace("row ->> 'id'", "rwo ->> 'id'"), 'mine.sql, line 4, column 5: Referenced column "rwo" not found'),
        (GOOD.replace("to_timestamp", "to_timestmap"), "line 6, column 5: Scalar Function with name to_timestmap does"),
        (GOOD.replace("to_timestamp", "to_timestmap"), '(Did you mean "to_timestamp"?)'),
        (GOOD.replace("FROM lines", "FROM line"), "line 9, column 6: Table with name line does not exist"),
        (GOOD.replace("FROM lines", "FROM read_text('/etc/hosts')"), "file system operations are disabled"),
        (
            GOOD.replace("AS ticket_id", "AS ticket"),
            "returns the unknown column 'ticket': return file, line and any of",
        ),
        (GOOD.replace("row ->> 'ticket' AS ticket_id", "1 AS x"), f"any of {', '.join(MAPPED_COLUMNS)}, and reason"),
        (GOOD.replace("'accepted' AS kind,", ""), "does not return kind: every event needs it"),
        (GOOD.replace("row ->> 'ticket'", "NULL"), "does not return ticket_id: every event needs it"),
        (GOOD.replace("file, line,", ""), "does not return file: every event needs it"),
        (GOOD + "; SELECT 2", "must be one SELECT over lines, and holds SELECT, SELECT"),
        ("-- nothing\n", "must be one SELECT over lines, and holds nothing"),
        ("COPY (SELECT 1) TO 'x.csv'", "must be one SELECT over lines, and holds COPY"),
        ("DROP TABLE day_lines", "must be one SELECT over lines, and holds DROP"),
        (
            GOOD.replace("to_timestamp((row ->> 'ts')::BIGINT)", "(row ->> 'ts')::BIGINT"),
            "returns occurred_at as BIGINT: ",
        ),
        (GOOD.replace("row ->> 'draft'", "['d']"), "returns draft_id as VARCHAR[]: return text."),
        (
            GOOD.replace("row ->> 'draft' AS draft_id", "{'a': 1} AS prompt"),
            "return a list of {'role': text, 'content'",
        ),
        (GOOD.replace("row ->> 'draft' AS draft_id", "[1] AS reasons"), "returns reasons as INTEGER[]: return a list"),
    ],
)
def test_a_mapping_that_does_not_bind(mapping, sql, message):
    with pytest.raises(SourceError) as caught:
        check_mapping(mapping(sql))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_select_may_end_in(mapping):
    check_mapping(mapping("-- é;\n" + GOOD + ";\n-- the end; /* of it */\n;"))


def test_failing_lines_are_named_and_the_rest_goes_on(run):
    rows = [{**ROW, "id": f"e{n}"} for n in range(200)]
    rows[17]["ts"] = "soon"
    rows[18]["ts"] = "late"
    rows[199]["ts"] = 10**18
    day = run(GOOD, rows)
    bad = day.quarantine.select(["line", "reason"]).to_pylist()
    assert [row["line"] for row in bad] == [18, 19, 200]
    assert bad[0]["reason"].startswith(
        "mapping: occurred_at: Conversion Error: Could not convert string 'soon' to INT64"
    )
    assert bad[2]["reason"].startswith("mapping: occurred_at: ")
    assert json.loads(day.quarantine.column("bytes")[0].as_py()) == rows[17]
    (books,) = day.books.to_pylist()
    assert (books["lines"], books["mapped"], books["quarantined"], day.events.num_rows) == (200, 197, 3, 197)


def test_a_failure_that_no_column_is_alone_in(run):
    rows = [{**ROW, "id": f"e{n}"} for n in range(20)]
    rows[7]["ts"] = "soon"
    day = run(GOOD + " WHERE (row ->> 'ts')::BIGINT > 0", rows)
    assert day.quarantine.column("line").to_pylist() == [8]
    assert (
        day.quarantine.column("reason")[0]
        .as_py()
        .startswith("mapping: Conversion Error: Could not convert string 'soon'")
    )


def test_a_line_that_fails_without_its_neighbours_goes_with_them(run):
    alone = "CASE WHEN (row ->> 'needs')::INT > count(*) OVER () THEN error('alone')::VARCHAR ELSE 'd' END"
    rows = [{**ROW, "id": "a"}, {**ROW, "id": "b", "ts": "soon"}, {**ROW, "id": "c", "needs": 3}]
    day = run(GOOD.replace("row ->> 'draft'", alone), rows)
    assert day.quarantine.column("line").to_pylist() == [2, 3]
    assert day.quarantine.column("reason")[1].as_py() == "mapping: draft_id: Invalid Input Error: alone"
    assert day.events.column("event_id").to_pylist() == ["a"]


def test_a_failure_of_the_lines_together(run):
    sql = GOOD.replace("row ->> 'draft'", "CASE WHEN count(*) OVER () > 1 THEN error('too many')::VARCHAR END")
    with pytest.raises(SourceError, match=r"2026-01-02 together, and on none alone: .*too many\."):
        run(sql, [{**ROW, "id": "a"}, {**ROW, "id": "b"}])


def test_a_mapping_that_fails_on_everything_is_to_blame_itself(run):
    with pytest.raises(SourceError) as caught:
        run(GOOD, [{**ROW, "ts": "soon"}] * 300)
    assert "fails on more than 100 lines that arrived on 2026-01-02, first on 2026-01-02.jsonl line 1: " in str(
        caught.value
    )
    assert "mapping: occurred_at: " in str(caught.value)


@pytest.mark.parametrize("stray", ["'other' AS file, line", "file, line + 100 AS line", "file, NULL::INT AS line"])
def test_events_must_come_from_a_line_that_is_there(run, stray):
    with pytest.raises(SourceError, match="which is not in lines: return each event with the file and line of the row"):
        run(GOOD.replace("file, line,", stray + ","), [ROW])


@pytest.mark.parametrize(
    ("name", "row", "reason"),
    [
        (
            "star",
            {"type": "drafts_shown", "options": "none", "event_id": 1, "dialogue_id": 1, "ts": 1767348000},
            "completion",
        ),
        ("star", {"type": "draft_accepted", "event_id": {"n": 1}, "dialogue_id": 1, "ts": 1767348000}, "event_id"),
        ("star", {"type": "drafts_shown", "event_id": 1, "ts": 1767348000, "options": [{"text": "hi"}]}, "ticket_id"),
        ("star", {"type": "drafts_shown", "event_id": 1, "dialogue_id": 1, "options": [{"text": "hi"}]}, "occurred_at"),
        (
            "coauthor",
            {"type": "drafts_dismissed", "session_id": "s", "query_id": 1, "ts_ms": 1767348000000},
            "event_id",
        ),
        ("coauthor", {"type": "draft_shown", "session_id": "s", "event_id": 1, "text": "hi"}, "prompt"),
        (
            "taskmaster",
            {"row_id": "r", "session": "s-0", "thumb": 2, "generation": {"text": "hi"}, "context": []},
            "kind",
        ),
        ("taskmaster", {"row_id": "r", "session": "s-0", "thumb": 1, "generation": "hi", "context": []}, "completion"),
    ],
)
def test_shipped_mappings_drop_no_broken_line_in_silence(tmp_path, name, row, reason):
    (tmp_path / "2026-01-02.jsonl").write_text(json.dumps(row) + "\n")
    source = load_source(name)
    day = map_day(source, discover(tmp_path, source), input_root=tmp_path)
    assert day.quarantine.column("reason").to_pylist()[0].startswith(f"{reason}: ")
    assert day.events.num_rows == 0
