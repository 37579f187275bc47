"""Decompress a raw file and split it into lines, in bounded memory for any content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

import zstandard
from zlib_ng import zlib_ng

from feedback.sources.raw_files import Compression, RawFile

HEAD: Final = 64 * 1024
"""Bytes of a faulty line that the quarantine keeps."""

BLOCK: Final = 1 << 20

# zstd has no output limit, and 4 bytes of it can decompress to 128 KiB: a step of 1 KiB stays below 32 MiB for any
# content. Small steps also keep the lines before damage: a step that fails returns nothing.
STEP: Final = 1024


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The fault of a line or, if `line` is None, of the file."""

    line: int | None
    reason: str
    head: bytes | None
    size: int
    sha256: str | None


@dataclass(kw_only=True)
class FileRead:
    """The state of reading a file; its reader fills it in."""

    file: RawFile
    size: int = 0
    sha256: str | None = None
    lines: int = 0
    faults: list[Fault] = field(default_factory=list)
    damage: str | None = None
    """Why the file could not be read to its end."""
    open_line: int | None = None
    """The last line's number, if no line end closes it."""

    def fault(self, line: int, reason: str, raw: bytes) -> None:
        """Add a fault: the line `line`, whose bytes are `raw`, cannot be used."""
        digest = hashlib.sha256(raw).hexdigest()
        self.faults.append(Fault(line=line, reason=reason, head=raw[:HEAD], size=len(raw), sha256=digest))

    def file_fault(self, reason: str) -> None:
        """Add a fault of the file as a whole."""
        self.faults.append(Fault(line=None, reason=reason, head=None, size=self.size, sha256=self.sha256))


class LongLine:
    """A line over the limit; only its head, its size and a running hash are in memory."""

    def __init__(self, parts: list[bytes]) -> None:
        self.head = b""
        self.size = 0
        self._sha256 = hashlib.sha256()
        for part in parts:
            self.add(part)

    def add(self, part: bytes) -> None:
        """Add the next bytes of the line."""
        if len(self.head) < HEAD:
            self.head = (self.head + part)[:HEAD]
        self.size += len(part)
        self._sha256.update(part)

    def fault(self, line: int, limit: int) -> Fault:
        """Turn the finished line into its fault."""
        reason = f"too long: over the limit of {limit:,} bytes"
        return Fault(line=line, reason=reason, head=self.head, size=self.size, sha256=self._sha256.hexdigest())


def read_lines(read: FileRead, *, limit: int) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the chunks of `read_chunks`, each split into lines."""
    for start, chunk in read_chunks(read, limit=limit):
        yield start, chunk.split(b"\n")


def read_chunks(read: FileRead, *, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield the file's lines, many at a time, as (number of the first, consecutive lines with line ends between them).

    A line over `limit` bytes goes to `read.faults` and is left out. Damage to the file ends the lines and is recorded
    in `read.damage`; a last line without a line end is yielded like any other and recorded in `read.open_line`.
    """
    parts: list[bytes] = []  # of the line that the last block left unfinished
    held = 0
    long: LongLine | None = None
    for block in read_blocks(read):
        whole, ends, rest = block.rpartition(b"\n")
        if ends and long is not None:
            last_part, more, whole = whole.partition(b"\n")
            long.add(last_part)
            read.lines += 1
            read.faults.append(long.fault(read.lines, limit))
            long = None
            if more:
                yield from _within(whole, read, limit)
        elif ends:
            yield from _within(b"".join([*parts, whole]), read, limit)
            parts, held = [], 0
        if long is not None:
            long.add(rest)
        elif rest:
            parts.append(rest)
            held += len(rest)
            if held > limit:
                long, parts, held = LongLine(parts), [], 0
    if read.damage is not None:
        read.damage += f" after line {read.lines}"
    if long is not None:
        read.lines += 1
        read.faults.append(long.fault(read.lines, limit))
    elif held:
        read.open_line = read.lines + 1
        yield from _within(b"".join(parts), read, limit)


def _within(chunk: bytes, read: FileRead, limit: int) -> Iterator[tuple[int, bytes]]:
    """Number the lines of a chunk, leaving out those over the limit."""
    start = read.lines + 1
    if len(chunk) <= limit:
        read.lines += chunk.count(b"\n") + 1
        yield start, chunk
        return
    run: list[bytes] = []
    for line in chunk.split(b"\n"):
        read.lines += 1
        if len(line) > limit:
            if run:
                yield start, b"\n".join(run)
            read.faults.append(LongLine([line]).fault(read.lines, limit))
            run, start = [], read.lines + 1
        else:
            run.append(line)
    if run:
        yield start, b"\n".join(run)


class _Inflater(Protocol):
    """The common interface of zlib-ng's and zstandard's decompression objects."""

    def decompress(self, data: bytes, /) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


# Each gzip member or zstd frame needs a new one: files written by appending hold several. 31 requires a gzip header.
# zlib-ng takes half the time of zlib with equal bytes, on damaged files too; ISA-L is faster but takes text for gzip.
_INFLATERS: Final[dict[Compression, Callable[[], _Inflater]]] = {
    "gzip": lambda: zlib_ng.decompressobj(31),
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


def read_blocks(read: FileRead) -> Iterator[bytes]:
    """Yield the file's decompressed bytes in blocks of about `BLOCK`, and hash its stored bytes on the way."""
    compression = read.file.compression
    raw = _raw_blocks(read)
    if compression is None:
        yield from raw
        return
    pending: list[bytes] = []
    held = 0
    for part in _inflate(raw, compression, read):
        pending.append(part)
        held += len(part)
        if held >= BLOCK:
            yield b"".join(pending)
            pending, held = [], 0
    if pending:
        yield b"".join(pending)


def _raw_blocks(read: FileRead) -> Iterator[bytes]:
    sha256 = hashlib.sha256()
    try:
        with read.file.path.open("rb") as file:
            while block := file.read(BLOCK):
                sha256.update(block)
                read.size += len(block)
                yield block
    except OSError as error:
        read.damage = f"the file cannot be read: {error.strerror}"
    else:
        read.sha256 = sha256.hexdigest()


def _inflate(raw: Iterator[bytes], compression: Compression, read: FileRead) -> Iterator[bytes]:
    inflater = _INFLATERS[compression]()
    between = True  # before the first byte of a member or frame, where a file may end
    for block in raw:
        if read.damage is not None:
            continue  # the rest is read only for the file's hash and size
        for start in range(0, len(block), STEP):
            data = block[start : start + STEP]
            while data:
                if between and compression == "gzip" and not (data := data.lstrip(b"\0")):
                    break  # gzip files may be padded with zeros
                try:
                    out = inflater.decompress(data)
                except (zlib_ng.error, zstandard.ZstdError):  # type: ignore[misc]  # zlib-ng's stub has an instance
                    read.damage = f"damaged {compression}"
                    break
                if out:
                    yield out
                between = inflater.eof
                data = inflater.unused_data if between else b""
                if between:
                    inflater = _INFLATERS[compression]()
            if read.damage is not None:
                break
    if not between and read.damage is None:
        read.damage = f"truncated {compression}"


def hash_file(path: Path) -> tuple[int, str]:
    """Return the size in bytes and the SHA-256 (hex) of a file that another reader opens itself."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return path.stat().st_size, digest
