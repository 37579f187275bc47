"""The people at the desk: how an agent reacts to a draft, and what becomes of the ticket.

Agents know the book, but they are people. A right draft is mostly accepted, sometimes reworded for taste, now
and then thrown away. A wrong one is mostly noticed and then edited, rejected, dismissed, thumbed down or
escalated; a busy agent sends one in eight or so all the same, and the customer comes back days later. Nothing
here is written to the logs but the reactions: the truth itself stays behind.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from harbor.replies import Judgement, judge, write_reply
from harbor.tickets import Ticket, stream

AGENTS = 14


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One person's ways, each a probability.

    `attention`: notices that a draft is wrong. `taste`: rewords a right draft. `impatience`: dismisses a
    right draft unread. `opinion`: uses the thumbs.
    """

    agent_id: str
    attention: float
    taste: float
    impatience: float
    opinion: float


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """One thing that happened to a draft or its ticket, `after` the draft was shown."""

    kind: str
    after: timedelta
    final_text: str | None = None
    reasons: tuple[str, ...] = ()


def draw_agents(*, seed: int, count: int = AGENTS) -> list[Agent]:
    """Draw the people of a desk."""
    rng = stream("agents", seed)
    return [
        Agent(
            agent_id=f"agent-{number:02d}",
            attention=rng.uniform(0.83, 0.93),
            taste=rng.uniform(0.04, 0.18),
            impatience=rng.uniform(0.01, 0.05),
            opinion=rng.uniform(0.05, 0.25),
        )
        for number in range(1, count + 1)
    ]


def react(ticket: Ticket, draft: str, agent: Agent, rng: random.Random) -> list[Reaction]:
    """Draw what `agent` does with `draft` and what becomes of the ticket, in order of time."""
    judgement = judge(draft, ticket.cell)
    if judgement.right:
        reactions = [*_to_right_draft(draft, agent, rng), *_aftermath(rng, sent_wrong=False)]
    elif rng.random() < agent.attention:
        reactions = [*_to_wrong_draft(ticket, judgement, agent, rng)]
        if all(reaction.kind != "escalated" for reaction in reactions):
            reactions += _aftermath(rng, sent_wrong=False)
    else:
        reactions = [*_oversight(draft, rng), *_aftermath(rng, sent_wrong=True)]
    return sorted(reactions, key=lambda reaction: reaction.after)


def _to_right_draft(draft: str, agent: Agent, rng: random.Random) -> Iterator[Reaction]:
    after = _reading(rng, seconds=18)
    choice = rng.random()
    if choice < agent.impatience:
        yield Reaction(kind="dismissed", after=after)
    elif choice < agent.impatience + 0.02:
        yield Reaction(kind="rejected", after=after, reasons=("tone",) if rng.random() < 0.5 else ())
    elif choice < agent.impatience + 0.02 + agent.taste:
        yield Reaction(kind="edited", after=after * 2, final_text=_reword(draft, rng))
    elif choice > 0.97:
        yield Reaction(kind="copied", after=after)
    else:
        yield Reaction(kind="accepted", after=after, final_text=draft)
        if rng.random() < agent.opinion:
            yield Reaction(kind="thumbs_up", after=after + _reading(rng, seconds=3))


def _to_wrong_draft(ticket: Ticket, judgement: Judgement, agent: Agent, rng: random.Random) -> Iterator[Reaction]:
    """Refuse a draft that the agent has noticed to be wrong."""
    after = _reading(rng, seconds=35)
    reasons = _reasons(judgement, rng)
    choice = rng.random()
    if choice < 0.42:
        yield Reaction(kind="edited", after=after * 2, final_text=write_reply(ticket.cell, rng))
    elif choice < 0.64:
        yield Reaction(kind="rejected", after=after, reasons=reasons)
    elif choice < 0.80:
        yield Reaction(kind="dismissed", after=after)
    elif choice < 0.90:
        yield Reaction(kind="dismissed", after=after)
        yield Reaction(kind="escalated", after=after + _reading(rng, seconds=200), reasons=reasons)
    if choice >= 0.90 or rng.random() < agent.opinion:
        yield Reaction(kind="thumbs_down", after=after + _reading(rng, seconds=3), reasons=reasons)


def _oversight(draft: str, rng: random.Random) -> Iterator[Reaction]:
    """Send a wrong draft, as a busy agent does."""
    after = _reading(rng, seconds=9)
    if rng.random() < 0.1:
        yield Reaction(kind="edited", after=after * 2, final_text=_polish(draft, rng))
    else:
        yield Reaction(kind="accepted", after=after, final_text=draft)
        if rng.random() < 0.03:
            yield Reaction(kind="thumbs_up", after=after + _reading(rng, seconds=3))


def _aftermath(rng: random.Random, *, sent_wrong: bool) -> Iterator[Reaction]:
    """Close the ticket within hours; bring it back days later if the customer was told wrong."""
    if rng.random() < 0.9:
        yield Reaction(kind="resolved", after=timedelta(minutes=rng.uniform(10, 480)))
    if rng.random() < (0.78 if sent_wrong else 0.03):
        kind = rng.choices(("reopened", "escalated", "unresolved"), weights=(60, 20, 20))[0]
        yield Reaction(kind=kind, after=timedelta(days=rng.uniform(1, 6)))


def _reading(rng: random.Random, *, seconds: float) -> timedelta:
    """How long a person takes: log-normal around `seconds`, never less than a second."""
    return timedelta(seconds=max(1.0, rng.lognormvariate(0, 0.6) * seconds))


def _reasons(judgement: Judgement, rng: random.Random) -> tuple[str, ...]:
    """Tick the reasons of a complaint: mostly the true ones, sometimes none or a wrong one."""
    if rng.random() < 0.08:
        return ("tone",) if rng.random() < 0.5 else ()
    told = {
        "hallucinated_policy": judgement.invented_policy,
        "wrong_routing": judgement.wrong_route,
        "wrong_decision": judgement.wrong_decision,
    }
    return tuple(reason for reason, holds in told.items() if holds) or ("incomplete",)


def _polish(draft: str, rng: random.Random) -> str:
    """Change nothing but the look: punctuation and capitals."""
    return rng.choice((draft.replace(": ", " - ", 1), draft.rstrip(".") + "!", draft.replace(". ", ".  ", 1)))


def _reword(draft: str, rng: random.Random) -> str:
    """Edit a right draft for taste: its look, or a friendly phrase around the same facts."""
    if rng.random() < 0.5:
        return _polish(draft, rng)
    return rng.choice(
        (f"Thank you for writing. {draft}", f"{draft} Just reply if anything is unclear.", f"Hello! {draft}")
    )
