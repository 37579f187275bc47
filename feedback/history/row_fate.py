"""Whether a row trains, and why not: its fate in `training_rows` among the rows with the same text.

Only the labels with the row's prompt are read, so that one row's fate does not cost as much as a training set.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from feedback.lake.connections import connected
from feedback.lake.delta import Lake
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import LABELS
from feedback.training_set.redaction import install_redaction
from feedback.training_set.rows import Fate, preference_pairs, training_rows
from label_policy import CLASSES, Label, Policy, strength


@dataclass(frozen=True, kw_only=True)
class RowFate:
    """The fate of a row in a training set built now.

    Attributes:
        fate: a `Fate`, or why its label has none: ``not labelled``, ``abstains`` or ``provisional``.
        split: ``train`` or ``heldout``; None where the row is not kept.
        weight: its weight in training; None where the row is not kept.
        because_of: the rows that cause its fate: those that it repeats or that contradict it.
        pairs: the preference pairs that it is a side of: ``row_id`` is preferred to ``rejected_row_id``.

    """

    fate: str
    split: str | None = None
    weight: float | None = None
    because_of: tuple[str, ...] = ()
    pairs: tuple[dict[str, Any], ...] = ()

    @property
    def trains(self) -> bool:
        """Whether the row itself is trained on."""
        return self.fate == Fate.KEPT and self.split == "train"

    @property
    def stands_for(self) -> tuple[str, ...]:
        """The row that is kept in its place, if it repeats one."""
        return self.because_of if self.fate == Fate.DUPLICATE else ()


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A place of a row in a training set: as a row, or as a side of a preference pair."""

    version: str
    row_id: str
    part: str
    split: str


# Prompts are compared after redaction, as in the training set, and redacting all of them takes long. Redaction keeps
# the number of messages and the text before the first replacement, so these two select the candidates first.
_PROMPT = """
SELECT len(prompt), split_part(coalesce(redact_prompt(prompt)[-1].content, ''), '[', 1)
FROM stored WHERE draft_id = $1 AND shown_date = $2
"""
_NEAR = """
SELECT draft_id, shown_date FROM stored
WHERE len(prompt) IS NOT DISTINCT FROM $1 AND starts_with(coalesce(prompt[-1].content, ''), $2)
"""
_SAME_PROMPT = """
CREATE TEMP TABLE labels AS
WITH few AS MATERIALIZED (SELECT * FROM near WHERE draft_id IN (SELECT unnest($ids)))
SELECT * FROM few
WHERE redact_prompt(prompt) IS NOT DISTINCT FROM (SELECT redact_prompt(prompt) FROM few WHERE draft_id = $row LIMIT 1)
"""
_SIDES = ("row_id", "rejected_row_id")
_MOST_SETS = 90
"""Training sets that are searched for a row: a quarter's, with one a night."""


def read_row_fate(
    lake: Lake, policy: Policy, row_id: str, *, day: date, heldout: float, salt: str, excluded: Collection[str] = ()
) -> RowFate:
    """Return the fate of a stored label in a training set built now.

    Args:
        lake: holds the labels.
        policy: sets which tiers train.
        row_id: the label's id.
        day: the day on which its draft was shown.
        heldout: share of tickets that training never sees.
        salt: changes which tickets are held out.
        excluded: tiers that failed their audit.

    """
    with lake.sql() as connection:
        view_stored(connection, lake, LABELS, name="stored")
        install_redaction(connection)
        prompt = connection.execute(_PROMPT, [row_id, day]).fetchall()
        if not prompt:
            return RowFate(fate="not labelled")
        near = connection.execute(_NEAR, prompt[0]).fetchall()
        # Only the texts of these rows are read, from the files of their days.
        view_stored(connection, lake, LABELS, name="near", days={day for _, day in near})
        connection.execute(_SAME_PROMPT, {"row": row_id, "ids": sorted({draft_id for draft_id, _ in near})})
        [(label, state), *_] = connection.execute(
            "SELECT label, state FROM labels WHERE draft_id = $1", [row_id]
        ).fetchall()
        rows = training_rows(connection, policy, heldout=heldout, salt=salt, excluded=excluded).to_pylist()
        all_pairs = preference_pairs(connection, policy, heldout=heldout, salt=salt, excluded=excluded)
        all_sides = all_pairs.select([*_SIDES, "split"]).to_pylist()
    pairs = tuple(pair for pair in all_sides if row_id in (pair[side] for side in _SIDES))
    row = next((row for row in rows if row["row_id"] == row_id), None)
    if row is None:
        return RowFate(fate="abstains" if label == Label.ABSTAIN else state, pairs=pairs)
    if row["fate"] == Fate.KEPT:
        return RowFate(fate=Fate.KEPT, split=row["split"], weight=row["weight"], pairs=pairs)
    same = [other for other in rows if other["completion"] == row["completion"] and other is not row]
    return RowFate(fate=row["fate"], because_of=tuple(_because_of(row, same)), pairs=pairs)


def _because_of(row: dict[str, Any], same: list[dict[str, Any]]) -> list[str]:
    """Return the rows with the same text that cause a row's fate."""
    if row["fate"] == Fate.DUPLICATE:
        return [other["row_id"] for other in same if other["label"] == row["label"] and other["fate"] == Fate.KEPT]
    if row["fate"] in (Fate.CONTRADICTED, Fate.OVERRULED):
        against = [other for other in same if other["label"] != row["label"] and other["weight"]]
        return [other["row_id"] for other in against if strength(other["tier"]) <= strength(row["tier"])]
    return []


def find_holdings(training_sets: Path, row_ids: Sequence[str]) -> tuple[list[Holding], int]:
    """Find the rows in the newest training sets, by version, row and part.

    A desk builds a set a night, so a search of all sets would take longer every day.

    Args:
        training_sets: folder of the desk's training sets.
        row_ids: the rows to look for.

    Returns:
        The holdings, and how many older sets were not searched.

    """
    # A set without a manifest is still being written.
    manifests = [*training_sets.glob("*/manifest.json")]
    newest = sorted(manifests, key=_as_of, reverse=True)[:_MOST_SETS]
    holdings: set[Holding] = set()
    with connected() as connection:
        for part, columns in _PARTS.items():
            files = [str(path) for manifest in newest for path in (manifest.parent / part).glob("*.parquet")]
            for column in columns if files else ():
                rows = connection.execute(
                    f"SELECT DISTINCT filename, {column} FROM read_parquet($files, filename = true)"
                    f" WHERE {column} IN (SELECT unnest($ids))",
                    {"files": files, "ids": list(row_ids)},
                ).fetchall()
                for name, row_id in rows:
                    file = Path(name)
                    version, split = file.parents[1].name, file.name.split("-")[0]
                    holdings.add(Holding(version=version, row_id=row_id, part=part, split=split))
    in_order = sorted(holdings, key=lambda holding: (holding.version, holding.row_id, holding.part))
    return in_order, len(manifests) - len(newest)


def _as_of(manifest: Path) -> str:
    """Return the moment of a set's newest labels in ISO and UTC, which sorts as text."""
    return str(max(json.loads(manifest.read_text(encoding="utf-8"))["as_of"], default=""))


_PARTS = {**dict.fromkeys(map(str, CLASSES), ("row_id",)), "preferences": _SIDES}
