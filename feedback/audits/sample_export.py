"""Export the audit sample to a file that people fill in with their own tool; `verdict_import` reads it back.

CSV for spreadsheets, Label Studio's JSON tasks for annotation tools. Neither holds the policy's label of a row.
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
from feedback.audits.verdicts import ANSWERS, REASONS, Origin, Verdict, current_verdicts
from feedback.exceptions import FeedbackError
from feedback.labels.timeline import Moment
from feedback.lake.delta import Lake

ROW_FIELDS: Final = (
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
"""The fields that a file shows of a row: columns in CSV, the data of a task in JSON."""
VERDICT_FIELDS: Final = ("verdict", "reason", "note", "reviewer")
"""The fields that people fill in: columns in CSV, annotations in JSON."""
_EXPORTED_FIELDS: Final = ("draft_id", "reviewer", "verdict", "reason", "note", "seconds")
_BESIDE: Final = {
    "sent": "What the agent sent:",
    "draft": "The draft that the agent replaced:",
    "ranked": "The text shown beside the reply:",
}

# Characters that begin a formula in a spreadsheet, in any width, or that it skips before one; see OWASP's page on CSV
# injection.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


def defuse(cell: str) -> str:
    """Return a cell that a spreadsheet takes for text and does not run as a formula; `restore` is the exact inverse."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def restore(cell: str) -> str:
    """Return the cell as it was before `defuse`."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


RowVerdicts = Mapping[str, Sequence[Verdict]]
"""Verdicts on rows, by the row's key."""


def people_verdicts(lake: Lake, sample: Sample) -> RowVerdicts:
    """Return people's current verdicts on the texts that the sample holds, without simulated ones."""
    verdicts = defaultdict(list)
    for row in current_verdicts(lake).to_pylist():
        key = row_key(row["draft_id"])
        if row["origin"] != Origin.SIMULATED and key in sample and row["text_digest"] == sample.question(key).digest:
            verdicts[key].append(Verdict(**{name: row[name] for name in _EXPORTED_FIELDS}))
    return verdicts


def export_rows(
    sample: Sample, keys: Iterable[str], path: Path, *, verdicts: RowVerdicts = MappingProxyType({})
) -> list[Path]:
    """Write rows of the sample to a file that people fill in, and for Label Studio the labelling config beside it.

    Args:
        sample: holds the rows.
        keys: which rows, in this order.
        path: ends in ``.csv`` or ``.json``.
        verdicts: verdicts to export with the rows. In CSV each is a line, and a row that lacks readers has an empty
            line after them; in JSON they are the annotations of the row's task.

    Returns:
        The files written.

    Raises:
        FeedbackError: the file's name has another ending.

    """
    if path.suffix.lower() not in (".csv", ".json"):
        raise FeedbackError(f"{path} is neither a .csv nor a .json file; give it one of these endings")
    shown = [_shown(sample.question(key), sample.moments(key)) for key in keys]
    if path.suffix.lower() == ".csv":
        write_atomically(path, _csv(shown, verdicts, sample))
        return [path]
    config = path.with_suffix(".config.xml")
    tasks = [{"data": row} | _annotations(verdicts.get(row["row"], ())) for row in shown]
    write_atomically(path, json.dumps(tasks, ensure_ascii=False, indent=1))
    write_atomically(config, label_config())
    return [path, config]


def label_config() -> str:
    """Return Label Studio's labelling config for the tasks: the texts that it shows and the choices that it offers.

    The field `reviewer` is hidden. It names the author of a verdict that was given elsewhere, because Label Studio
    takes no annotations of people who are not its users.
    """
    hotkeys = zip(ANSWERS, "123", strict=True)
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
    """Return the fields that a reviewer sees of a row; none comes from the label."""
    beside = question.other
    if beside is None or question.other_is is None:
        beside = "The log holds no other text."
    elif beside == question.text:
        beside = "The agent sent the reply unchanged." if question.other_is == "sent" else "The same text."
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
    signal = moment.kind.replace("_", " ") + (f" ({', '.join(details)})" if details else "")
    return f"{moment.at:%Y-%m-%d %H:%M:%S} {signal}"


def _csv(shown: Iterable[Mapping[str, Any]], verdicts: RowVerdicts, sample: Sample) -> str:
    text = io.StringIO()
    text.write("\ufeff")  # without it, Excel does not read the file as UTF-8
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([*ROW_FIELDS, *VERDICT_FIELDS])
    for row in shown:
        turns = "\n\n".join(f"{turn['author']}: {turn['text']}" for turn in row["conversation"])
        cells = [defuse({**row, "conversation": turns}[name]) for name in ROW_FIELDS]
        of_row = verdicts.get(row["row"], ())
        for verdict in of_row:
            writer.writerow([*cells, *(defuse(getattr(verdict, name) or "") for name in VERDICT_FIELDS)])
        if len(of_row) < sample.readers(row["row"]):
            writer.writerow([*cells, *("" for _ in VERDICT_FIELDS)])
    return text.getvalue()


def _annotations(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the fields of a task besides its data; none where the row has no verdict."""
    return {"annotations": [_annotation(verdict) for verdict in verdicts]} if verdicts else {}


def _annotation(verdict: Verdict) -> dict[str, Any]:
    chosen = {name: {"choices": [getattr(verdict, name)]} for name in ("verdict", "reason") if getattr(verdict, name)}
    written = {name: {"text": [getattr(verdict, name)]} for name in ("note", "reviewer") if getattr(verdict, name)}
    results = [
        {"from_name": name, "to_name": "reply", "type": kind, "value": value}
        for kind, values in (("choices", chosen), ("textarea", written))
        for name, value in values.items()
    ]
    return {"result": results, "was_cancelled": False, "lead_time": verdict.seconds}
