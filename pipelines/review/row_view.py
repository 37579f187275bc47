"""One row as the page shows it: before the verdict without the policy's label, and after it with the label."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from markupsafe import Markup

from feedback.audits.blind_rows import Answer, Question
from feedback.audits.verdicts import VerdictKind
from feedback.labels.timeline import Moment
from feedback.lake.event_schema import SHOWING_KINDS
from pipelines.output.safe_text import span
from pipelines.review.queue import CurrentVerdict
from pipelines.review.safe_html import blocks, changes, line
from pipelines.views.timeline_view import say_moment

_MOST_MOMENTS: Final = 100
_LONGEST_MOMENT: Final = 300
_OTHER: Final = {
    "sent": "What the agent sent",
    "draft": "How the agent changed the draft",
    "ranked": "The text shown beside it",
}
_SPEAKERS: Final = {"system": "system", "user": "customer", "assistant": "agent"}
"""The names of a chat's roles at a support desk."""
_TEXT: Final = {
    "sent": "the copilot’s draft",
    "draft": "the agent’s own text, sent in a draft’s place",
    "ranked": "one of two texts that were shown side by side",
}


def describe(question: Question, moments: Sequence[Moment]) -> dict[str, Any]:
    """Return what the page shows of a row before its verdict."""
    facts = {
        "category": question.category,
        "agent": question.agent_id,
        "model": question.model_version,
        "source": question.source,
    }
    return {
        "key": question.key,
        "digest": question.digest,
        "ticket": line(question.ticket_id or "no ticket"),
        "shown_at": question.shown_at,
        "facts": [(name, line(value, 40)) for name, value in facts.items() if value],
        "messages": [
            (_SPEAKERS.get(role, "other"), line(_SPEAKERS.get(role, role) or "?", 24), blocks(turn["content"]))
            for turn in question.prompt
            for role in [turn["role"] or ""]
        ],
        "text": blocks(question.text),
        "text_is": _TEXT[question.other_is or "draft"],
        "other": _other(question),
        "moments": [_moment(moment, question) for moment in moments[:_MOST_MOMENTS]],
        "moments_left_out": max(0, len(moments) - _MOST_MOMENTS),
    }


def _other(question: Question) -> dict[str, Any]:
    """Return the other text: how it differs from the one to judge, or a note in its place."""
    view: dict[str, Any] = {"title": _OTHER[question.other_is or "draft"], "parts": None, "blocks": None, "words": None}
    if question.other is None:
        return view | {"words": "The log holds no such text."}
    if question.other == question.text:
        return view | {"words": "The draft as it was." if question.other_is == "sent" else "The same text."}
    before, after = question.text, question.other
    if question.other_is == "draft":
        # The diff shows what the agent made of the draft, in the order in which it was written.
        before, after = after, before
    parts = changes(before, after)
    if parts is None:
        return view | {"blocks": blocks(question.other), "words": "Different throughout."}
    if all(part.kind in ("kept", "elided") for part in parts):
        return view | {"words": "The same words with other blanks."}
    return view | {"parts": parts}


def _moment(moment: Moment, question: Question) -> dict[str, Any]:
    after = moment.at - question.shown_at
    about = {"draft_id": question.draft_id, "agent_id": question.agent_id}
    return {
        "at": moment.at,
        "after": "" if not after else f"{'+' if after > timedelta(0) else '−'}{span(after)}",
        "text": line(say_moment(moment, about), _LONGEST_MOMENT),
        "kind": "shown" if moment.kind in SHOWING_KINDS and moment.draft_id == question.draft_id else "signal",
        "counted": moment.counted,
    }


def reveal(current: CurrentVerdict, answer: Answer) -> dict[str, str]:
    """Return how the verdict compares with the label."""
    if current.verdict == VerdictKind.UNSURE:
        return {"kind": "unsure", "title": "You could not tell"}
    if current.verdict == answer.label:
        return {"kind": "agrees", "title": "You and the policy agree"}
    return {"kind": "differs", "title": "You and the policy differ"}


def about(seconds: float | None) -> Markup | str:
    """Return a length of time in round figures."""
    if seconds is None:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "under a minute"
    if minutes < 60:
        return f"about {minutes} min"
    hours, rest = divmod(round(minutes / 5) * 5, 60)
    return f"about {hours} h {rest} min" if rest else f"about {hours} h"
