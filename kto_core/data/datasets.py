"""Training rows: an SFT corpus, or a training-set folder in the layout of docs/design.md.

Data stays in Arrow until the rows of a run are known: a bounded run on a million rows turns only its own rows into
Python objects.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from kto_core.base.exceptions import TrainingError
from kto_core.base.store import read_json

Split = Literal["train", "heldout"]
CLASSES: Final = ("desirable", "undesirable")
"""The classes of rows, and the names of their folders in a training set."""


class Message(TypedDict):
    """One turn of a prompt: the role (`system`, `user`, `assistant` or a desk's own) and the text."""

    role: str
    content: str


PROMPT = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
CORPUS = pa.schema([("prompt", PROMPT), ("completion", pa.string())])
OPTIONAL = ("category", "precision")  # columns that may be missing, and are then null
LABELLED = pa.schema(
    [
        *CORPUS,
        ("label", pa.bool_()),
        ("weight", pa.float64()),
        ("category", pa.string()),
        ("precision", pa.float64()),
        ("ticket_id", pa.string()),
        ("row_id", pa.string()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Rows that training can use, and counts of unusable rows by reason.

    Attributes:
        table: columns of `CORPUS` or `LABELLED`, no nulls in prompt, completion, label and weight.
        refused: reason → number of rows left out.

    """

    table: pa.Table
    refused: dict[str, int]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def pairs(self, indices: Sequence[int] | None = None) -> list[tuple[list[Message], str]]:
        """Return (prompt, completion) as Python objects, of all rows or of those at `indices`, in that order."""
        table = self.table.select(["prompt", "completion"])
        if indices is not None:
            table = table.take(pa.array(indices, pa.int64()))
        return list(zip(table["prompt"].to_pylist(), table["completion"].to_pylist(), strict=True))

    def desirable(self) -> np.ndarray:
        """Return the label of every row, bool [rows]."""
        return np.asarray(self.table["label"].to_numpy(zero_copy_only=False), dtype=bool)

    def weights(self) -> np.ndarray:
        """Return the weight of every row, float64 [rows]."""
        return np.asarray(self.table["weight"].to_numpy(), dtype=np.float64)

    def precision(self) -> np.ndarray:
        """Return the measured precision of each row's label, float64 [rows]; NaN where not measured."""
        return np.asarray(self.table["precision"].to_numpy(), dtype=np.float64)

    def weighed(self, weights: np.ndarray) -> "Rows":
        """Return the same rows with other weights, float64 [rows]."""
        place = self.table.column_names.index("weight")
        return replace(self, table=self.table.set_column(place, "weight", pa.array(weights, pa.float64())))

    def characters(self) -> np.ndarray:
        """Return characters of prompt and completion together, int64 [rows]: a length that needs no tokenizer."""
        prompts = [_sums(chunk, pc.utf8_length(_contents(chunk)).to_numpy()) for chunk in self.table["prompt"].chunks]
        answers = pc.utf8_length(self.table["completion"]).to_numpy()
        return np.asarray(np.concatenate(prompts) + answers, dtype=np.int64)

    def prompt_keys(self) -> list[bytes]:
        """Return a key of every row's prompt; equal prompts have equal keys in every set of rows."""
        keys: list[bytes] = []
        for chunk in self.table["prompt"].chunks:
            turns = pc.binary_join_element_wise(_roles(chunk), _contents(chunk), "\x1f")
            offsets = np.concatenate([[0], np.cumsum(pc.list_value_length(chunk).to_numpy())]).astype(np.int32)
            joined = pc.binary_join(pa.ListArray.from_arrays(offsets, turns), "\x1e")
            keys.extend(hashlib.blake2b(text.encode(), digest_size=12).digest() for text in joined.to_pylist())
        return keys

    def content_hash(self) -> str:
        """Return the SHA-256 in hex of the values of every row, in order, independent of files and chunks."""
        hasher = hashlib.sha256()
        prompts = self.table["prompt"].chunks
        for chunk in prompts:
            hasher.update(pc.list_value_length(chunk).to_numpy().astype(np.int64).tobytes())
        _hash_strings(hasher, [_roles(chunk) for chunk in prompts])
        _hash_strings(hasher, [_contents(chunk) for chunk in prompts])
        _hash_strings(hasher, self.table["completion"].chunks)
        for name in ("label", "weight"):
            if name in self.table.column_names:
                hasher.update(self.table[name].to_numpy(zero_copy_only=False).astype(np.float64).tobytes())
        return hasher.hexdigest()


def read_corpus(path: Path) -> Rows:
    """Read (prompt, completion) rows for SFT from a Parquet file, a folder of them, or a training set's desirable side.

    Rows may have a `weight`: rows of weight 0 are left out, and every other row counts once.

    Raises:
        TrainingError: if there is no file, a column is missing or of the wrong type, no row is usable, or the rows
            belong to a training set with a closed audit gate.

    """
    for place in (path, *path.absolute().parents[:2]):  # the set, one of its class folders, or a file in it
        if (place / "manifest.json").is_file():
            _refuse_closed(place, read_json(place / "manifest.json"))
    folder = path / CLASSES[0] if (path / CLASSES[0]).is_dir() else path
    files = (
        [path] if path.is_file() else sorted(f for f in folder.rglob("*.parquet") if not f.name.startswith("heldout"))
    )
    if not files:
        raise TrainingError(
            f"{path} holds no Parquet files to learn from; give a file or folder with prompt and completion"
        )
    weighted = CORPUS.append(pa.field("weight", pa.float64()))
    columns = pa.concat_tables(read_parquet(file, weighted, optional=("weight",)) for file in files)
    weighed = columns.set_column(2, "weight", pc.fill_null(columns["weight"], 1.0))
    rows = _usable(weighed, path, refuse_weightless=True)
    return replace(rows, table=rows.table.select(CORPUS.names))


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """A training-set folder.

    Attributes:
        folder: its path.
        manifest: its manifest.json.
        version: hash of its content, its name.

    """

    folder: Path
    manifest: dict[str, object]
    version: str

    @classmethod
    def open(cls, folder: Path) -> "TrainingSet":
        """Open a training set; its Parquet is read later.

        All training opens its data here, so that none bypasses the audit's gate.

        Raises:
            TrainingError: if the folder, its manifest or the version in it is missing, or its audit's gate is closed.

        """
        if not folder.is_dir():
            raise TrainingError(f"training set {folder} is not a folder")
        manifest = read_json(folder / "manifest.json")
        version = manifest.get("version")
        if not isinstance(version, str) or not version:
            raise TrainingError(f"{folder / 'manifest.json'} names no version; build the training set again")
        _refuse_closed(folder, manifest)
        return cls(folder=folder, manifest=manifest, version=version)

    def holds(self, split: Split) -> bool:
        """Return whether there are files of one side of the split."""
        return any(self.folder.glob(f"*desirable/{split}-*.parquet"))

    def rows(self, split: Split) -> Rows:
        """Read one side of the split, desirable rows first.

        Raises:
            TrainingError: if there is no file or no usable row, or a column is missing or of the wrong type.

        """
        files = [f for side in CLASSES for f in sorted((self.folder / side).glob(f"{split}-*.parquet"))]
        if not files:
            raise TrainingError(f"training set {self.folder} holds no {split}-*.parquet; build it again")
        return _usable(pa.concat_tables(read_parquet(file, LABELLED) for file in files), self.folder)


def _refuse_closed(folder: Path, manifest: dict[str, Any]) -> None:
    """Raise TrainingError if the audit's gate of the training set is closed."""
    audit = manifest.get("audit")
    gate = audit.get("gate") if isinstance(audit, dict) else None
    if isinstance(gate, dict) and gate.get("passed") is False:
        reasons = "; ".join(str(reason) for reason in gate.get("reasons", ())) or "its manifest has no reasons"
        raise TrainingError(
            f"training set {folder.name} may not train, since its audit's gate is closed: {reasons}; build it again "
            "with `feedback-kto retrain` once that is done, or open the gate with `feedback-kto audit override`"
        )


def read_parquet(file: Path, schema: pa.Schema, *, optional: Collection[str] = OPTIONAL) -> pa.Table:
    """Read the columns of `schema`, in its types; `optional` columns may be missing and are then null.

    Raises:
        TrainingError: if the file cannot be read; names a missing column.
    """
    try:
        present = pq.read_schema(file).names
        if missing := [name for name in schema.names if name not in present and name not in optional]:
            raise TrainingError(f"{file} lacks the column {missing[0]!r}; it has {', '.join(present)}")
        table = pq.ParquetFile(file).read(columns=[name for name in schema.names if name in present])
        for name in optional:
            if name in schema.names and name not in present:
                table = table.append_column(name, pa.nulls(table.num_rows, schema.field(name).type))
        return pa.table({field.name: table[field.name].cast(field.type) for field in schema}, schema=schema)
    except (pa.ArrowException, OSError) as error:
        raise TrainingError(f"{file} cannot be read as rows with {', '.join(schema.names)}: {error}") from error


def _usable(table: pa.Table, where: Path, *, refuse_weightless: bool = False) -> Rows:
    """Leave out unusable rows, counted by the first reason that applies."""
    reasons = {
        "empty prompt": pc.fill_null(pc.equal(pc.list_value_length(table["prompt"]), 0), True),
        "empty completion": pc.fill_null(
            pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(table["completion"])), 0), True
        ),
    }
    if "label" in table.column_names:
        reasons["no label"] = pc.is_null(table["label"])
    usable = pc.and_(pc.is_finite(table["weight"]), pc.greater_equal(table["weight"], 0))
    reasons["weight missing, negative or not finite"] = pc.invert(pc.fill_null(usable, False))
    if refuse_weightless:
        reasons["weight 0"] = pc.equal(table["weight"], 0)
    if "precision" in table.column_names:
        share = pc.and_(pc.greater_equal(table["precision"], 0), pc.less_equal(table["precision"], 1))
        reasons["precision not between 0 and 1"] = pc.invert(pc.fill_null(share, True))
    kept = np.ones(table.num_rows, dtype=bool)
    refused: dict[str, int] = {}
    for reason, column in reasons.items():
        holds = np.asarray(column.to_numpy(zero_copy_only=False), dtype=bool) & kept
        if holds.any():
            refused[reason] = int(holds.sum())
        kept &= ~holds
    if not kept.any():
        counts = ", ".join(f"{reason}: {count}" for reason, count in refused.items()) or "no rows at all"
        raise TrainingError(f"{where} holds no usable row ({counts}); check how its rows were built")
    return Rows(table=table.filter(pa.array(kept)), refused=refused)


def _roles(prompts: pa.ListArray) -> pa.Array:
    """Return the role of every turn of every prompt, in one array."""
    return pc.fill_null(pc.struct_field(prompts.flatten(), "role"), "")


def _contents(prompts: pa.ListArray) -> pa.Array:
    """Return the content of every turn of every prompt, in one array."""
    return pc.fill_null(pc.struct_field(prompts.flatten(), "content"), "")


def _sums(prompts: pa.ListArray, turns: np.ndarray) -> np.ndarray:
    """Sum a figure of every turn by prompt."""
    bounds = np.concatenate([[0], np.cumsum(pc.list_value_length(prompts).to_numpy())])
    totals = np.concatenate([[0], np.cumsum(turns)])
    return np.asarray(totals[bounds[1:]] - totals[bounds[:-1]])


def _hash_strings(hasher: "hashlib._Hash", chunks: list[pa.Array]) -> None:
    """Hash all lengths, then all bytes, so that chunk borders do not matter."""
    values_of_chunks: list[memoryview] = []
    for chunk in chunks:
        binary = chunk.cast(pa.large_binary())
        _, offsets, values = binary.buffers()
        bounds = np.frombuffer(offsets, dtype=np.int64)[binary.offset : binary.offset + len(binary) + 1]
        hasher.update(np.diff(bounds).tobytes())
        if values is not None:
            values_of_chunks.append(memoryview(values)[int(bounds[0]) : int(bounds[-1])])
    for view in values_of_chunks:
        hasher.update(view)
