"""Build training sets: immutable Parquet that any tool reads, named by a hash of its rows.

Only final labels train. Texts are redacted. A (prompt, completion) that occurs twice counts once; one with both labels
keeps the stronger tier's label, or is left out where the tiers are equal. Tickets, not rows, are held out. If one text
was preferred to another, the two are also in the set as a pair.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feedback.audits.audit_outcome import manifest_section, measure_audit
from feedback.exceptions import FeedbackError
from feedback.labels.corrections import count_causes, flip_rate
from feedback.labels.ledger import days_behind
from feedback.lake.connections import connected
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS, LABELS
from feedback.lake.validation_log import newest_outcomes
from feedback.training_set.class_balance import lambda_bounds
from feedback.training_set.provisional import say_provisional
from feedback.training_set.rows import (
    COLUMNS,
    PAIR_COLUMNS,
    Fate,
    content_version,
    count_redactions,
    count_rows,
    preference_pairs,
    training_rows,
)
from label_policy import CLASSES, Label, Policy

SPLITS = ("train", "heldout")
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
    lake: Lake,
    policy: Policy,
    root: Path,
    *,
    heldout: float = 0.1,
    salt: str = "heldout",
    simulated: bool = False,
    audit: Mapping[str, Any] | None = None,
) -> TrainingSet:
    """Write the training set of the lake's labels to `root/<version>`, or return the one that exists.

    It is written for every outcome of the audit, without the tiers that failed. Its manifest says whether it may train,
    and `kto_core` refuses one that may not.

    Args:
        lake: holds the labels.
        policy: the policy that gave them; days of another policy, or without a ledger entry, stop the build.
        root: folder of the desk's training sets.
        heldout: share of tickets, in [0, 1), that training never sees.
        salt: changes which tickets are held out.
        simulated: whether simulated verdicts count.
        audit: the section `audit` of an earlier manifest, used unchanged; by default the current verdicts decide it.

    Raises:
        FeedbackError: no row trains, some labels are of another policy, or a critical rule of validation does not hold
            for some day.

    """
    validation = newest_outcomes(lake)
    _refuse_invalid(validation)
    behind, total = days_behind(lake, policy)
    if not total:
        raise FeedbackError("nothing is labelled yet; `feedback-kto run` builds everything from the raw logs")
    if behind:
        raise FeedbackError(
            f"{len(behind)} of {total} days behind {policy.name} v{policy.version}: no ledger entry says that its "
            f"current rules gave the labels of {behind[0]}, the first; `feedback-kto policy plan` shows what they "
            "would change, `policy apply` or `feedback-kto relabel` applies it"
        )
    audit = audit or manifest_section(measure_audit(lake, policy, simulated=simulated), policy)
    excluded = audit["gate"]["excluded"]
    precision = {rule: row["used"] for rule, row in audit["rules"].items() if row["used"] is not None}
    with lake.sql(LABELS) as connection:
        rows = training_rows(connection, policy, heldout=heldout, salt=salt, excluded=excluded, precision=precision)
        pairs = preference_pairs(connection, policy, heldout=heldout, salt=salt, excluded=excluded)
        by_state = connection.execute("SELECT label, state, count(*) FROM labels GROUP BY ALL ORDER BY ALL").fetchall()
        as_of = connection.execute("SELECT min(as_of), max(as_of) FROM labels").fetchone()
    fates = _counts(rows, "fate")
    rows = rows.filter(pc.equal(rows.column("fate"), str(Fate.KEPT)))
    if rows.num_rows == 0:
        states = ", ".join(f"{count:,} {label} {state}" for label, state, count in by_state)
        waiting = say_provisional(lake)
        with lake.sql(FILES) as connection:
            lines, quarantined = connection.execute("SELECT sum(lines), sum(quarantined) FROM files").fetchall()[0]
        raise FeedbackError(
            f"no label can train yet under {policy.name} {policy.version} (labels: {states}; {quarantined or 0} of "
            f"{lines or 0} raw lines in quarantine); "
            + (f"{waiting}: wait for them, or " if waiting else "run `feedback-kto source check`, or ")
            + "add logs with reactions"
            + "".join(f"; {note}" for note in audit["gate"]["notes"])
        )
    version = content_version(rows, pairs, _decided(audit) if audit["asked"] or precision else None)
    path = root / version
    if not (path / "manifest.json").exists():
        counts = count_rows(rows)
        manifest = {
            "version": version,
            "policy": {"name": policy.name, "version": policy.version, "digest": policy.digest},
            "lake": {table.name: lake.version(table) for table in (EVENTS, INTERACTIONS, LABELS)},
            "audit": audit,
            "as_of": [moment.isoformat() for moment in as_of or () if moment],
            "heldout": {"share_of_tickets": heldout, "salt": salt},
            "labels": [{"label": label, "state": state, "rows": count} for label, state, count in by_state],
            "left_out": {fate: count for fate, count in fates.items() if fate != Fate.KEPT},
            "redactions": count_redactions(rows),
            "counts": counts,
            "preferences": {split: _counts(pairs, "split").get(split, 0) for split in SPLITS},
            "lambda_bounds": lambda_bounds(**counts["train"]),
            "validation": validation,
            "corrections": count_causes(lake),
            "flip_rate": flip_rate(lake),
            "days": [str(day) for day in _first_and_last_day(rows)],
        }
        _write(rows, pairs, path, manifest)
    return read_training_set(path)


def _refuse_invalid(validation: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse days that an earlier run found invalid: a blocking check stops only its own run."""
    for asset, outcomes in validation.items():
        for rule, days in outcomes["critical"].items():
            raise FeedbackError(
                f"{rule} does not hold for {len(days)} days of {asset}, {days[0]} the first, and it is critical; do "
                f"what docs/validation.md says and run those days again (`feedback-kto run --from {days[0]}`)"
            )


