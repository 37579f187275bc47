"""Mapping a day: faulty lines go to quarantine, the other lines continue, and the books balance."""

import csv
import gzip
import io
import json
from datetime import date, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.exceptions import FeedbackError
from feedback.ingest.map_day import map_day
from feedback.lake.event_schema import EVENT_SCHEMA, FILES_SCHEMA, QUARANTINE_SCHEMA
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source

DAY = "2026-01-02"
CANONICAL = load_source("canonical")
SHOWN = {
    "event_id": "e1",
    "kind": "draft_shown",
    "occurred_at": f"{DAY}T10:00:00.123456Z",
    "received_at": f"{DAY}T11:00:00+00:00",
    "ticket_id": "t1",
    "draft_id": "d1",
    "agent_id": "a1",
    "prompt": [{"role": "user", "content": "Where is my refund? „é“ \u2028"}],
    "completion": "It takes 5 days.",
    "category": "refunds",
    "model_version": "m1",
    "extra": {"queue": "gold"},
}
FLAGGED = {
    "event_id": "e2",
    "kind": "flagged",
    "occurred_at": f"{DAY}T10:05:00Z",
    "ticket_id": "t1",
    "draft_id": "d1",
    "reasons": ["hallucinated_policy", "wrong, routing"],
}


def balanced(day):
    """Check the properties of any mapped day; return the books of its file if it has only one."""
    assert day.events.schema == EVENT_SCHEMA
    assert day.quarantine.schema == QUARANTINE_SCHEMA
    assert day.books.schema == FILES_SCHEMA
    rows = day.books.to_pylist()
    for row in rows:
        assert row["lines"] == row["mapped"] + row["ignored"] + row["quarantined"]
        assert min(row["lines"], row["mapped"], row["ignored"], row["quarantined"]) >= 0
        events = [e for e in day.events.select(["file", "line"]).to_pylist() if e["file"] == row["file"]]
        bad = [q["line"] for q in day.quarantine.to_pylist() if q["file"] == row["file"] and q["line"]]
        assert len(events) == row["events"]
        assert len({e["line"] for e in events}) == row["mapped"]
        assert len(set(bad)) == len(bad) == row["quarantined"]
        assert not {e["line"] for e in events} & set(bad)
    return rows[0] if len(rows) == 1 else rows


@pytest.fixture
def run(tmp_path):
    """Map files of one day, given as name to bytes or to events."""

    def run(source=CANONICAL, **files):
        root = tmp_path / "in"
        root.mkdir(exist_ok=True)
        for name, content in files.items():
            if not isinstance(content, bytes):
                content = "".join(json.dumps(row) + "\n" for row in content).encode()
            (root / f"{DAY}-{name.replace('_', '.')}").write_bytes(content)
        return map_day(source, discover(root, source), input_root=root, line_limit=10_000)

    return run


@pytest.fixture
def mapping(tmp_path):
    def mapping(sql):
        path = tmp_path / "mine.sql"
        path.write_text(sql)
        return load_source(path)

    return mapping


def reasons(day):
    return [(row["line"], row["reason"]) for row in day.quarantine.to_pylist()]


def test_an_event_as_it_comes_out(run):
    day = run(x_jsonl=[SHOWN, FLAGGED])
    books = balanced(day)
    shown, flagged = day.events.to_pylist()
    assert shown["occurred_at"].isoformat() == f"{DAY}T10:00:00.123456+00:00"
    assert shown["received_at"].isoformat() == f"{DAY}T11:00:00+00:00"
    assert shown["prompt"] == SHOWN["prompt"]
    assert json.loads(shown["extra"]) == {"queue": "gold"}
    assert (shown["file"], shown["line"], shown["arrival_date"]) == (f"{DAY}-x.jsonl", 1, date(2026, 1, 2))
    assert (shown["source"], flagged["reasons"]) == ("canonical", FLAGGED["reasons"])
    assert flagged["received_at"] == flagged["occurred_at"]
    assert (books["complete"], books["incomplete_reason"], books["parts_ignored"]) == (True, None, "{}")


