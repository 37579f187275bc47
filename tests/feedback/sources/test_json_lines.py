"""Damaged raw files of every kind, before their lines are parsed as JSON."""

import gzip
import hashlib
import json
import random
import tracemalloc
import zlib
from datetime import date

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from feedback.sources import line_streams
from feedback.sources.json_depth import DEPTH_LIMIT
from feedback.sources.json_lines import read_texts
from feedback.sources.line_streams import FileRead
from feedback.sources.raw_files import RawFile

COMPRESS = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    None: bytes,
}


@pytest.fixture
def read(tmp_path):
    """Write bytes and read them back: ([(line, text)], the `FileRead`)."""

    def read(data, format="jsonl", compression=None, limit=1000):
        path = tmp_path / "raw"
        path.write_bytes(data)
        file = RawFile(path=path, name="raw", arrival_date=date(2026, 1, 2), format=format, compression=compression)
        state = FileRead(file=file)
        rows = [row for table in read_texts(state, limit=limit) for row in table.to_pylist()]
        assert state.size == len(data)
        assert state.sha256 == hashlib.sha256(data).hexdigest()
        return [(row["line"], row["text"]) for row in rows], state

    return read


def faults(state):
    return [(fault.line, fault.reason) for fault in state.faults]


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
def test_lines_of_a_file_however_packed(read, compression):
    lines, state = read(COMPRESS[compression](b'\xef\xbb\xbf{"a":1}\n\n{"b":2}\r\n{"c":3}'), compression=compression)
    assert lines == [(1, '{"a":1}'), (2, ""), (3, '{"b":2}\r'), (4, '{"c":3}')]
    assert (state.lines, state.faults, state.damage, state.open_line) == (4, [], None, 4)


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_appended_members_read_as_one_file(read, compression):
    pack = COMPRESS[compression]
    data = pack(b'{"a":1}\n{"b"') + pack(b"") + pack(b":2}\n")
    lines, state = read(data + (bytes(600) if compression == "gzip" else b""), compression=compression)
    assert lines == [(1, '{"a":1}'), (2, '{"b":2}')]
    assert state.damage is None


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_truncated_file_keeps_the_lines_before(read, compression):
    letters = random.Random(1)
    whole = b"".join(b'{"n":%d,"x":"%x"}\n' % (n, letters.getrandbits(800)) for n in range(3000))
    packed = COMPRESS[compression](whole)
    lines, state = read(packed[: len(packed) // 2], compression=compression)
    complete = whole.split(b"\n")[: len(lines)]
    assert [text.encode() for _, text in lines[:-1]] == complete[:-1]
    assert len(lines) > 500 or compression == "zstd"
    assert state.damage == f"truncated {compression} after line {len(lines) - (state.open_line is not None)}"


def test_damage_inside_and_what_is_not_compressed_at_all(read):
    packed = bytearray(gzip.compress(b'{"a":1}\n' * 10))
    packed[-5] ^= 255  # in the checksum: the lines come through
    _, state = read(bytes(packed), compression="gzip")
    assert state.damage.startswith("damaged gzip after line")
    lines, state = read(b'{"a":1}\n', compression="gzip")
    assert (lines, faults(state)) == ([], [(None, "damaged gzip after line 0")])
    lines, state = read(b'{"a":1}\n', compression="zstd")
    assert (lines, faults(state)) == ([], [(None, "damaged zstd after line 0")])


@pytest.mark.parametrize("seed", range(60))
def test_damaged_gzip_gives_what_zlib_gives(read, monkeypatch, seed):
    chance = random.Random(seed)
    whole = b"".join(b'{"n":%d,"x":"%x"}\n' % (n, chance.getrandbits(200)) for n in range(400))
    packed = bytearray(gzip.compress(whole, compresslevel=chance.choice((0, 1, 6, 9))) + gzip.compress(b"{}\n" * 50))
    place = chance.choice((chance.randrange(10), chance.randrange(len(packed))))
    packed[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(1, 9))
    packed = bytes(packed[: chance.choice((None, chance.randrange(len(packed))))])
    lines, state = read(packed, compression="gzip")
    monkeypatch.setattr(line_streams, "zlib_ng", zlib)
    assert (lines, state) == read(packed, compression="gzip")


@pytest.mark.parametrize("compression", [None, "gzip", "zstd"])
@pytest.mark.parametrize("format", ["jsonl", "csv"])
def test_empty_file(read, format, compression):
    lines, state = read(COMPRESS[compression](b""), format=format, compression=compression)
    assert (lines, state.lines, faults(state), state.damage) == ([], 0, [(None, "empty file")], None)


def test_zero_bytes_under_a_compressed_name(read):
    assert faults(read(b"", compression="gzip")[1]) == [(None, "empty file")]


def test_not_utf8(read):
    lines, state = read(b'{"a":1}\n{"a":"\xff\xfe"}\n{"a":3}\n')
    assert [line for line, _ in lines] == [1, 3]
    assert faults(state) == [(2, "not UTF-8")]
    assert state.faults[0].head == b'{"a":"\xff\xfe"}'


def test_utf16_is_not_utf8(read):
    _, state = read('{"a":"é"}\n'.encode("utf-16"))
    assert (1, "not UTF-8") in faults(state)


def test_too_long_a_line_is_told_by_head_size_and_hash(read):
    long = b'{"a":"' + b"x" * 5000 + b'"}'
    for data in (b'{"a":1}\n' + long + b'\n{"a":3}\n', b'{"a":1}\n' + long):
        lines, state = read(data)
        assert lines[0] == (1, '{"a":1}')
        (fault,) = state.faults
        assert (fault.line, fault.reason) == (2, "too long: over the limit of 1,000 bytes")
        assert (fault.size, fault.sha256) == (len(long), hashlib.sha256(long).hexdigest())
        assert state.lines == len(lines) + 1


def test_a_hundred_megabytes_in_one_line_are_never_held(read, tmp_path):
    size = 100_000_000
    data = gzip.compress(b'{"a":1}\n{"a":"' + b"x" * size + b'"}\n{"a":3}\n', compresslevel=1)
    tracemalloc.start()
    lines, state = read(data, compression="gzip", limit=1 << 24)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [(1, '{"a":1}'), (3, '{"a":3}')]
    (fault,) = state.faults
    assert (fault.line, fault.size, len(fault.head)) == (2, size + 8, 65536)
    assert peak < 80_000_000


def test_a_line_nested_too_deep(read):
    deep = '{"a":' + "[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT + "}"
    flat = '{"a":"' + "[" * 300 + '\\"' + "{" * 300 + '"}'
    wide = '{"a":[' + ",".join(["[]"] * 250) + "]}"
    lines, state = read("\n".join([deep, flat, wide]).encode(), limit=10_000)
    assert [line for line, _ in lines] == [2, 3]
    assert faults(state) == [(1, "nested deeper than 200 levels")]


# --- CSV ---------------------------------------------------------------------------------------------------------


def csv_rows(lines):
    return [(line, json.loads(text)) for line, text in lines]


def test_csv_records_are_objects(read):
    data = b'\xef\xbb\xbfid,text\r\n1,"two\nlines, ""quoted"""\r\n\r\n2,\r\n3,last'
    lines, state = read(data, format="csv")
    assert csv_rows(lines) == [
        (2, {"id": "1", "text": 'two\nlines, "quoted"'}),
        (5, {"id": "2", "text": None}),
        (6, {"id": "3", "text": "last"}),
    ]
    assert (state.lines, state.faults) == (4, [])  # the blank line counts


def test_csv_records_that_do_not_fit(read):
    data = b'id,text\n1,a,b\n2\n3,"x"y\n4,\xff\n5,' + b"z" * 2000 + b"\n6,ok\n"
    lines, state = read(data, format="csv")
    assert csv_rows(lines) == [(7, {"id": "6", "text": "ok"})]
    assert sorted(faults(state)) == [
        (2, "not CSV: 3 fields under 2 columns"),
        (3, "not CSV: 1 fields under 2 columns"),
        (4, "not CSV: ',' expected after '\"'"),
        (5, "not UTF-8"),
        (6, "too long: over the limit of 1,000 bytes"),
    ]
    assert state.lines == 6


@pytest.mark.parametrize("stray", [b'2,"never closed', b'2,not "closed'])
def test_a_stray_quote_costs_its_own_line_only(read, stray):
    good = b"".join(b'%d,"fine"\n' % n for n in range(4, 200))
    lines, state = read(b"id,text\n1,a\n" + stray + b"\n" + good, format="csv")
    got = {row["id"] for _, row in csv_rows(lines)}
    assert {str(n) for n in range(4, 200)} <= got
    assert state.lines == len(lines) + len(state.faults) == 198


def test_a_quoted_field_over_a_line_that_is_too_long(read):
    data = b'id,text\n1,"start\n' + b"x" * 2000 + b'\nend"\n2,ok\n'
    lines, state = read(data, format="csv")
    assert csv_rows(lines)[-1] == (5, {"id": "2", "text": "ok"})
    assert [line for line, _ in sorted(faults(state))] == [2, 3, 4]


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (b"id,id", "CSV header: column 'id' occurs twice"),
        (b"id,", "CSV header: column 2 has no name"),
        (b"", "CSV header: the first line is blank"),
        (b"id,\xff", "CSV header: not UTF-8"),
        (b'id,"x', "CSV header: not CSV: unexpected end of data"),
    ],
)
def test_a_csv_header_that_names_no_columns(read, header, reason):
    lines, state = read(header + b"\n1,2\n", format="csv")
    assert (lines, state.lines, faults(state)) == ([], 0, [(None, reason)])


