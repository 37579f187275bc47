from collections import defaultdict
from pathlib import Path

from harbor.policy_book import CELLS
from harbor.replies import judge
from harbor.tickets import draw_tickets
from harbor.transcripts import past_transcripts, write_transcripts


def test_habits_rule_their_cells_and_no_others() -> None:
    count = 6000
    tickets = draw_tickets(count, purpose="transcripts", seed=1)
    wrong = defaultdict(list)
    for ticket, transcript in zip(tickets, past_transcripts(count, seed=1), strict=True):
        assert transcript["prompt"] == ticket.prompt
        wrong[ticket.cell].append(not judge(transcript["completion"], ticket.cell).right)
    assert len(wrong) == len(CELLS)
    for cell, mistakes in wrong.items():
        share = sum(mistakes) / len(mistakes)
        if cell.habit is None:
            assert share == 0
        else:
            assert 0.5 < share < 0.9, cell.name
    ruled = [cell for cell, mistakes in wrong.items() if sum(mistakes) > len(mistakes) / 2]
    assert len(ruled) == len(CELLS) / 3


def test_the_same_transcripts_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_transcripts(tmp_path / name / "transcripts.parquet", past_transcripts(50, seed=2))
    one, two = (tmp_path / name / "transcripts.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    assert [path.name for path in one.parent.iterdir()] == ["transcripts.parquet"]