def test_jsonl_csv_and_parquet_give_the_same_events(run):
    rows = [SHOWN, FLAGGED]
    names = [*SHOWN, "reasons"]
    jsonl = "\n".join(map(json.dumps, rows)).encode()
    text = io.StringIO()
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    for row in rows:
        writer.writerow({k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()})
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
    times = [datetime.fromisoformat(row["occurred_at"]) for row in rows]
    at = names.index("occurred_at")
    table = table.set_column(at, "occurred_at", pa.array(times, pa.timestamp("us", tz="Asia/Tokyo")))
    parquet = pa.BufferOutputStream()
    pq.write_table(table, parquet)
    packed = {
        "a_jsonl": jsonl,
        "b_json_gz": gzip.compress(jsonl),
        "c_ndjson_zst": zstandard.compress(jsonl),
        "d_parquet": parquet.getvalue().to_pybytes(),
        "e_csv": text.getvalue().encode(),
        "f_csv_gz": gzip.compress(text.getvalue().encode()),
    }
    day = run(**packed)
    balanced(day)
    assert reasons(day) == []
    by_file = {}
    for event in day.events.drop_columns(["line"]).to_pylist():
        by_file.setdefault(event.pop("file"), []).append(event)
    first, *others = by_file.values()
    assert len(others) == 5
    for other in others:
        assert other == first


def test_keys_without_a_column_go_into_extra(run):
    day = run(x_jsonl=[{**SHOWN, "queue": "silver", "shift": 2}, {**FLAGGED, "shift": {"n": 1}}])
    extras = [json.loads(extra) for extra in day.events.column("extra").to_pylist()]
    assert extras == [{"queue": "silver", "shift": 2}, {"shift": {"n": 1}}]


