"""How good a model is at the desk: its greedy replies to tickets that were never logged, judged by the book.

It gives three figures that a support lead would ask for. `first_contact_resolution`: the reply is right in
route, decision and every figure. `invented_policy`: it states a figure that is not in the current policy of
the cell. `wrong_route`: it sends the ticket to the wrong team.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from harbor.copilot import draft_replies
from harbor.exceptions import HarborError
from harbor.policy_book import CATEGORIES
from harbor.replies import Judgement, judge
from harbor.statistics import wilson
from harbor.tickets import Ticket, draw_tickets
from kto_core.base.progress import Report, silent

# The field of a judgement that each figure counts.
KPIS: Mapping[str, str] = MappingProxyType(
    {
        "first_contact_resolution": "right",
        "invented_policy": "invented_policy",
        "wrong_route": "wrong_route",
    }
)
DEFAULT_TICKETS = 600
DEFAULT_SEED = 1


def evaluate(
    model: Path,
    baseline: Path | None = None,
    *,
    tickets: int = DEFAULT_TICKETS,
    seed: int = DEFAULT_SEED,
    report: Report = silent,
) -> dict[str, Any]:
    """Let `model` and an optional `baseline` answer the same unseen tickets, greedily, and count the figures.

    Args:
        model: a folder that `transformers` can load.
        baseline: the model to compare with, usually the reference that `model` was trained from.
        tickets: how many tickets to answer.
        seed: draws the tickets, from a stream of their own that no simulation uses.
        report: called with progress.

    Returns:
        ``{"tickets", "seed", "model": {"path", "kpis", "by_category", "by_habit"}}``. Every figure is
        ``{"share", "count", "of", "low", "high"}`` with a 95 % Wilson interval. With a baseline there are also
        ``"baseline"``, ``"change"`` (model minus baseline, by figure), and how many tickets were ``"fixed"``
        and ``"broken"``.

    Raises:
        HarborError: `tickets` is below 1, or a model folder is missing.

    """
    if tickets < 1:
        raise HarborError(f"an evaluation needs at least one ticket, not {tickets}")
    for path in filter(None, (model, baseline)):
        if not path.is_dir():
            raise HarborError(f"{path} is no model folder; name the folder of a trained model")
    drawn = draw_tickets(tickets, purpose="evaluation", seed=seed)
    judged = _judge_replies(model, drawn, report)
    result: dict[str, Any] = {"tickets": tickets, "seed": seed, "model": _figures(model, drawn, judged)}
    if baseline is not None:
        before = _judge_replies(baseline, drawn, report)
        result["baseline"] = _figures(baseline, drawn, before)
        result["change"] = {
            kpi: round(result["model"]["kpis"][kpi]["share"] - result["baseline"]["kpis"][kpi]["share"], 4)
            for kpi in KPIS
        }
        result["fixed"] = sum(new.right and not old.right for old, new in zip(before, judged, strict=True))
        result["broken"] = sum(old.right and not new.right for old, new in zip(before, judged, strict=True))
    return result


def _judge_replies(model: Path, tickets: Sequence[Ticket], report: Report) -> list[Judgement]:
    replies = draft_replies(model, tickets, temperature=0.0, seed=0, report=report)
    return [judge(reply, ticket.cell) for reply, ticket in zip(replies, tickets, strict=True)]


def _figures(model: Path, tickets: Sequence[Ticket], judged: Sequence[Judgement]) -> dict[str, Any]:
    """Count the three figures over all tickets, by category, and by whether the cell has a habit.

    Args:
        model: the model's folder.
        tickets: the tickets that were answered.
        judged: the judgement of each reply, in the same order.
    """
    rows = list(zip(tickets, judged, strict=True))
    return {
        "path": str(model),
        "kpis": _kpis(judged),
        "by_category": {
            category: _kpis([judgement for ticket, judgement in rows if ticket.cell.category == category])
            for category in CATEGORIES
        },
        "by_habit": {
            name: _kpis([judgement for ticket, judgement in rows if (ticket.cell.habit is not None) is has_habit])
            for name, has_habit in (("habit", True), ("no_habit", False))
        },
    }


def _kpis(judged: Sequence[Judgement]) -> dict[str, dict[str, float]]:
    of = len(judged)
    kpis = {}
    for kpi, field in KPIS.items():
        count = sum(getattr(judgement, field) for judgement in judged)
        low, high = wilson(count, of)
        kpis[kpi] = {
            "share": round(count / of, 4) if of else 0.0,
            "count": count,
            "of": of,
            "low": round(low, 4),
            "high": round(high, 4),
        }
    return kpis
