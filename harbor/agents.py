"""The people at the desk: how an agent reacts to a draft, and what happens to the ticket.

Agents know the book, but they make mistakes. They accept most right drafts, reword some for taste and dismiss a
few. They notice most wrong drafts, and then edit, reject, dismiss, thumb down or escalate. A busy agent sends
about one wrong draft in eight all the same, and the customer comes back days later. Only the reactions go to the
logs; the truth does not.
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from harbor.replies import Judgement, judge, write_reply
from harbor.tickets import Ticket, stream

AGENTS = 14

# How an agent refuses a draft that is noticed to be wrong. An agent who escalates also dismisses the draft.
_REFUSALS = {"edited": 0.42, "rejected": 0.22, "dismissed": 0.16, "escalated": 0.10, "thumbs_down": 0.10}
# How a ticket comes back, and how likely it comes back after a wrong reply and after a right one.
_RETURNS = {"reopened": 0.6, "escalated": 0.2, "unresolved": 0.2}
_RETURNS_AFTER_WRONG, _RETURNS_AFTER_RIGHT = 0.78, 0.03
_CLOSED_WITHIN_HOURS = 0.9
_WRONG_BUTTON = 0.02  # a right draft is rejected by mistake
_BY_HAND = 0.03  # a right draft is copied, not accepted
_SLOPPY_POLISH, _SLOPPY_PRAISE = 0.1, 0.03  # a wrong draft is polished before it is sent, or gets a thumbs-up


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One person, by the probability of each behaviour.

    Attributes:
        agent_id: names the person in the logs.
        attention: notices that a draft is wrong.
        taste: rewords a right draft.
        impatience: dismisses a right draft unread.
        opinion: uses the thumbs.
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
    """Draw what `agent` does with `draft` and what happens to the ticket, in order of time."""
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
    ways = {
        "dismissed": agent.impatience,
        "rejected": _WRONG_BUTTON,
        "edited": agent.taste,
        "copied": _BY_HAND,
        "accepted": 1 - agent.impatience - _WRONG_BUTTON - agent.taste - _BY_HAND,
    }
    kind = _draw(ways, rng)
    if kind == "edited":
        yield Reaction(kind=kind, after=after * 2, final_text=_reword(draft, rng))
    elif kind == "accepted":
        yield Reaction(kind=kind, after=after, final_text=draft)
        if rng.random() < agent.opinion:
            yield Reaction(kind="thumbs_up", after=after + _reading(rng, seconds=3))
    else:
        yield Reaction(kind=kind, after=after)


def _to_wrong_draft(ticket: Ticket, judgement: Judgement, agent: Agent, rng: random.Random) -> Iterator[Reaction]:
    """Refuse a draft that the agent has noticed to be wrong."""
    after = _reading(rng, seconds=35)
    reasons = _reasons(judgement, rng)
    kind = _draw(_REFUSALS, rng)
    if kind == "edited":
        yield Reaction(kind=kind, after=after * 2, final_text=write_reply(ticket.cell, rng))
    elif kind == "rejected":
        yield Reaction(kind=kind, after=after, reasons=reasons)
    elif kind in ("dismissed", "escalated"):
        yield Reaction(kind="dismissed", after=after)
    if kind == "escalated":
        yield Reaction(kind=kind, after=after + _reading(rng, seconds=200), reasons=reasons)
    if kind == "thumbs_down" or rng.random() < agent.opinion:
        yield Reaction(kind="thumbs_down", after=after + _reading(rng, seconds=3), reasons=reasons)


def _oversight(draft: str, rng: random.Random) -> Iterator[Reaction]:
    """Send a wrong draft, as a busy agent does."""
    after = _reading(rng, seconds=9)
    if rng.random() < _SLOPPY_POLISH:
        yield Reaction(kind="edited", after=after * 2, final_text=_polish(draft, rng))
    else:
        yield Reaction(kind="accepted", after=after, final_text=draft)
        if rng.random() < _SLOPPY_PRAISE:
            yield Reaction(kind="thumbs_up", after=after + _reading(rng, seconds=3))


def _aftermath(rng: random.Random, *, sent_wrong: bool) -> Iterator[Reaction]:
    """Close the ticket within hours; bring it back days later, mostly after a wrong reply, rarely after a right one."""
    if rng.random() < _CLOSED_WITHIN_HOURS:
        yield Reaction(kind="resolved", after=timedelta(minutes=rng.uniform(10, 480)))
    if rng.random() < (_RETURNS_AFTER_WRONG if sent_wrong else _RETURNS_AFTER_RIGHT):
        yield Reaction(kind=_draw(_RETURNS, rng), after=timedelta(days=rng.uniform(1, 6)))


def _draw(shares: Mapping[str, float], rng: random.Random) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _reading(rng: random.Random, *, seconds: float) -> timedelta:
    """Draw how long a person takes: log-normal with median `seconds`, at least one second."""
    return timedelta(seconds=max(1.0, rng.lognormvariate(0, 0.6) * seconds))


def _reasons(judgement: Judgement, rng: random.Random) -> tuple[str, ...]:
    """Tick the reasons of a complaint: mostly the true ones, sometimes none or a wrong one."""
    if rng.random() < 0.08:
        return ("tone",) if rng.random() < 0.5 else ()
    reasons = {
        "hallucinated_policy": judgement.invented_policy,
        "wrong_routing": judgement.wrong_route,
        "wrong_decision": judgement.wrong_decision,
    }
    return tuple(reason for reason, holds in reasons.items() if holds) or ("incomplete",)


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
