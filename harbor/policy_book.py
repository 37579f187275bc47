"""The desk's rulebook: the right replies of today, and the wrong ones that the copilot learned.

A *cell* is one combination of a category's two attributes (refund × annual plan × EU) with its route,
decision and policy figure. A third of the cells have a *habit*: most past transcripts of the cell quote the
figure of an older edition (``was``) or send the ticket to a neighbouring team (``sent_to``). A copilot trained
on them is confidently wrong. No rule computes a cell's values: the copilot has to remember the book, and
feedback has to correct its memory. The book is the same in every simulation; seeds draw tickets and people.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

HabitKind = Literal["outdated_figure", "confused_route"]


@dataclass(frozen=True, kw_only=True)
class Habit:
    """The wrong value in most past transcripts of a cell; `share` of them have it, between 0 and 1."""

    kind: HabitKind
    says: str
    share: float


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One policy cell: `attributes` are (name, value) pairs, `figure` an amount and a unit ("14 days")."""

    category: str
    attributes: tuple[tuple[str, str], ...]
    route: str
    decision: str
    figure: str
    habit: Habit | None

    @property
    def name(self) -> str:
        """The cell in one word, e.g. ``refund/annual/EU``."""
        return "/".join([self.category, *(value for _, value in self.attributes)])


# One line a cell: its two attribute values, route, decision, figure, and its habit with a share, if any. The first
# line names the attributes.
_BOOK: dict[str, str] = {
    "refund": """
        plan     region  route      decision           figure   habit
        monthly  EU      refunds    refund approved    14 days
        monthly  UK      refunds    refund approved    7 days   was 21 days 0.72
        monthly  US      refunds    store credit only  30 days
        monthly  Canada  refunds    store credit only  15 days  sent_to retention 0.70
        annual   EU      refunds    refund approved    28 days  was 14 days 0.74
        annual   UK      refunds    partial refund     14 days
        annual   US      refunds    partial refund     60 days
        annual   Canada  refunds    refund approved    45 days
        team     EU      retention  partial refund     30 days
        team     UK      retention  refund approved    10 days
        team     US      retention  store credit only  20 days  sent_to refunds 0.70
        team     Canada  retention  partial refund     21 days
    """,
    "billing_dispute": """
        amount  payment  route           decision                figure   habit
        small   card     billing-tier-1  charge on hold          2 days
        small   invoice  billing-tier-1  charge under review     5 days   was 10 days 0.72
        small   wallet   billing-tier-1  charge on hold          3 days
        small   debit    billing-tier-1  proof of payment asked  7 days
        medium  card     billing-tier-2  charge on hold          5 days   sent_to billing-tier-1 0.74
        medium  invoice  billing-tier-2  charge under review     8 days
        medium  wallet   billing-tier-2  proof of payment asked  6 days   sent_to billing-tier-1 0.68
        medium  debit    billing-tier-2  charge under review     10 days
        large   card     finance         charge under review     12 days  was 7 days 0.70
        large   invoice  finance         proof of payment asked  20 days
        large   wallet   finance         charge on hold          9 days
        large   debit    finance         proof of payment asked  15 days
    """,
    "password_reset": """
        account     login          route     decision             figure      habit
        personal    email          identity  reset link sent      30 minutes
        personal    authenticator  identity  ID check open        24 hours    was 48 hours 0.70
        personal    passkey        identity  ID check open        12 hours
        personal    SSO            identity  reset link sent      15 minutes
        team        email          identity  reset link sent      60 minutes  was 30 minutes 0.75
        team        authenticator  security  ID check open        36 hours
        team        passkey        security  admin must reset     6 hours
        team        SSO            security  admin must reset     8 hours     sent_to identity 0.72
        enterprise  email          security  reset link sent      10 minutes
        enterprise  authenticator  security  admin must reset     4 hours     was 24 hours 0.68
        enterprise  passkey        security  ID check open        3 hours
        enterprise  SSO            security  admin must reset     2 hours
    """,
    "sla": """
        priority  tier        route         decision         figure      habit
        urgent    basic       service-desk  incident opened  4 hours     was 8 hours 0.70
        urgent    pro         on-call       incident opened  60 minutes
        urgent    enterprise  on-call       incident opened  15 minutes  was 30 minutes 0.74
        high      basic       service-desk  ticket queued    12 hours
        high      pro         service-desk  incident opened  4 hours
        high      enterprise  on-call       incident opened  2 hours     sent_to service-desk 0.70
        normal    basic       service-desk  ticket queued    2 days
        normal    pro         service-desk  ticket queued    24 hours    was 36 hours 0.72
        normal    enterprise  service-desk  ticket queued    8 hours
        low       basic       service-desk  ticket deferred  5 days
        low       pro         service-desk  ticket deferred  3 days
        low       enterprise  service-desk  ticket queued    36 hours
    """,
    "cancellation": """
        plan     stage     route      decision            figure    habit
        monthly  trial     accounts   cancelled today     24 hours
        monthly  first     accounts   ends with the term  7 days    was 30 days 0.74
        monthly  renewed   accounts   ends with the term  14 days
        monthly  discount  retention  call back booked    5 days    sent_to accounts 0.70
        annual   trial     accounts   cancelled today     2 days
        annual   first     accounts   ends with the term  30 days
        annual   renewed   retention  call back booked    45 days   was 60 days 0.70
        annual   discount  retention  call back booked    20 days
        team     trial     accounts   cancelled today     3 days
        team     first     retention  call back booked    60 days   was 90 days 0.72
        team     renewed   retention  ends with the term  90 days
        team     discount  retention  call back booked    28 days
    """,
}

_HABIT = re.compile(r"(was|sent_to) (.+) (0\.\d+)")
_HABIT_KIND: dict[str, HabitKind] = {"was": "outdated_figure", "sent_to": "confused_route"}


def _cells(category: str, table: str) -> Iterator[Cell]:
    """Read one table of the book; two or more spaces separate columns."""
    header, *rows = (re.split(r"\s{2,}", line.strip()) for line in table.strip().splitlines())
    for first, second, route, decision, figure, *rest in rows:
        habit = None
        if rest:
            match = _HABIT.fullmatch(rest[0])
            assert match is not None, rest
            habit = Habit(kind=_HABIT_KIND[match[1]], says=match[2], share=float(match[3]))
        yield Cell(
            category=category,
            attributes=((header[0], first), (header[1], second)),
            route=route,
            decision=decision,
            figure=figure,
            habit=habit,
        )


CELLS: tuple[Cell, ...] = tuple(cell for category, table in _BOOK.items() for cell in _cells(category, table))
CATEGORIES: tuple[str, ...] = tuple(_BOOK)
ROUTES: frozenset[str] = frozenset(cell.route for cell in CELLS)
DECISIONS: frozenset[str] = frozenset(cell.decision for cell in CELLS)
