"""The audit sample as a file for people who read it in a tool of their own; `feedback.audit_import` takes it back.

CSV for spreadsheets, Label Studio's JSON task form for annotation tools. Neither says what the policy made of a row.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from feedback.audit_rows import Question, Sample
from feedback.exceptions import FeedbackError
from feedback.files import write_atomically
from feedback.timeline import Moment
from feedback.verdicts import REASONS, VERDICT_KINDS

GIVEN: Final = tuple(kind for kind in VERDICT_KINDS if kind != "withdrawn")
"""What a file may say of a row."""

_SHOWN: Final = (
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
_ASKED: Final = ("verdict", "reason", "note", "reviewer")
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


def export_rows(sample: Sample, keys: Iterable[str], path: Path) -> list[Path]:
    """Write rows of the sample to a file that people fill in, and for Label Studio the labelling config beside it.

    Args:
        sample: what the rows are of.
        keys: which rows, in this order.
        path: ends in ``.csv`` or ``.json``.

    Returns:
        The files written.

    Raises:
        FeedbackError: the file's ending is another.

    """
    shown = [_shown(sample.question(key), sample.moments(key)) for key in keys]
    if file_kind(path) == ".csv":
        write_atomically(path, _csv(shown))
        return [path]
    config = path.with_suffix(".config.xml")
    write_atomically(path, json.dumps([{"data": data} for data in shown], ensure_ascii=False, indent=1))
    write_atomically(config, label_config())
    return [path, config]


def label_config() -> str:
    """Label Studio's labelling config for the tasks: what is shown, and what is asked."""
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
</View>
"""


def file_kind(path: Path) -> str:
    """The file's ending, one of the two that there are. Raises FeedbackError."""
    if path.suffix.lower() not in (".csv", ".json"):
        raise FeedbackError(f"{path} is neither a .csv nor a .json file; give it one of these endings")
    return path.suffix.lower()


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


def _csv(shown: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    text.write("\ufeff")  # without it, Excel reads UTF-8 as something else
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow([*_SHOWN, *_ASKED])
    for row in shown:
        turns = "\n\n".join(f"{turn['author']}: {turn['text']}" for turn in row["conversation"])
        cells = {**row, "conversation": turns}
        writer.writerow([defuse(cells[name]) for name in _SHOWN] + [""] * len(_ASKED))
    return text.getvalue()
