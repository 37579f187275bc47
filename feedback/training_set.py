"""Training sets: immutable Parquet that any tool reads, named by a hash of its rows.

Only final labels train. Texts are redacted; a (prompt, completion) seen twice counts once; one seen with both labels
keeps the stronger tier's, or is left out where the tiers are equal. Tickets, not rows, are held out.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feedback.exceptions import FeedbackError
from feedback.labels import days_behind
from feedback.lake import Lake
from feedback.redaction import PATTERNS, install_redaction
from feedback.tables import EVENTS, FILES, INTERACTIONS, LABELS
from label_policy import Policy

# Strongest first: what decides between two labels of the same text.
TIERS = ("critical", "explicit", "strong", "weak")
COLUMNS = (
    "prompt", "completion", "label", "weight", "tier", "rule", "category", "ticket_id", "shown_date", "row_id",
)  # fmt: skip
_SQL = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_SHARD_ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class TrainingSet:
    """A training set on disk."""

    path: Path
    manifest: dict[str, Any]

    @property
    def version(self) -> str:
        """The hash of its rows."""
        return str(self.manifest["version"])


def build_training_set(
    lake: Lake, policy: Policy, root: Path, *, heldout: float = 0.1, salt: str = "heldout"
) -> TrainingSet:
    """Write the training set that the lake's labels make to `root/<version>`, or find it there.

    Args:
        lake: holds the labels.
        policy: the policy that made them; rows labelled by another digest stop the build.
        root: folder of the desk's training sets.
        heldout: share of tickets, in [0, 1), that training never sees.
        salt: changes which tickets those are.

    Raises:
        FeedbackError: no row trains, or some labels are of another policy.

    """
    behind, total = days_behind(lake, policy)
    if not total:
        raise FeedbackError("nothing is labelled yet; `feedback-kto run` makes everything from the raw logs on")
    if behind:
        raise FeedbackError(
            f"{len(behind)} of {total} labelled days were labelled by other rules than {policy.name} {policy.version} "
            f"has now (digest {policy.digest[:12]}; first {behind[0]}); run `feedback-kto relabel` first"
        )
    with lake.sql(LABELS) as connection:
        install_redaction(connection)
        rows = connection.sql(_SQL, params={"salt": salt, "heldout": heldout, "tiers": list(TIERS)}).to_arrow_table()
        by_state = connection.execute("SELECT label, state, count(*) FROM labels GROUP BY ALL ORDER BY ALL").fetchall()
        as_of = connection.execute("SELECT min(as_of), max(as_of) FROM labels").fetchone()
    fates = _counts(rows, "fate")
    rows = rows.filter(pc.equal(rows.column("fate"), "kept"))
    if rows.num_rows == 0:
        states = ", ".join(f"{count} {label} {state}" for label, state, count in by_state)
        with lake.sql(FILES) as connection:
            lines, quarantined = connection.execute("SELECT sum(lines), sum(quarantined) FROM files").fetchall()[0]
        raise FeedbackError(
            f"no label can train yet under {policy.name} {policy.version} (labels: {states}; {quarantined or 0} of "
            f"{lines or 0} raw lines in quarantine); see what `feedback-kto source check` says, bring logs with "
            "reactions, or wait until the policy's maturity windows have passed"
        )
    version = content_version(rows)
    path = root / version
    if not (path / "manifest.json").exists():
        manifest = {
            "version": version,
            "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
            "lake": {table.name: lake.version(table) for table in (EVENTS, INTERACTIONS, LABELS)},
            "as_of": [moment.isoformat() for moment in as_of or () if moment],
            "heldout": {"share_of_tickets": heldout, "salt": salt},
            "labels": [{"label": label, "state": state, "rows": count} for label, state, count in by_state],
            "left_out": {fate: count for fate, count in fates.items() if fate != "kept"},
            "redactions": _redactions(rows),
            "counts": count_rows(rows),
            "lambda_bounds": lambda_bounds(rows),
            "days": [str(day) for day in _first_and_last_day(rows)],
        }
        _write(rows, path, manifest)
    return read_training_set(path)


def read_training_set(path: Path) -> TrainingSet:
    """Open the training set in the folder `path`."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeedbackError(f"{path} is no training set ({error}); build it with the training_set asset") from error
    return TrainingSet(path=path, manifest=manifest)


