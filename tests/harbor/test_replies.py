import random

import pytest

from harbor.policy_book import CELLS, Cell
from harbor.replies import judge, write_reply

HABITS = [cell for cell in CELLS if cell.habit]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.name)
def test_the_truth_is_right_in_every_wording(cell: Cell) -> None:
    replies = {write_reply(cell, random.Random(seed)) for seed in range(20)}
    assert len(replies) == 4
    for reply in replies:
        judgement = judge(reply, cell)
        assert judgement.right, reply
        assert judgement.why == "right"
        assert 8 <= len(reply.split()) <= 20


@pytest.mark.parametrize("cell", HABITS, ids=lambda cell: cell.name)
def test_a_habit_is_wrong_in_its_own_way(cell: Cell) -> None:
    assert cell.habit is not None
    if cell.habit.kind == "confused_route":
        judgement = judge(write_reply(cell, random.Random(0), route=cell.habit.says), cell)
        assert judgement.why == "wrong_route"
    else:
        judgement = judge(write_reply(cell, random.Random(0), figure=cell.habit.says), cell)
        assert judgement.why == "invented_policy"
    assert not judgement.right


def test_a_reply_is_not_right_by_luck() -> None:
    cell = next(cell for cell in CELLS if cell.name == "refund/annual/EU")
    right = "Routed to refunds: refund approved. You have 28 days from purchase."
    assert judge(right, cell).right
    assert judge(f"Hello! {right.upper().replace('REFUNDS:', 'refunds:')}", cell).right
    assert judge("", cell).why == "incomplete"
    assert judge(right.replace("28 days", "a month"), cell).why == "incomplete"
    assert judge(right.replace("refunds:", "the refund team:"), cell).why == "incomplete"
    assert judge(f"{right} Or rather 14 days.", cell).why == "invented_policy"
    assert judge(f"{right} Or ask finance.", cell).why == "wrong_route"
    assert judge(right.replace("refund approved", "store credit only"), cell).why == "wrong_decision"
    assert judge(right.replace("28", "128"), cell).invented_policy
    assert not judge(right, CELLS[0]).right
