"""The summary of a run of the main job, read back from the desk."""

from __future__ import annotations

import json
from datetime import UTC
from pathlib import Path
from typing import Any

from desk.desk import Desk
from feedback.ingest.quarantine_reasons import count_reasons
from feedback.lake.tables import EVENTS, FILES, INTERACTIONS, LABELS, QUARANTINE
from feedback.training_set.build import read_training_set
from label_policy import CLASSES, Label, State, strength

_MOST_REASONS = 20


def summarise(desk: Desk, seconds: dict[str, float]) -> dict[str, Any]:
    """The desk's newest figures from raw lines to release, as one JSON object.

    Args:
        desk: whose lake and folders to read.
        seconds: how long each stage of the run took; what stages that it did not reach would have made is left out.
    """
    summary = summarise_record(desk)
    if "training_set" in seconds:
        summary |= _summarise_training_set(desk)
    if "release" in seconds:
        summary |= _summarise_models(desk)
    return summary | {"seconds": {name: round(value, 2) for name, value in seconds.items()}}


def summarise_record(desk: Desk) -> dict[str, Any]:
    """The desk's figures from raw lines to labels."""
    with desk.lake.sql(EVENTS, FILES, INTERACTIONS, LABELS, QUARANTINE) as connection:
        names = ("files", "lines", "mapped", "ignored", "quarantined", "events", "duplicates")
        books = connection.execute(
            "SELECT count(*), " + ", ".join(f"coalesce(sum({name}), 0)::BIGINT" for name in names[1:]) + " FROM files"
        ).fetchall()[0]
        parts: dict[str, int] = {}
        for (text,) in connection.execute("SELECT parts_ignored FROM files").fetchall():
            for reason, count in json.loads(text).items():
                parts[reason] = parts.get(reason, 0) + count
        kinds = dict(connection.execute("SELECT kind, count(*) FROM events GROUP BY kind ORDER BY kind").fetchall())
        interactions = connection.execute("SELECT count(*) FROM interactions").fetchall()[0][0]
        labels = dict(connection.execute("SELECT label, count(*) FROM labels GROUP BY label").fetchall())
        tiers: dict[str, dict[str, int]] = {}
        for tier, label, count in connection.execute(
            "SELECT tier, label, count(*) FROM labels WHERE tier IS NOT NULL GROUP BY ALL ORDER BY ALL"
        ).fetchall():
            tiers.setdefault(tier, {})[label] = count
        as_of = connection.execute("SELECT max(as_of) FROM labels").fetchall()[0][0]
        provisional = connection.execute(
            f"SELECT count(*) FROM labels WHERE state = '{State.PROVISIONAL}' AND label <> '{Label.ABSTAIN}'"
        ).fetchall()[0][0]
        reasons = count_reasons(
            connection.execute("SELECT reason, count(*) FROM quarantine GROUP BY reason").fetchall(),
            _MOST_REASONS,
        )
        incomplete = connection.execute(
            "SELECT file, incomplete_reason FROM files WHERE NOT complete ORDER BY arrival_date, file"
        ).fetchall()
    return {
        "source": desk.name,
        "as_of": as_of and as_of.astimezone(UTC).isoformat(),
        **dict(zip(names, books, strict=True)),
        "parts_ignored": parts,
        "quarantine_reasons": reasons,
        "incomplete_files": dict(incomplete),
        "kinds": kinds,
        "interactions": interactions,
        "labels": {str(label): labels.get(label, 0) for label in Label},
        "provisional": provisional,
        "tiers": {tier: tiers[tier] for tier in sorted(tiers, key=strength)},
    }


def _summarise_training_set(desk: Desk) -> dict[str, Any]:
    training_set = read_training_set(Path(_pointer(desk, "training_set")["path"]))
    counts = training_set.manifest["counts"]
    return {
        "training_set": {
            "version": training_set.version,
            **{str(name): counts["train"].get(name, 0) for name in CLASSES},
            "heldout": sum(counts["heldout"].values()),
            "left_out": training_set.manifest["left_out"],
            "preferences": training_set.manifest["preferences"],
            "audit": _summarise_audit(training_set.manifest.get("audit")),
        }
    }


def _summarise_audit(audit: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the audit's decision; None where the policy asks for none, or the set is older than audits."""
    if audit is None or not audit["asked"]:
        return None
    gate = audit["gate"]
    return {name: gate[name] for name in ("passed", "reasons", "excluded", "notes", "override", "simulated")}


def _summarise_models(desk: Desk) -> dict[str, Any]:
    pointers = {name: _pointer(desk, name) for name in ("kto_candidate", "evaluation", "release")}
    evaluation = pointers["evaluation"]
    record = json.loads((Path(pointers["kto_candidate"]["path"]) / "training.json").read_text(encoding="utf-8"))
    return {
        "train": {
            **record["metrics"],
            "rows_seen": record["rows"]["seen"],
            "share_of_rows_seen": record["rows"]["share_seen"],
        },
        "heldout": evaluation["heldout"],
        "truth": evaluation["truth"],
        "gate": evaluation["gate"],
        "candidate": pointers["kto_candidate"]["path"],
        "release": pointers["release"]["path"],
        "promoted": pointers["release"]["promoted"],
    }


def _pointer(desk: Desk, name: str) -> dict[str, Any]:
    return dict(json.loads((desk.current / f"{name}.json").read_text(encoding="utf-8")))
