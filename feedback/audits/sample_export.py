"""The audit sample as a file for people who read it in a tool of their own; `verdict_import` takes it back.

CSV for spreadsheets, Label Studio's JSON task form for annotation tools. Neither says what the policy made of a row.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from feedback.atomic_files import write_atomically
from feedback.audits.blind_rows import Question, Sample, row_key
from feedback.audits.verdicts import GIVEN, REASONS, Origin, Verdict, current_verdicts
from feedback.exceptions import FeedbackError
from feedback.labels.timeline import Moment
from feedback.lake.delta import Lake

SHOWN: Final = (
    "row",
    "text_digest",
    "ticket_id",
    "category",
    "shown_at",
    "conversation",
    "reply",
    "beside",
    "signals",
)
"""What a file shows of a row: its columns, or the data of its task."""
ASKED: Final = ("verdict", "reason", "note", "reviewer")
"""What is said of a row: the columns to fill in, or what a task is annotated with."""
_GIVEN_FIELDS: Final = ("draft_id", "reviewer", "verdict", "reason", "note", "seconds")
_BESIDE: Final = {
    "sent": "What the agent sent:",
    "draft": "The draft that the agent replaced by it:",
    "ranked": "The text shown beside it:",
}

# What a spreadsheet takes for a formula, in any width, or skips before one; see OWASP's page on CSV injection.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def defuse(cell: str) -> str:
    """Make a cell text to a spreadsheet, which would run what looks like a formula; `restore` undoes it exactly."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def restore(cell: str) -> str:
    """What was defused, as it was."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


Said = Mapping[str, Sequence[Verdict]]
"""What people said of rows, by key."""


def people_said(lake: Lake, sample: Sample) -> Said:
    """The verdicts of people that stand on the sample's rows as they are in it; simulated ones are nobody's."""
    said = defaultdict(list)
    for row in current_verdicts(lake).to_pylist():
        key = row_key(row["draft_id"])
        if row["origin"] != Origin.SIMULATED and key in sample and row["text_digest"] == sample.question(key).digest:
            said[key].append(Verdict(**{name: row[name] for name in _GIVEN_FIELDS}))
    return said


def export_rows(sample: Sample, keys: Iterable[str], path: Path, *, said: Said = MappingProxyType({})) -> list[Path]:
    """Write rows of the sample to a file that people fill in, and for Label Studio the labelling config beside it.

    Args:
        sample: what the rows are of.
        keys: which rows, in this order.
        path: ends in ``.csv`` or ``.json``.
        said: what people said of them, to go along: a line each in CSV, before the empty one of a row that lacks
            readers, or the annotations of its task.

    Returns:
        The files written.

    Raises:
        FeedbackError: the file's ending is another.

    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise FeedbackError(f"{path} is neither a .csv nor a .json file; give it one of these endings")
    shown = [_shown(sample.question(key), sample.moments(key)) for key in keys]
    if path.suffix.lower() == ".csv":
        write_atomically(path, _csv(shown, said, sample))
        return [path]
    config = path.with_suffix(".config.xml")
    tasks = [{"data": row} | _annotations(said.get(row["row"], ())) for row in shown]
    write_atomically(path, json.dumps(tasks, ensure_ascii=False, indent=1))
    write_atomically(config, label_config())
    return [path, config]


def label_config() -> str:
    """Label Studio's labelling config for the tasks: what is shown, and what is asked.

    `reviewer` is not shown: it says whose an annotation is that was given elsewhere, since Label Studio takes none of
    people who are not its users.
    """
    hotkeys = zip(GIVEN, "123", strict=True)
    verdicts = "".join(f'\n    <Choice value="{kind}" hotkey="{key}"/>' for kind, key in hotkeys)
    reasons = "".join(f"\n    <Choice value={quoteattr(name)} hint={quoteattr(why)}/>" for name, why in REASONS.items())
    return f"""<View>
  <Header value="Conversation"/>
  <Paragraphs name="conversation" value="$conversation" layout="dialogue" nameKey="author" textKey="text"/>
  <Header value="The reply to judge"/>
  <Text name="reply" value="$reply"/>
  <Header value="Beside it"/>
  <Text name="beside" value="$beside"/>
  <Header value="What happened"/>
  <Text name="signals" value="$signals"/>
  <Header value="Is this a reply to learn from?"/>
  <Choices name="verdict" toName="reply" choice="single-radio" required="true">{verdicts}
  </Choices>
  <Choices name="reason" toName="reply" choice="single">{reasons}
  </Choices>
  <TextArea name="note" toName="reply" maxSubmissions="1" placeholder="Note"/>
  <View style="display: none">
    <TextArea name="reviewer" toName="reply" maxSubmissions="1"/>
  </View>
</View>
"""


def _shown(question: Question, moments: Sequence[Moment]) -> dict[str, Any]:
    """What a reader is shown of a row; nothing in it comes from the label."""
    beside = question.other
    if beside is None or question.other_is is None:
        beside = "Nothing that the log holds."
    elif beside == question.text:
        beside = "The agent sent it as it was." if question.other_is == "sent" else "The same text."
    else:
        beside = f"{_BESIDE[question.other_is]}\n{beside}"
    return {
        "row": question.key,
        "text_digest": question.digest,
        "ticket_id": question.ticket_id or "",
        "category": question.category or "",
        "shown_at": question.shown_at.isoformat(),
        "conversation": [{"author": turn["role"] or "", "text": turn["content"] or ""} for turn in question.prompt],
        "reply": question.text,
        "beside": beside,
        "signals": "\n".join(map(_signal, moments)),
    }


def _signal(moment: Moment) -> str:
    details = [*moment.reasons, *([f"score {moment.score:g}"] if moment.score is not None else [])]
    said = moment.kind.replace("_", " ") + (f" ({', '.join(details)})" if details else "")
    return f"{moment.at:%Y-%m-%d %H:%M:%S} {said}"


def _csv(shown: Iterable[Mapping[str, Any]], said: Said, sample: Sample) -> str:
    text = io.StringIO()
    text.write("\ufeff")  # without it, Excel reads UTF-8 as something else
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([*SHOWN, *ASKED])
    for row in shown:
        turns = "\n\n".join(f"{turn['author']}: {turn['text']}" for turn in row["conversation"])
        cells = [defuse({**row, "conversation": turns}[name]) for name in SHOWN]
        given = said.get(row["row"], ())
        for verdict in given:
            writer.writerow([*cells, *(defuse(getattr(verdict, name) or "") for name in ASKED)])
        if len(given) < sample.readers(row["row"]):
            writer.writerow([*cells, *("" for _ in ASKED)])
    return text.getvalue()


def _annotations(given: Sequence[Verdict]) -> dict[str, Any]:
    """What a task has beside its data: nothing where nobody has judged it."""
    return {"annotations": [_annotation(verdict) for verdict in given]} if given else {}


def _annotation(verdict: Verdict) -> dict[str, Any]:
    chosen = {name: {"choices": [getattr(verdict, name)]} for name in ("verdict", "reason") if getattr(verdict, name)}
    written = {name: {"text": [getattr(verdict, name)]} for name in ("note", "reviewer") if getattr(verdict, name)}
    results = [
        {"from_name": name, "to_name": "reply", "type": kind, "value": value}
        for kind, values in (("choices", chosen), ("textarea", written))
        for name, value in values.items()
    ]
    return {"result": results, "was_cancelled": False, "lead_time": verdict.seconds}