@pytest.mark.parametrize("score", [0, 0.25, 1, 1.0])
def test_a_survey_has_a_score(run, score):
    survey = {"event_id": "e1", "kind": "surveyed", "occurred_at": f"{DAY}T10:00:00Z", "ticket_id": "t1"}
    day = run(x_jsonl=[{**survey, "score": score}])
    assert reasons(day) == []
    assert day.events.column("score").to_pylist() == [score]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"event_id": None}, "event_id: missing"),
        ({"event_id": ""}, "event_id: missing"),
        ({"kind": None}, "kind: missing"),
        ({"kind": "acepted"}, "kind: 'acepted' is no kind of event"),
        ({"kind": 7}, "kind: 7 is not text"),
        ({"ticket_id": None}, "ticket_id: missing"),
        ({"ticket_id": {"id": 1}}, 'ticket_id: {"id":1} is not text'),
        ({"ticket_id": True}, "ticket_id: true is not text"),
        ({"draft_id": None}, "draft_id: missing, and draft_shown needs it"),
        ({"completion": None}, "completion: missing, and draft_shown needs it"),
        ({"completion": ["a"]}, 'completion: ["a"] is not text'),
        ({"completion": 42}, "completion: 42 is not text"),
        ({"prompt": None}, "prompt: missing, and draft_shown needs it"),
        ({"prompt": "hello"}, "prompt: is not a list of {role, content} with text in both"),
        ({"prompt": {"role": "user", "content": "x"}}, "prompt: is not a list"),
        ({"prompt": [{"role": "user"}]}, "prompt: is not a list"),
        ({"prompt": [{"role": "user", "content": ["x"]}]}, "prompt: is not a list"),
        ({"prompt": ["x"]}, "prompt: is not a list"),
        ({"prompt": [None]}, "prompt: is not a list"),
        ({"reasons": "slow"}, 'reasons: "slow" is not a list of text'),
        ({"reasons": ["slow", 1]}, 'reasons: ["slow",1] is not a list of text'),
        ({"reasons": {"slow": 1}}, 'reasons: {"slow":1} is not a list of text'),
        ({"score": "5"}, 'score: "5" is not a number from 0 to 1'),
        ({"score": 5}, "score: 5 is not a number from 0 to 1"),
        ({"score": -0.1}, "score: -0.1 is not a number from 0 to 1"),
        ({"score": True}, "score: true is not a number from 0 to 1"),
        ({"kind": "surveyed"}, "score: missing, and surveyed needs it"),
        ({"extra": "free text"}, 'extra: "free text" is not JSON'),
        ({"occurred_at": None}, "occurred_at: missing"),
        ({"occurred_at": "yesterday"}, 'occurred_at: "yesterday" is not a time'),
        ({"occurred_at": 1767348000}, "occurred_at: 1767348000 is not a time"),
        ({"occurred_at": "1970-01-21T10:55:48Z"}, "occurred_at: 1970-01-21 10:55:48+00 is before 2000-01-01"),
        ({"occurred_at": "58001-01-01T00:00:00Z"}, "occurred_at: 58001-01-01 00:00:00+00 is after the arrival day"),
        ({"occurred_at": "2026-01-04T00:00:00Z"}, "occurred_at: 2026-01-04 00:00:00+00 is after the arrival day"),
        ({"occurred_at": "infinity"}, "occurred_at: infinity is after the arrival day"),
        ({"occurred_at": "-infinity"}, "occurred_at: -infinity is before 2000-01-01"),
        ({"received_at": "0001-01-01"}, "received_at: 0001-01-01 00:00:00+00 is before 2000-01-01"),
        ({"received_at": "2026-01-09"}, "received_at: 2026-01-09 00:00:00+00 is after the arrival day"),
        ({"received_at": "2026-01-01T09:00:00Z"}, "is more than a day after received_at"),
    ],
)
def test_a_value_that_does_not_fit_quarantines_its_line(run, change, reason):
    day = run(x_jsonl=[FLAGGED, {**SHOWN, **change}, {**FLAGGED, "event_id": "e3"}])
    books = balanced(day)
    ((line, found),) = reasons(day)
    assert line == 2
    assert reason in found
    assert (books["mapped"], books["quarantined"], day.events.num_rows) == (2, 1, 2)
    (row,) = day.quarantine.to_pylist()
    assert json.loads(row["bytes"]) == {**SHOWN, **change}
    assert (row["size"], row["file"], row["source"]) == (len(row["bytes"]), f"{DAY}-x.jsonl", "canonical")


def test_ids_may_be_numbers_and_nulls_are_absences(run):
    day = run(x_jsonl=[{**SHOWN, "ticket_id": 12345678901234567890, "draft_id": -1, "reasons": None, "extra": None}])
    (event,) = day.events.to_pylist()
    assert (event["ticket_id"], event["draft_id"]) == ("12345678901234567890", "-1")
    assert (event["reasons"], event["extra"]) == (None, None)
    assert reasons(day) == []


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"event_id": "e9", ', "not JSON"),
        (b"[1, 2]", "not a JSON object: array"),
        (b'"text"', "not a JSON object: varchar"),
        (b"null", "not a JSON object: null"),
        (b"hello", "not JSON"),
        (b'{"event_id": "\\ud800"}', "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b'{"a":' + b"[" * 999 + b"]" * 999 + b"}", "nested deeper than 200 levels"),
        (b'{"a":"' + b"x" * 20_000 + b'"}', "too long: over the limit of 10,000 bytes"),
        (b"\x00\x01\x02", "not JSON"),
    ],
)
def test_a_line_that_is_no_json_object(run, raw, reason):
    good = [json.dumps({**FLAGGED, "event_id": f"g{n}"}).encode() for n in range(2)]
    day = run(x_jsonl=good[0] + b"\n" + raw + b"\n \t\r\n" + good[1] + b"\n")
    books = balanced(day)
    assert reasons(day) == [(2, reason)]
    assert (books["lines"], books["mapped"], books["ignored"], books["quarantined"]) == (4, 2, 1, 1)
    assert day.quarantine.column("bytes")[0].as_py() == raw


