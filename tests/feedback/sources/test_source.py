import os
from datetime import UTC, date, datetime

import pytest

from feedback.exceptions import FeedbackError, SourceError
from feedback.ingest.map_day import check_mapping
from feedback.sources.raw_files import discover, skipped_files
from feedback.sources.source import load_source, shipped_sources


@pytest.fixture
def write(tmp_path):
    def write(text, name="mine.sql"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", ["canonical", "star", "taskmaster", "coauthor"])
def test_shipped_sources_load_by_name_and_bind(name):
    source = load_source(name)
    assert source.name == name
    assert source.description
    assert len(source.digest) == 64
    check_mapping(source)


def test_header_settings(write):
    source = load_source(
        write("-- description: our desk\n--arrival_date:2022-08-04\n\n-- more\nSELECT 1 -- description: no")
    )
    assert (source.name, source.description, source.arrival_date) == ("mine", "our desk", date(2022, 8, 4))


def test_digest_follows_the_file(write):
    first = load_source(write("SELECT 1")).digest
    assert load_source(write("SELECT 1", "same.sql")).digest == first
    assert load_source(write("SELECT 2")).digest != first


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("-- arrival_date: 2022-13-04\nSELECT 1", "arrival_date '2022-13-04' is no date; write it as 2022-08-04"),
        ("-- description: a\n-- description: b\nSELECT 1", "sets description twice"),
        (b"SELECT '\xff'", "is not UTF-8 \\(byte 8\\)"),
    ],
)
def test_a_header_that_makes_no_sense(write, text, message):
    with pytest.raises(SourceError, match=message):
        load_source(write(text))


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    with pytest.raises(SourceError, match="no source 'start': give one of canonical, coauthor, star, taskmaster, or"):
        load_source("start")
    with pytest.raises(SourceError, match="is a folder"):
        load_source(tmp_path)
    assert set(shipped_sources()) >= {"canonical", "star"}


# --- raw files ---------------------------------------------------------------------------------------------------


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}\n")
        os.utime(path, (0, datetime(2026, 3, 4, 23, 59, tzinfo=UTC).timestamp()))


def test_formats_and_arrival_days(tmp_path):
    touch(
        tmp_path,
        "2026-01-02.jsonl",
        "day=2026-01-03/part-0.JSON.gz",
        "2026-01-05/late-2026-01-04.csv.zst",
        "2026-13-45/a.parquet",
        "nodate.ndjson",
        "notes.txt",
        "x.parquet.gz",
        ".hidden.jsonl",
        ".tmp/x.jsonl",
    )
    files = discover(tmp_path, load_source("canonical"))
    assert [(f.name, f.arrival_date.isoformat(), f.format, f.compression) for f in files] == [
        ("2026-01-02.jsonl", "2026-01-02", "jsonl", None),
        ("day=2026-01-03/part-0.JSON.gz", "2026-01-03", "jsonl", "gzip"),
        ("2026-01-05/late-2026-01-04.csv.zst", "2026-01-04", "csv", "zstd"),
        ("2026-13-45/a.parquet", "2026-03-04", "parquet", None),
        ("nodate.ndjson", "2026-03-04", "jsonl", None),
    ]
    assert skipped_files(tmp_path) == ["notes.txt", "x.parquet.gz"]


def test_the_source_dates_undated_files(tmp_path, write):
    touch(tmp_path / "in", "nodate.jsonl", "2026-01-02.jsonl")
    source = load_source(write("-- arrival_date: 2022-08-04\nSELECT 1"))
    assert [f.arrival_date.isoformat() for f in discover(tmp_path / "in", source)] == ["2022-08-04", "2026-01-02"]


def test_one_file_as_input(tmp_path):
    touch(tmp_path, "2026-01-02.jsonl")
    (file,) = discover(tmp_path / "2026-01-02.jsonl", load_source("canonical"))
    assert (file.name, file.arrival_date.isoformat()) == ("2026-01-02.jsonl", "2026-01-02")


def test_nothing_to_read_is_one_sentence(tmp_path):
    with pytest.raises(FeedbackError, match=r"There is no raw log in .*: put \.jsonl"):
        discover(tmp_path, load_source("canonical"))
    with pytest.raises(FeedbackError, match="does not exist"):
        discover(tmp_path / "nowhere", load_source("canonical"))
