"""Replies, and whether they are right.

A reply names a route, a decision and a policy figure in free wording. `judge` reads the three from the text and
compares them with the cell. It knows every route and decision of the book, so a reply that names two routes, or
none, is not right by luck.
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harbor.policy_book import DECISIONS, ROUTES, Cell

_OPENINGS = ("Routed to {route}: {decision}.", "This goes to {route}: {decision}.")

_FIGURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "refund": ("The refund window is {figure}.", "You have {figure} from purchase."),
        "billing_dispute": ("You will have an answer within {figure}.", "We answer within {figure}."),
        "password_reset": ("The request stays open for {figure}.", "It is valid for {figure}."),
        "sla": ("We respond within {figure}.", "The first response comes within {figure}."),
        "cancellation": ("The notice period is {figure}.", "Notice is {figure}."),
    }
)

_FIGURE = re.compile(r"\b(\d+) (minutes?|hours?|days?|weeks?|months?)\b", re.IGNORECASE)
_ROUTE = re.compile("|".join(rf"(?<![\w-]){re.escape(route)}(?![\w-])" for route in sorted(ROUTES)))
_DECISION = re.compile("|".join(rf"\b{re.escape(decision)}\b" for decision in sorted(DECISIONS)), re.IGNORECASE)


def write_reply(cell: Cell, rng: random.Random, *, route: str | None = None, figure: str | None = None) -> str:
    """Return a right reply for `cell` in a random wording; `route` and `figure` replace the cell's own."""
    opening = rng.choice(_OPENINGS).format(route=route or cell.route, decision=cell.decision)
    return f"{opening} {rng.choice(_FIGURES[cell.category]).format(figure=figure or cell.figure)}"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A reply compared with its cell.

    Attributes:
        right: the route, the decision and every figure are the cell's.
        wrong_route: the reply names a route that is not the cell's.
        invented_policy: it states a figure that is not in the current policy of the cell.
        wrong_decision: it names a decision that is not the cell's.
    """

    right: bool
    wrong_route: bool
    invented_policy: bool
    wrong_decision: bool

    @property
    def why(self) -> str:
        """The judgement as text, as in `truth.parquet`: the faults joined by `+`, ``right`` or ``incomplete``."""
        faults = [name for name in ("wrong_route", "invented_policy", "wrong_decision") if getattr(self, name)]
        return "+".join(faults) or ("right" if self.right else "incomplete")


def judge(text: str, cell: Cell) -> Judgement:
    """Judge a reply to a ticket of `cell` by what it says, whatever its wording."""
    routes = set(_ROUTE.findall(text))
    decisions = {decision.lower() for decision in _DECISION.findall(text)}
    figures = {f"{amount} {unit.lower()}" for amount, unit in _FIGURE.findall(text)}
    right_decision = cell.decision.lower()
    return Judgement(
        right=routes == {cell.route} and decisions == {right_decision} and figures == {cell.figure},
        wrong_route=bool(routes - {cell.route}),
        invented_policy=bool(figures - {cell.figure}),
        wrong_decision=bool(decisions - {right_decision}),
    )
