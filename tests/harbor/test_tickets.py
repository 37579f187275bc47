from collections import Counter

from harbor.policy_book import CELLS
from harbor.tickets import SYSTEM_PROMPT, draw_tickets


def test_the_seed_decides_and_a_shorter_draw_is_a_prefix() -> None:
    tickets = draw_tickets(200, purpose="logged", seed=3)
    assert tickets == draw_tickets(200, purpose="logged", seed=3)
    assert tickets[:50] == draw_tickets(50, purpose="logged", seed=3)
    assert tickets != draw_tickets(200, purpose="logged", seed=4)


def test_purposes_have_streams_of_their_own() -> None:
    logged = {ticket.message for ticket in draw_tickets(2000, purpose="logged", seed=3)}
    unseen = [ticket.message for ticket in draw_tickets(500, purpose="evaluation", seed=3)]
    # Short wordings without an order number may coincide; the bulk must not.
    assert sum(message in logged for message in unseen) < 25


def test_every_cell_is_asked_about_in_many_wordings() -> None:
    tickets = draw_tickets(3000, purpose="logged", seed=0)
    assert len({ticket.message for ticket in tickets}) > 2800
    asked = Counter(ticket.cell.name for ticket in tickets)
    assert len(asked) == len(CELLS)
    assert min(asked.values()) > 20
    assert all(6 <= len(ticket.message.split()) <= 45 for ticket in tickets)
    assert not any("{" in ticket.message for ticket in tickets)


def test_the_prompt_is_the_conversation_and_nothing_of_the_truth() -> None:
    (ticket,) = draw_tickets(1, purpose="logged", seed=0)
    assert ticket.prompt == [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": ticket.message},
    ]


def test_a_message_never_states_the_answer() -> None:
    for ticket in draw_tickets(1000, purpose="logged", seed=0):
        assert ticket.cell.figure not in ticket.message
        assert ticket.cell.decision not in ticket.message
