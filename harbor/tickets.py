"""Tickets: a customer's message in a policy cell, drawn from a seed.

`purpose` names the random stream of a ticket ("transcripts", "logged", "evaluation"). So tickets for evaluation
are drawn apart from those that were logged or trained on, whatever the seeds.
"""

import random
from dataclasses import dataclass
from typing import TypedDict

from harbor.messages import write_message
from harbor.policy_book import CELLS, Cell

SYSTEM_PROMPT = "Harbor Support copilot."


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """A customer's message and the cell it belongs to, which the copilot never sees."""

    cell: Cell
    message: str

    @property
    def prompt(self) -> list[Message]:
        """The conversation so far, as the copilot sees it."""
        return [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": self.message}]


def stream(purpose: str, seed: int) -> random.Random:
    """Return a random stream for one purpose; draws from one do not change another."""
    return random.Random(f"harbor/{purpose}/{seed}")


def draw_tickets(count: int, *, purpose: str, seed: int) -> list[Ticket]:
    """Draw `count` tickets, every cell equally likely. The first k of n tickets are the same for every n."""
    rng = stream(f"tickets/{purpose}", seed)
    tickets = []
    for _ in range(count):
        cell = rng.choice(CELLS)
        tickets.append(Ticket(cell=cell, message=write_message(cell, rng)))
    return tickets
