"""Verdicts that nobody gave: those of careful and careless readers, simulated where the truth is known.

With them, the demo and tests cover everything that verdicts decide. Their origin is `simulated`, and so begin their
reviewers' names. Whatever counts them says so, and a person's first verdict on a row replaces them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import pyarrow.parquet as pq

from desk.desk import Desk
from feedback.audits.sample import unread
from feedback.audits.verdicts import Origin, Verdict, VerdictKind, append_verdicts
from feedback.exceptions import FeedbackError
from feedback.lake.event_schema import SENT_SUFFIX
from harbor.policy_book import CELLS, Cell
from harbor.replies import Judgement, judge


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A simulated reviewer, with the shares of drafts, in [0, 1], that it judges wrongly or cannot judge."""

    name: str
    wrong: float
    unsure: float


READERS: Final = (
    Reader(name="simulated-1", wrong=0.02, unsure=0.01),
    Reader(name="simulated-2", wrong=0.05, unsure=0.02),
)
"""The reviewers: the first reads every row, the second the rows that two are to read."""

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "invented_policy": "hallucinated_policy",
        "wrong_route": "wrong_routing",
        "wrong_decision": "wrong_decision",
    }
)


def simulate_verdicts(desk: Desk) -> int:
    """Add verdicts on the unread rows of the desk's sample, by its truth and the readers' error rates.

    The same desk, seed and draft always give the same verdict.

    Returns:
        How many verdicts were added.

    Raises:
        FeedbackError: the desk does not allow it, or its truth cannot be read.

    """
    if not desk.settings.audit_simulated:
        raise FeedbackError(
            f"desk {desk.name} does not let simulated verdicts stand in for people's; "
            f"set audit_simulated: true in {desk.path / 'desk.yaml'} (with truth: harbor), or read the sample with "
            "`feedback-kto audit review`"
        )
    # Rows that a person has read are left to people.
    rows = [row for row in unread(desk.lake).to_pylist() if not row["read_by"]]
    lacking = set(unread(desk.lake, simulated=True)["draft_id"].to_pylist())
    cells = _cells(desk.settings.input.parent / "truth.parquet")
    verdicts = []
    for row in rows:
        if row["draft_id"] not in lacking:
            continue
        cell = cells.get(row["draft_id"].removesuffix(SENT_SUFFIX))
        if cell is None:
            raise FeedbackError(
                f"the truth of draft {row['draft_id']} is not known, so it cannot be read; "
                "set audit_simulated: false for a desk that takes in other logs than the simulated ones"
            )
        judgement = judge(row["completion"], cell)
        readers = READERS[: row["readers"] or 1]
        verdicts += [_read(row, judgement, reader, seed=desk.settings.audit_seed) for reader in readers]
    append_verdicts(desk.lake, verdicts, origin=Origin.SIMULATED)
    return len(verdicts)


def _cells(path: Path) -> dict[str, Cell]:
    """Return the cell of the policy book that each draft belongs to."""
    book = {cell.name: cell for cell in CELLS}
    try:
        truth = pq.read_table(path, columns=["draft_id", "cell"]).to_pylist()
    except OSError as error:
        raise FeedbackError(
            f"{path} holds no truth ({error}); simulate the desk again with `feedback-kto demo`"
        ) from error
    return {row["draft_id"]: book[row["cell"]] for row in truth}


def _read(row: Mapping[str, Any], judgement: Judgement, reader: Reader, *, seed: int) -> Verdict:
    draft_id, right = row["draft_id"], judgement.right
    chance = _chance(f"{seed}|{reader.name}|{draft_id}")
    if chance < reader.unsure:
        return Verdict(draft_id=draft_id, reviewer=reader.name, verdict=VerdictKind.UNSURE)
    if chance < reader.unsure + reader.wrong:
        wrong = VerdictKind.UNDESIRABLE if right else VerdictKind.DESIRABLE
        return Verdict(draft_id=draft_id, reviewer=reader.name, verdict=wrong)
    if right:
        return Verdict(draft_id=draft_id, reviewer=reader.name, verdict=VerdictKind.DESIRABLE)
    reason = next((name for fault, name in _REASONS.items() if getattr(judgement, fault)), "incomplete")
    return Verdict(draft_id=draft_id, reviewer=reader.name, verdict=VerdictKind.UNDESIRABLE, reason=reason)


def _chance(text: str) -> float:
    """Return a number in [0, 1) that depends only on the text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
