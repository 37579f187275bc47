import random
from collections import Counter
from datetime import timedelta

import pytest

from harbor.agents import Agent, Reaction, draw_agents, react
from harbor.policy_book import CELLS
from harbor.replies import judge, write_reply
from harbor.tickets import Ticket

OUTDATED = next(cell for cell in CELLS if cell.habit and cell.habit.kind == "outdated_figure")
TICKET = Ticket(cell=OUTDATED, message="How long do I have?")


def reactions(*, right: bool, count: int = 3000) -> list[list[Reaction]]:
    rng = random.Random(0)
    agents = draw_agents(seed=0)
    figure = None if right else OUTDATED.habit and OUTDATED.habit.says
    return [react(TICKET, write_reply(OUTDATED, rng, figure=figure), rng.choice(agents), rng) for _ in range(count)]


def shares(outcomes: list[list[Reaction]]) -> dict[str, float]:
    counts = Counter(kind for outcome in outcomes for kind in {reaction.kind for reaction in outcome})
    return {kind: count / len(outcomes) for kind, count in counts.items()}


def test_agents_differ_and_the_seed_decides() -> None:
    agents = draw_agents(seed=5)
    assert agents == draw_agents(seed=5)
    assert agents != draw_agents(seed=6)
    assert len({agent.agent_id for agent in agents}) == len({agent.attention for agent in agents}) == len(agents)


def test_a_right_draft_is_mostly_sent() -> None:
    share = shares(reactions(right=True))
    assert share["accepted"] > 0.7
    assert 0.03 < share["edited"] < 0.2
    assert share["rejected"] < 0.05
    assert share["dismissed"] < 0.08
    assert "thumbs_down" not in share
    assert share["reopened"] + share["escalated"] + share["unresolved"] < 0.06


def test_a_wrong_draft_is_mostly_refused() -> None:
    share = shares(reactions(right=False))
    assert 0.06 < share["accepted"] < 0.17
    assert 0.3 < share["edited"] < 0.5
    assert 0.12 < share["rejected"] < 0.25
    assert share["dismissed"] > 0.15
    assert share["thumbs_down"] > 0.12
    assert share["thumbs_up"] < 0.02


def test_a_wrong_reply_that_was_sent_mostly_comes_back_days_later() -> None:
    sent = [outcome for outcome in reactions(right=False) if any(r.kind == "accepted" for r in outcome)]
    returns = [r for outcome in sent for r in outcome if r.kind in ("reopened", "escalated", "unresolved")]
    assert 0.65 < len(returns) / len(sent) < 0.9
    assert all(timedelta(days=1) <= r.after <= timedelta(days=6) for r in returns)


def test_a_correction_is_right_and_a_touch_changes_no_fact() -> None:
    for right in (True, False):
        for outcome in reactions(right=right, count=500):
            for reaction in outcome:
                if reaction.kind == "edited" and right:
                    assert judge(reaction.final_text or "", OUTDATED).right
                if reaction.kind == "accepted":
                    assert judge(reaction.final_text or "", OUTDATED).right is right
    attentive = Agent(agent_id="a", attention=1, taste=0, impatience=0, opinion=0)
    draft = write_reply(OUTDATED, random.Random(0), figure="1 days")
    for seed in range(200):
        for reaction in react(TICKET, draft, attentive, random.Random(seed)):
            assert reaction.kind != "accepted"
            if reaction.final_text is not None:
                assert judge(reaction.final_text, OUTDATED).right


def test_complaints_name_the_mistake() -> None:
    reasons = Counter(
        reason
        for outcome in reactions(right=False)
        for reaction in outcome
        if reaction.kind == "thumbs_down"
        for reason in reaction.reasons
    )
    assert reasons.most_common(1)[0][0] == "hallucinated_policy"
    assert "wrong_routing" not in reasons


@pytest.mark.parametrize("right", [True, False])
def test_reactions_come_in_order_of_time(right: bool) -> None:
    for outcome in reactions(right=right, count=300):
        assert outcome == sorted(outcome, key=lambda reaction: reaction.after)
        assert all(reaction.after >= timedelta(seconds=1) for reaction in outcome)
