"""One month at Harbor Support: train a copilot, let it draft replies, draw people's reactions, and write the logs.

A real desk has `raw/` and `transcripts.parquet`, too. `truth.parquet` says which drafts were right. Of the pipeline
only the audit's simulated readers use it; labels and training do not. The same settings give the same files. Run the
same simulation again to finish an interrupted one: the model store has the copilot, and every file is whole or absent.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from datetime import date, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harbor.copilot import draft_replies, train_copilot
from harbor.demo_settings import DEMO_SFT
from harbor.exceptions import HarborError
from harbor.journal import Shown, keep_journal, schedule, write_day
from harbor.replies import judge
from harbor.storage import replacing
from harbor.tickets import draw_tickets
from harbor.transcripts import past_transcripts, write_transcripts
from kto_core.base.progress import Report, silent

# Raise it when the book, the messages, the people or the journal change, so that no run continues an older one.
EDITION = 1
_RECORD = "simulation.json"


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The settings of a simulation; equal settings write equal files.

    Args:
        tickets: how many customers write, one draft each.
        days: how many days of logs, the last of which is `last_day`.
        seed: draws tickets, people, drafts and noise.
        last_day: fixed by default, so that the demo's logs are the same whenever it runs.
        transcripts: how many past conversations the copilot learns from.
        temperature: of the copilot's sampling; at 1 a draft is wrong as often as the copilot is unsure.
        sft: the copilot's training, as `kto_core.SFTConfig` takes it.

    """

    tickets: int = 6000
    days: int = 28
    seed: int = 7
    last_day: date = date(2026, 10, 31)
    transcripts: int = 6000
    temperature: float = 1.0
    sft: Mapping[str, Any] = field(default_factory=lambda: dict(DEMO_SFT))

    def __post_init__(self) -> None:
        for name in ("tickets", "days", "transcripts"):
            if getattr(self, name) < 1:
                raise HarborError(f"a simulation needs at least one of {name}, not {getattr(self, name)}")
        if self.days > (self.last_day - date.min).days:
            raise HarborError(
                f"{self.days} days up to {self.last_day} would begin before the calendar does; set fewer days"
            )
        if self.seed < 0:
            raise HarborError(f"a seed is 0 or more, not {self.seed}")
        if self.temperature <= 0:
            raise HarborError(f"drafts are sampled at a temperature above 0, not {self.temperature}")

    @property
    def calendar(self) -> list[date]:
        """The days of the logs, first to last."""
        return [self.last_day - timedelta(days=back) for back in reversed(range(self.days))]

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        settings = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"edition": EDITION, **settings, "last_day": self.last_day.isoformat(), "sft": dict(self.sft)}


def simulate(simulation: Simulation, *, out: Path, models: Path, report: Report = silent) -> dict[str, Any]:
    """Write the logs of `simulation` under `out`, with the copilot in the store `models`.

    Returns:
        A summary: paths, counts of lines, how often drafts were right, seconds by stage. `as_of` is the moment the
        logs end. Later events are not in them, so labels must be built as of that moment.

    Raises:
        HarborError: `out` cannot be written to, or holds something other than this simulation.

    """
    held = _open(out, simulation)
    if held is not None and (models / held["copilot"]).is_dir():
        return _summary(out, models, held, seconds={})
    seconds: dict[str, float] = {}
    transcripts = out / "transcripts.parquet"
    with _timed("copilot", seconds):
        write_transcripts(transcripts, past_transcripts(simulation.transcripts, seed=simulation.seed))
        copilot = train_copilot(transcripts, config=simulation.sft, models=models, report=report)
    with _timed("drafts", seconds):
        tickets = draw_tickets(simulation.tickets, purpose="logged", seed=simulation.seed)
        drafts = draft_replies(
            copilot, tickets, temperature=simulation.temperature, seed=simulation.seed, report=report
        )
    with _timed("logs", seconds):
        calendar = simulation.calendar
        shown = schedule(tickets, drafts, calendar=calendar, seed=simulation.seed)
        _write_truth(out / "truth.parquet", shown)
        journal = keep_journal(shown, model_version=copilot.name, calendar=calendar, seed=simulation.seed)
        for number, (day, lines) in enumerate(journal.days.items(), start=1):
            write_day(out / "raw" / f"{day}.jsonl.gz", lines)
            report("logs", number, len(journal.days), "days")

    counts = {
        "copilot": copilot.name,
        "first_day": str(calendar[0]),
        "last_day": str(calendar[-1]),
        "as_of": f"{calendar[-1] + timedelta(days=1)}T00:00:00Z",
        "files": len(journal.days),
        "lines": sum(map(len, journal.days.values())),
        "events": journal.events,
        "duplicates": journal.duplicates,
        "damaged": journal.damaged,
        "drafts": len(shown),
        "drafts_right": _share_right(shown),
    }
    _record(out, simulation, counts)
    return _summary(out, models, counts, seconds=seconds)


def _summary(out: Path, models: Path, counts: dict[str, Any], *, seconds: dict[str, float]) -> dict[str, Any]:
    """Return the record of a finished simulation with its present paths and this run's seconds."""
    return {
        "raw": str(out / "raw"),
        "transcripts": str(out / "transcripts.parquet"),
        "truth": str(out / "truth.parquet"),
        **counts,
        "copilot": str(models / counts["copilot"]),
        "seconds": seconds,
    }


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    started = perf_counter()
    yield
    seconds[stage] = round(perf_counter() - started, 1)


def _open(out: Path, simulation: Simulation) -> dict[str, Any] | None:
    """Claim `out` for this simulation; return the record's counts if it is finished there already."""
    record = out / _RECORD
    try:
        if record.is_file():
            held = json.loads(record.read_text(encoding="utf-8"))
            if held["simulation"] != simulation.to_dict():
                raise HarborError(f"{out} holds another simulation; choose another folder, or delete this one")
            finished: dict[str, Any] | None = held["finished"]
            return finished
        if any((out / "raw").glob("*")):
            raise HarborError(f"{out / 'raw'} holds logs that no simulation wrote; choose another folder")
        _record(out, simulation, None)
    except (OSError, ValueError, KeyError) as error:
        raise HarborError(f"cannot simulate into {out}: {error}; choose another folder") from error
    return None


def _record(out: Path, simulation: Simulation, finished: dict[str, Any] | None) -> None:
    held = {"simulation": simulation.to_dict(), "finished": finished}
    with replacing(out / _RECORD) as beside:
        beside.write_text(json.dumps(held, indent=2), encoding="utf-8")


def _write_truth(path: Path, shown: Sequence[Shown]) -> None:
    rows = []
    for draft in shown:
        cell = draft.ticket.cell
        judgement = judge(draft.completion, cell)
        rows.append(
            {
                "draft_id": draft.draft_id,
                "ticket_id": draft.ticket_id,
                "category": cell.category,
                "cell": cell.name,
                "habit": cell.habit.kind if cell.habit else None,
                "right": judgement.right,
                "why": judgement.why,
            }
        )
    with replacing(path) as beside:
        pq.write_table(pa.Table.from_pylist(rows), beside)


def _share_right(shown: Sequence[Shown]) -> dict[str, float]:
    """Return the share of right drafts: over all cells, over those with a habit, and over the others."""
    groups: dict[str, list[bool]] = {"all": [], "habit": [], "no_habit": []}
    for draft in shown:
        right = judge(draft.completion, draft.ticket.cell).right
        groups["all"].append(right)
        groups["habit" if draft.ticket.cell.habit else "no_habit"].append(right)
    return {name: round(sum(rights) / len(rights), 4) for name, rights in groups.items() if rights}