def read_training_set(path: Path) -> TrainingSet:
    """Open the training set in the folder `path`."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeedbackError(f"{path} is no training set ({error}); build it with the training_set asset") from error
    return TrainingSet(path=path, manifest=manifest)


def recorded_audit(root: Path, like: Path) -> Mapping[str, Any] | None:
    """Return the audit of the newest set under `root` with the same labels as the set `like`.

    The same labels are of the same policy and as of the same moments. None where there is no such set, or it is from a
    release without audits.
    """
    labels = _labels_of(read_training_set(like).manifest)
    newest_first = sorted(root.glob("*/manifest.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    manifests = (read_training_set(path.parent).manifest for path in newest_first)
    return next((each.get("audit") for each in manifests if _labels_of(each) == labels), None)


def _labels_of(manifest: Mapping[str, Any]) -> tuple[Any, ...]:
    return manifest["policy"], manifest["as_of"], manifest["heldout"], manifest["labels"]


def tickets_on_both_sides(path: Path) -> list[str]:
    """Return the tickets of the training set at `path` with both training and held-out rows; there should be none."""
    with connected() as connection:
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


def _decided(audit: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an audit that the set's version depends on: reading more rows does not rename the set."""
    gate = {name: audit["gate"][name] for name in ("passed", "reasons", "excluded", "override", "simulated")}
    precision = {name: estimate["precision"] for name, estimate in audit["precision"].items()}
    return {"gate": gate, "precision": precision}


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    return {item["values"]: item["counts"] for item in table.column(column).value_counts().to_pylist()}


def _first_and_last_day(rows: pa.Table) -> Iterable[date]:
    extremes = pc.min_max(rows.column("shown_date")).as_py()
    return extremes["min"], extremes["max"]


def _write(rows: pa.Table, pairs: pa.Table, path: Path, manifest: dict[str, Any]) -> None:
    """Write to a temporary folder and rename it, so that a folder that exists is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    temporary.chmod(0o755)  # mkdtemp's 0700 would hide the set from other users
    try:
        for name in CLASSES:
            of_class = pc.equal(rows.column("label"), name is Label.DESIRABLE)
            _write_splits(rows.filter(of_class), COLUMNS, temporary / name)
        if pairs.num_rows:
            _write_splits(pairs, PAIR_COLUMNS, temporary / "preferences")
        (temporary / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        try:
            temporary.rename(path)
        except OSError:
            # Another run wrote this version first; a version names its content, so both are equal.
            if not (path / "manifest.json").exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_splits(table: pa.Table, columns: Sequence[str], folder: Path) -> None:
    folder.mkdir()
    for split in SPLITS:
        part = table.filter(pc.equal(table.column("split"), split)).select(columns)
        for shard, start in enumerate(range(0, max(part.num_rows, 1), _SHARD_ROWS)):
            shard_path = folder / f"{split}-{shard:05d}.parquet"
            pq.write_table(part.slice(start, _SHARD_ROWS), shard_path, compression="zstd")