def tickets_on_both_sides(path: Path) -> list[str]:
    """Tickets of the training set at `path` that have both training and held-out rows; there should be none."""
    with duckdb.connect() as connection:
        return [
            ticket
            for (ticket,) in connection.execute(
                """
                SELECT DISTINCT ticket_id FROM read_parquet($train) WHERE ticket_id IN (
                    SELECT ticket_id FROM read_parquet($heldout)) ORDER BY ticket_id
                """,
                {
                    "train": str(path / "*" / "train-*.parquet"),
                    "heldout": str(path / "*" / "heldout-*.parquet"),
                },
            ).fetchall()
        ]


def content_version(rows: pa.Table) -> str:
    """SHA-256, cut to 16 hex digits, over the rows in `row_id` order, each as canonical JSON of its columns and split.

    It depends on nothing but the rows: not on the machine, the library versions, or when and in what order they came.
    """
    digest = hashlib.sha256()
    # A batch at a time, since a row as Python objects takes many times its size as Arrow.
    for batch in rows.select([*COLUMNS, "split"]).sort_by("row_id").to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            text = json.dumps(row, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=date.isoformat)
            digest.update(text.encode() + b"\n")
    return digest.hexdigest()[:16]


def count_rows(rows: pa.Table) -> dict[str, Any]:
    """Rows by class and split, and by tier, rule and category within a class."""
    named = rows.append_column("class", pc.if_else(rows.column("label"), "desirable", "undesirable"))
    counts: dict[str, Any] = {"train": {}, "heldout": {}, "tier": {}, "rule": {}, "category": {}}

    def count(*columns: str) -> list[tuple[Any, ...]]:
        table = named.group_by(list(columns)).aggregate([([], "count_all")])
        return sorted(tuple(row.values()) for row in table.select([*columns, "count_all"]).to_pylist())

    named = named.set_column(
        named.column_names.index("category"), "category", pc.fill_null(named.column("category"), "none")
    )
    for split, name, number in count("split", "class"):
        counts[split][name] = number
    for column in ("tier", "rule", "category"):
        for value, name, number in count(column, "class"):
            counts[column].setdefault(value, {})[name] = number
    return counts


def lambda_bounds(rows: pa.Table) -> dict[str, list[float] | None]:
    """The λ_D that keeps λ_D·n_D / (λ_U·n_U) in [1, 3/2] at λ_U = 1, and likewise λ_U at λ_D = 1, over training rows.

    Ethayarajh et al. 2024 (arXiv 2402.01306), on imbalanced data. Null where a class is empty.
    """
    labels = rows.filter(pc.equal(rows.column("split"), "train")).column("label").to_pylist()
    desirable = sum(labels)
    undesirable = len(labels) - desirable
    if not desirable or not undesirable:
        return {"desirable_weight": None, "undesirable_weight": None}
    ratio = undesirable / desirable
    return {
        "desirable_weight": [round(ratio, 4), round(1.5 * ratio, 4)],
        "undesirable_weight": [round(1 / (1.5 * ratio), 4), round(1 / ratio, 4)],
    }


def _counts(rows: pa.Table, column: str) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in rows.column(column).value_counts().to_pylist()}


def _redactions(rows: pa.Table) -> dict[str, int]:
    texts = pa.chunked_array(
        [
            *rows.column("completion").chunks,
            *pc.struct_field(pc.list_flatten(rows.column("prompt")), "content").chunks,
        ]
    )
    return {name: pc.sum(pc.count_substring(texts, f"[{name}]")).as_py() or 0 for name in PATTERNS}


def _first_and_last_day(rows: pa.Table) -> Iterable[date]:
    extremes = pc.min_max(rows.column("shown_date")).as_py()
    return extremes["min"], extremes["max"]


def _write(rows: pa.Table, path: Path, manifest: dict[str, Any]) -> None:
    """Write beside and rename into place, so that a folder that exists is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    beside.chmod(0o755)  # mkdtemp's 0700 would hide the set from the people it is for
    try:
        for name, label in (("desirable", True), ("undesirable", False)):
            (beside / name).mkdir()
            for split in ("train", "heldout"):
                part = rows.filter(
                    pc.and_(
                        pc.equal(rows.column("label"), label),
                        pc.equal(rows.column("split"), split),
                    )
                ).select(COLUMNS)
                for shard, start in enumerate(range(0, max(part.num_rows, 1), _SHARD_ROWS)):
                    pq.write_table(
                        part.slice(start, _SHARD_ROWS), beside / name / f"{split}-{shard:05d}.parquet",
                        compression="zstd",
                    )  # fmt: skip
        (beside / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        try:
            beside.rename(path)
        except OSError:
            # Another run wrote the same content first; a version names its content, so theirs is ours.
            if not (path / "manifest.json").exists():
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
