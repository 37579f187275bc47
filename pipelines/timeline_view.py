"""What happened to a draft and what is still waited for, from top to bottom, as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from rich.table import Table
from rich.text import Text

from feedback.explain import Explanation
from feedback.timeline import Moment
from pipelines.texts import shorten, span, visible

_LATE_SECONDS = 3600
"""An event that the platform learnt of later than this is said to be late."""

_MOST_MEASURE = 100


def timeline_table(explanation: Explanation) -> Table:
    """A line a moment: when, how long after the showing, what, and the raw line that says so."""
    shown = explanation.draft["shown_at"]
    table = Table.grid(padding=(0, 1))
    for style in ("dim", "", "", "", "dim"):
        table.add_column(style=style, overflow="fold")
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    table.columns[1].justify = "right"
    for at, mark, text, place in sorted(_timeline(explanation), key=lambda entry: entry[0]):
        after = "" if at == shown else f"{'+' if at > shown else '−'}{span(at - shown)}"
        table.add_row(f"  {at:%Y-%m-%d %H:%M:%S}", after, mark, text, place)
    return table


def _timeline(explanation: Explanation) -> list[tuple[datetime, Text, Text, Text]]:
    entries = [_entry(moment, explanation) for moment in explanation.moments]
    closing: dict[datetime, list[str]] = {}
    for window in explanation.windows:
        if not window.came:
            closing.setdefault(window.closes, []).append(window.signal)
    for at, signals in closing.items():
        past = at <= explanation.now
        said = f"{', '.join(signals)}: {'did not come in time' if past else 'waited for until then'}"
        entries.append((at, Text("◇"), Text(said, style="dim" if past else "yellow"), Text()))
    verdict = explanation.computed or explanation.stored
    if verdict is not None and verdict.state == "final":
        entries.append((verdict.matures_at, Text("◆", style="bold"), Text("the label is final", style="bold"), Text()))
    entries.append((explanation.now, Text("▸", style="bold"), Text("now", style="bold"), Text()))
    return entries


def _entry(moment: Moment, explanation: Explanation) -> tuple[datetime, Text, Text, Text]:
    said = moment.kind.replace("_", " ")
    if moment.kind == "draft_shown" and moment.draft_id != explanation.draft["draft_id"]:
        said = f"repeat contact: draft {visible(moment.draft_id or '')} was shown on the ticket"
    details = [*moment.reasons]
    details += [f"score {moment.score:g}"] if moment.score is not None else []
    if details:
        said += f" ({visible(', '.join(details))})"
    if moment.agent_id and moment.agent_id != explanation.draft["agent_id"]:
        said += f" by {visible(moment.agent_id)}"
    late = moment.received_at - moment.at
    if late.total_seconds() >= _LATE_SECONDS:
        said += f", logged {span(late)} later"
    text = Text(said)
    if not moment.counted:
        text.append(" – not counted yet", style="yellow")
    mark = Text("●" if moment.counted else "○", style="" if moment.counted else "yellow")
    return moment.at, mark, text, Text(f"{visible(moment.file)}:{moment.line}")


def waiting_for(explanation: Explanation) -> str:
    """When the label will be final and what can overturn it before, as a sentence; nothing where it is final."""
    verdict = explanation.computed or explanation.stored
    if verdict is None or verdict.state != "provisional":
        return ""
    if verdict.matures_at > explanation.now:
        signals = [w.signal for w in explanation.windows if not w.came and w.closes > explanation.now]
        wait = span(verdict.matures_at - explanation.now)
        return f"Final in {wait}, on {verdict.matures_at:%Y-%m-%d %H:%M}, unless {_either(signals)} comes before."
    return (
        "Its time is over, but the logs, or what was built from them, do not reach that far yet; "
        "`feedback-kto run` brings them in."
    )


def _either(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else "".join(names)


def measures_line(measures: Mapping[str, object]) -> str:
    """What the rules may compare besides times and texts, on one line."""
    return " · ".join(f"{name} {_measure(value)}" for name, value in measures.items())


def _measure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return shorten(visible(", ".join(map(str, value)) if isinstance(value, list) else str(value)), _MOST_MEASURE)