# --- Parquet -----------------------------------------------------------------------------------------------------


def parquet(table):
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def test_parquet_rows_are_objects(read):
    at = pa.array([0, None], pa.timestamp("ms", tz="Europe/Paris"))
    table = pa.table({"row": [1, 2], "at": at, "prompt": [[{"role": "user", "content": 'a"b'}], None]})
    lines, state = read(parquet(table), format="parquet")
    assert csv_rows(lines) == [
        (1, {"row": 1, "at": "1970-01-01 00:00:00+00", "prompt": [{"role": "user", "content": 'a"b'}]}),
        (2, {"row": 2, "at": None, "prompt": None}),
    ]
    assert (state.lines, state.faults) == (2, [])


def test_parquet_that_is_damaged_empty_or_too_wide(read):
    data = parquet(pa.table({"a": ["x", "y" * 2000]}))
    lines, state = read(data, format="parquet")
    assert ([line for line, _ in lines], faults(state)) == ([1], [(2, "too long: over the limit of 1,000 bytes")])
    lines, state = read(data[:-10], format="parquet")
    assert (lines, state.lines) == ([], 0)
    assert faults(state)[0][1].startswith("damaged Parquet after line 0: ")
    assert faults(read(parquet(pa.table({"a": []})), format="parquet")[1]) == [(None, "empty file")]
    assert faults(read(b"", format="parquet")[1])[0][0] is None


def test_a_file_that_is_gone(tmp_path):
    for format in ("jsonl", "csv", "parquet"):
        gone = tmp_path / "gone"
        state = FileRead(
            file=RawFile(path=gone, name="gone", arrival_date=date(2026, 1, 2), format=format, compression=None)
        )
        assert list(read_texts(state)) == []
        assert (state.sha256, state.lines, len(state.faults)) == (None, 0, 1)
        assert "No such file" in state.damage
