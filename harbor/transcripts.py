"""The copilot's training rows: past transcripts, with the desk's bad habits in them.

In a cell with a habit, `Habit.share` of the transcripts follow an older edition of the book or send the ticket to
a neighbouring team. The other transcripts are right, and so are all of the other cells. A copilot trained on them
learns the habit as its most likely draft, and the right reply as its second guess. Feedback can raise that one.
"""

from pathlib import Path
from typing import TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from harbor.replies import write_reply
from harbor.storage import replacing
from harbor.tickets import Message, draw_tickets, stream

_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SCHEMA = pa.schema([("prompt", pa.list_(_MESSAGE)), ("completion", pa.string())])


class Transcript(TypedDict):
    """A past conversation and the reply that was sent."""

    prompt: list[Message]
    completion: str


def past_transcripts(count: int, *, seed: int) -> list[Transcript]:
    """Draw `count` past conversations with the replies that were sent, right or by habit."""
    rng = stream("transcripts", seed)
    rows: list[Transcript] = []
    for ticket in draw_tickets(count, purpose="transcripts", seed=seed):
        habit = ticket.cell.habit
        route = figure = None
        if habit is not None and rng.random() < habit.share:
            if habit.kind == "confused_route":
                route = habit.says
            else:
                figure = habit.says
        reply = write_reply(ticket.cell, rng, route=route, figure=figure)
        rows.append({"prompt": ticket.prompt, "completion": reply})
    return rows


def write_transcripts(path: Path, rows: list[Transcript]) -> None:
    """Write the transcripts as Parquet; the same rows give the same bytes, hence the same model."""
    with replacing(path) as beside:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), beside)
