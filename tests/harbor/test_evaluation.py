from collections.abc import Sequence
from pathlib import Path

import pytest

import harbor
from harbor import kpis
from harbor.policy_book import CATEGORIES
from harbor.replies import write_reply
from harbor.statistics import wilson
from harbor.tickets import Ticket, stream


def test_the_wilson_interval_is_the_published_one() -> None:
    # Newcombe 1998, table I: 81 of 263 and 0 of 20, method 3.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Models that know the book (`right`) or the habits (`habits`), without any weights."""

    def draft_replies(model: Path, tickets: Sequence[Ticket], **_: object) -> list[str]:
        rng = stream("answers", 0)
        replies = []
        for ticket in tickets:
            habit = ticket.cell.habit if model.name == "habits" else None
            said = {} if habit is None else {"route" if habit.kind == "confused_route" else "figure": habit.says}
            replies.append(write_reply(ticket.cell, rng, **said))
        return replies

    monkeypatch.setattr(kpis, "draft_replies", draft_replies)
    for name in ("right", "habits"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_the_book_scores_all_and_the_habits_a_third_less(answers: Path) -> None:
    result = harbor.evaluate(answers / "right", answers / "habits", tickets=600)
    assert result["model"]["kpis"]["first_contact_resolution"] == {
        "share": 1.0,
        "count": 600,
        "of": 600,
        "low": pytest.approx(0.9936, abs=1e-4),
        "high": 1.0,
    }
    assert result["model"]["kpis"]["invented_policy"]["count"] == 0
    before = result["baseline"]["kpis"]
    assert 0.6 < before["first_contact_resolution"]["share"] < 0.73
    assert before["invented_policy"]["count"] + before["wrong_route"]["count"] == result["fixed"]
    assert result["broken"] == 0
    assert result["change"]["first_contact_resolution"] == pytest.approx(result["fixed"] / 600, abs=1e-4)
    assert result["baseline"]["by_habit"]["habit"]["first_contact_resolution"]["share"] == 0
    assert result["baseline"]["by_habit"]["no_habit"]["first_contact_resolution"]["share"] == 1
    assert sum(kpis["wrong_route"]["of"] for kpis in result["model"]["by_category"].values()) == 600
    assert set(result["model"]["by_category"]) == set(CATEGORIES)


def test_a_baseline_is_optional(answers: Path) -> None:
    result = harbor.evaluate(answers / "habits", tickets=10)
    assert set(result) == {"tickets", "seed", "model"}


def test_what_cannot_be_evaluated_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(harbor.HarborError, match="is no model folder"):
        harbor.evaluate(tmp_path / "nowhere")
    with pytest.raises(harbor.HarborError, match="at least one ticket"):
        harbor.evaluate(tmp_path, tickets=0)