@pytest.mark.parametrize(
    "odd",
    [
        b'"score": NaN, "best": Infinity',
        b'"kind": "accepted", "kind": "draft_shown"',
        b'"big": 1' + b"0" * 5000,
        b'"nul": "a\\u0000b"',
        b'"deep": ' + b"[" * 150 + b"]" * 150,
    ],
)
def test_odd_json_is_no_crash(run, odd):
    row = json.dumps(FLAGGED).encode()
    day = run(x_jsonl=row[:-1] + b", " + odd + b"}\n" + row.replace(b"e2", b"e3") + b"\n")
    balanced(day)
    assert day.events.num_rows + day.quarantine.num_rows == 2


def test_a_line_that_is_cut_off(run):
    row = json.dumps(FLAGGED).encode()
    day = run(x_jsonl=row + b"\n" + row[:30])
    balanced(day)
    assert reasons(day) == [(2, "cut off: the file ends inside this line")]
    day = run(x_jsonl=row + b"\n" + row.replace(b"e2", b"e3"))
    assert (reasons(day), balanced(day)["mapped"]) == ([], 2)


def test_truncated_gzip(run):
    rows = [json.dumps({**FLAGGED, "event_id": f"e{n}", "agent_id": f"{n * 7919 % 1000}"}) for n in range(5000)]
    packed = gzip.compress("\n".join(rows).encode())
    day = run(x_jsonl_gz=packed[: len(packed) * 2 // 3])
    books = balanced(day)
    ((line, reason),) = reasons(day)
    assert reason == f"truncated gzip after line {line - 1}" == books["incomplete_reason"]
    assert (books["complete"], books["mapped"], books["quarantined"]) == (False, line - 1, 1)
    assert books["mapped"] > 2000


def test_truncated_after_a_whole_line_blames_the_file_only(run):
    row = json.dumps(FLAGGED).encode()
    for data in (row, row + b"\n"):
        day = run(x_jsonl_gz=gzip.compress(data)[:-8])  # the checksum is missing, the text is not
        books = balanced(day)
        assert day.quarantine.column("line").to_pylist() == [None]
        assert day.quarantine.column("reason")[0].as_py().startswith("truncated gzip after line")
        assert (books["mapped"], books["quarantined"], books["complete"]) == (1, 0, False)


def test_empty_and_unreadable_files_do_not_stop_the_others(run):
    row = json.dumps(FLAGGED).encode()
    day = run(
        a_jsonl=b"",
        b_csv=b"",
        c_parquet=b"PAR1",
        d_jsonl_gz=b"plain",
        e_csv=b"a,a\n1,2\n",
        f_jsonl=row,
        g_jsonl=b"\n\n",
    )
    books = {row["file"].removeprefix(f"{DAY}-"): row for row in balanced(day)}
    assert [row["file"][-9:] for row in day.quarantine.to_pylist()] == [
        f"{DAY}-{name}"[-9:] for name in ("a.jsonl", "b.csv", "c.parquet", "d.jsonl.gz", "e.csv")
    ]
    assert set(day.quarantine.column("line").to_pylist()) == {None}
    assert (books["f.jsonl"]["mapped"], books["g.jsonl"]["ignored"], books["a.jsonl"]["complete"]) == (1, 2, True)
    assert [name for name, row in books.items() if not row["complete"]] == ["c.parquet", "d.jsonl.gz", "e.csv"]


def test_events_come_in_the_order_of_the_log(run):
    rows = [{**FLAGGED, "event_id": f"e{n}"} for n in (3, 1, 2)]
    day = run(b_jsonl=rows, a_jsonl=rows)
    keys = day.events.select(["file", "line"]).to_pylist()
    assert keys == sorted(keys, key=lambda key: (key["file"], key["line"]))
    assert day.events.column("event_id").to_pylist() == ["e3", "e1", "e2"] * 2


def test_one_day_at_a_time(tmp_path):
    for name in ("2026-01-02.jsonl", "2026-01-03.jsonl"):
        (tmp_path / name).write_text("{}\n")
    with pytest.raises(FeedbackError, match="one arrival day, not of 2"):
        map_day(CANONICAL, discover(tmp_path, CANONICAL), input_root=tmp_path)


# --- ignored parts, several events a line, settings ------------------------------------------------------------------

BATCHES = """
SELECT file, line, part ->> 'id' AS event_id, part ->> 'kind' AS kind, part ->> 'why' AS reason,
    TIMESTAMP '2026-01-02 10:00:00' AS occurred_at, 't' AS ticket_id, 'd' AS draft_id, NULL AS agent_id,
    epoch_ms(1767348000000) AS received_at, {'n': 1} AS extra
FROM (SELECT file, line, unnest((row -> 'parts')::JSON[]) AS part FROM lines);
-- the end;
"""


def test_one_fate_a_line(run, mapping):
    day = run(
        mapping(BATCHES),
        x_jsonl=[
            {"parts": [{"id": "a", "kind": "accepted"}, {"kind": "ignored", "why": "no text"}]},
            {"parts": [{"id": "b", "kind": "accepted"}, {"id": "c", "kind": "nonsense"}]},
            {"parts": [{"kind": "ignored"}, {"kind": "ignored", "why": "no text"}]},
            {"parts": []},
        ],
    )
    books = balanced(day)
    assert day.events.column("event_id").to_pylist() == ["a"]
    assert reasons(day) == [(2, "kind: 'nonsense' is no kind of event")]
    assert (books["mapped"], books["quarantined"], books["ignored"]) == (1, 1, 2)
    assert json.loads(books["parts_ignored"]) == {"no reason given": 1, "no text": 2}
    assert (day.events.column("source")[0].as_py(), day.events.column("extra")[0].as_py()) == ("mine", '{"n":1}')


GOOD = st.builds(
    lambda n, text, at: {**FLAGGED, "event_id": f"g{n}", "agent_id": text, "occurred_at": at.isoformat()},
    st.integers(0, 10**6),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.datetimes(min_value=datetime(2025, 1, 1), max_value=datetime(2026, 1, 2)),
)
BAD = st.one_of(
    st.sampled_from([b"{", b"[]", b"nope", b'{"a":1}', b"\xff", b"x" * 3000, b'{"event_id":"e"', b"{}"]),
    st.sampled_from(["kind", "event_id", "occurred_at", "ticket_id", "draft_id"]).map(
        lambda name: json.dumps({**FLAGGED, name: None}).encode()
    ),
)
BLANK = st.sampled_from([b"", b"  ", b"\t\r"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(
        st.tuples(
            st.lists(st.one_of(GOOD, BAD, BLANK), max_size=30),
            st.sampled_from(["jsonl", "jsonl.gz", "jsonl.zst"]),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_nothing_good_is_lost_and_every_line_is_accounted_for(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("in")
    pack = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstandard.compress}
    expected = {}
    for n, (lines, suffix, ends) in enumerate(files):
        raw = [json.dumps(line).encode() if isinstance(line, dict) else line for line in lines]
        name = f"{DAY}-{n}.{suffix}"
        text = b"\n".join(raw) + (b"\n" if ends and raw else b"")
        (root / name).write_bytes(pack[suffix](text))
        if not ends and raw and raw[-1] == b"":
            raw.pop()  # nothing after the last line end is no line
        expected[name] = (
            len(raw),
            [line["event_id"] for line in lines if isinstance(line, dict)],
            sum(not line.strip() for line in raw),
        )
    day = map_day(CANONICAL, discover(root, CANONICAL), input_root=root, line_limit=2000)
    balanced(day)
    for row in day.books.to_pylist():
        lines, good, blank = expected[row["file"]]
        events = [e for e in day.events.select(["file", "event_id"]).to_pylist() if e["file"] == row["file"]]
        assert [e["event_id"] for e in events] == good
        assert (row["lines"], row["ignored"]) == (lines, blank)
