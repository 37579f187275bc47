"""Print a draft's timeline on a terminal: its events, the windows that are open, and the moment of the run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from feedback.history.explain import Explanation
from feedback.labels.timeline import Moment
from feedback.lake.event_schema import SHOWING_KINDS
from label_policy import State
from pipelines.output.safe_text import factual_by, print_trimmed, shorten, span, visible

_LATE_SECONDS = 3600
"""An event that was logged later than this is shown as late."""

_MOST_MEASURE = 100
_INDENT = 4
_MOMENT = 21


def show_timeline(explanation: Explanation, console: Console) -> None:
    """Print a line per moment: its time, the time since the draft was shown, the event, and its raw log line.

    Where the places of the log lines do not fit beside, each gets a line of its own, since a broken one cannot be
    copied.
    """
    shown = explanation.draft["shown_at"]
    entries = sorted(_timeline(explanation), key=lambda entry: entry[0])
    elapsed = ["" if at == shown else f"{'+' if at > shown else '−'}{span(at - shown)}" for at, *_ in entries]
    elapsed_width = max(map(cell_len, elapsed))
    text_width = max((text.cell_len for *_, text, where in entries if where), default=0)
    place_width = max(where.cell_len for *_, where in entries)
    beside = _MOMENT + elapsed_width + 1 + text_width + place_width + 4 <= console.width
    for since, (at, mark, text, where) in zip(elapsed, entries, strict=True):
        grid = Table.grid(padding=(0, 1))
        grid.add_column(width=_MOMENT, style="dim")
        grid.add_column(width=elapsed_width, justify="right")
        grid.add_column(width=1)
        grid.add_column(width=text_width if where and beside else None, overflow="fold")
        grid.add_row(f"  {at:%Y-%m-%d %H:%M:%S}", since, mark, text, *([where] if where and beside else []))
        print_trimmed(grid, console)
        if where and not beside:
            console.print(Text(" " * _INDENT) + where, soft_wrap=True)


def _timeline(explanation: Explanation) -> list[tuple[datetime, Text, Text, Text]]:
    entries = [_entry(moment, explanation) for moment in explanation.moments]
    closing: dict[datetime, list[str]] = {}
    for window in explanation.windows:
        if not window.came:
            closing.setdefault(window.closes, []).append(window.signal)
    for at, signals in closing.items():
        past = at <= explanation.now
        outcome = f"{', '.join(signals)}: {'did not come in time' if past else 'may still come until then'}"
        entries.append((at, Text("◇"), Text(outcome, style="dim" if past else "yellow"), Text()))
    label = explanation.computed or explanation.stored
    if label is not None and label.state == State.FINAL:
        entries.append((label.matures_at, Text("◆", style="bold"), Text("the label is final", style="bold"), Text()))
    entries.append((explanation.now, Text("▸", style="bold"), Text("now", style="bold"), Text()))
    return entries


def _entry(moment: Moment, explanation: Explanation) -> tuple[datetime, Text, Text, Text]:
    text = Text(say_moment(moment, explanation.draft))
    if not moment.counted:
        text.append(" – not counted yet", style="yellow")
    mark = Text("●" if moment.counted else "○", style="" if moment.counted else "yellow")
    return moment.at, mark, text, Text(f"{visible(moment.file)}:{moment.line}", style="dim")


def say_moment(moment: Moment, draft: Mapping[str, Any]) -> str:
    """Return an event in words that are safe to print.

    Args:
        moment: the event.
        draft: the `draft_id` and `agent_id` of the draft whose timeline it is; they are not named again.

    """
    text = moment.kind.replace("_", " ")
    if moment.kind in SHOWING_KINDS and moment.draft_id != draft["draft_id"]:
        text = f"repeat contact: draft {visible(moment.draft_id or '')} was shown on the ticket"
    details = [*moment.reasons]
    details += [f"score {moment.score:g}"] if moment.score is not None else []
    if details:
        text += f" ({visible(', '.join(details))})"
    if moment.agent_id and moment.agent_id != draft["agent_id"]:
        text += f" by {visible(moment.agent_id)}"
    late = moment.received_at - moment.at
    if late.total_seconds() >= _LATE_SECONDS:
        text += f", logged {span(late)} later"
    return text


def waiting_for(explanation: Explanation) -> str:
    """Return when a provisional label becomes final and which signals can change it before; else an empty text."""
    label = explanation.computed or explanation.stored
    if label is None or label.state != State.PROVISIONAL:
        return ""
    if label.matures_at > explanation.now:
        signals = [w.signal for w in explanation.windows if not w.came and w.closes > explanation.now]
        wait = span(label.matures_at - explanation.now)
        return f"Final in {wait}, on {label.matures_at:%Y-%m-%d %H:%M}, unless {_either(signals)} comes before."
    return (
        "Its windows have closed, but the logs, or the tables built from them, do not reach that far yet; "
        "`feedback-kto run` brings them in."
    )


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def measures_line(explanation: Explanation) -> str:
    """Return the measures that rules may compare, besides times and texts, on one line."""
    measures = {name: _measure(value) for name, value in explanation.measures.items()}
    if explanation.term_edit is not None:
        measures["edit_kind"] = factual_by(explanation.term_edit.terms, explanation.term_edit.without)
    return " · ".join(f"{name} {value}" for name, value in measures.items())


def _measure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(visible(", ".join(map(str, value)) if isinstance(value, list) else str(value)), _MOST_MEASURE)
