"""`feedback-kto audit draw`, `status` and `simulate` on a desk of Harbor's replies, whose truth is known."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from assets.support.simulated_verdicts import READERS, Reader, simulate_verdicts
from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.audits.verdicts import Verdict, append_verdicts, current_verdicts
from feedback.exceptions import FeedbackError
from harbor.policy_book import CELLS
from harbor.replies import write_reply
from label_policy import load_policy, shipped_policies
from pipelines.cli.main import cli
from tests.feedback.labelled import label, put

Run = Callable[..., str]
SETTINGS = DeskSettings(
    source="canonical",
    input=Path("raw"),
    policy="harbor-support.v1",
    first_day=date(2026, 3, 2),
    truth="harbor",
    audit_simulated=True,
)
RIGHT = {f"d{number}{sent}": number % 2 == 0 for number in range(60) for sent in ("", "#sent")}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Half of the drafts are right, and all are labelled desirable; what was sent instead is labelled too."""
    rng, rows, truth = Random(1), [], []
    for draft_id, right in RIGHT.items():
        number = int(draft_id.removeprefix("d").removesuffix("#sent"))
        cell = CELLS[number]
        reply = write_reply(cell, rng) if right else write_reply(cell, rng, figure="999 days")
        rows.append(label(draft_id, completion=reply, rule="sent_text" if "#" in draft_id else "accepted"))
        truth += [] if "#" in draft_id else [{"draft_id": draft_id, "cell": cell.name}]
    desk = Desk.create(tmp_path, "toy", SETTINGS.model_copy(update={"input": tmp_path / "raw"}))
    put(desk.lake, *rows)
    pq.write_table(pa.Table.from_pylist(truth), tmp_path / "truth.parquet")
    return desk


@pytest.fixture
def run(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FEEDBACK_HOME", str(desk.home))

    def invoke(*arguments: str) -> str:
        result = CliRunner().invoke(cli, ["audit", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    return invoke


def test_from_the_draw_to_the_verdicts(run: Run, desk: Desk) -> None:
    assert "No sample is drawn yet" in run("status")
    drawn = run("draw")
    assert "accepted" in drawn and "sent_text" in drawn
    assert "0 of 120 rows are read by people" in drawn and "`feedback-kto audit review`" in drawn
    [part] = json.loads(run("status", "--json"))["parts"]
    assert (part["label"], part["tier"], part["size"], part["rows"], part["read"]) == (
        "desirable",
        "strong",
        120,
        120,
        0,
    )

    twice = part["missing"] - 120
    assert 0 < twice < 40
    assert f"{120 + twice} verdicts were simulated, by simulated-1 (2% wrong)" in run("simulate")
    assert json.loads(run("simulate", "--json")) == {"desk": "toy", "simulated": 0}
    said = run("status")
    assert "0 of 120 rows are read by people; 120 have a simulated verdict, which nobody gave." in said
    assert max(map(len, run("draw").splitlines())) <= 82

    append_verdicts(desk.lake, [Verdict(draft_id="d0", reviewer="ann", verdict="unsure", seconds=30)], origin="review")
    status = json.loads(run("status", "--json"))
    assert (status["parts"][0]["read"], status["seconds"]) == (1, {"ann": 30.0})
    assert status["seconds_left"] == status["missing"] * 30
    assert "ann takes 30 s a row" in run("status")
    assert {row["origin"] for row in current_verdicts(desk.lake).to_pylist() if row["draft_id"] == "d0"} == {"review"}


def test_simulated_readers_know_the_truth_and_err_at_their_rate(
    run: Run, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("draw")
    monkeypatch.setattr(
        "assets.support.simulated_verdicts.READERS", tuple(replace(r, wrong=0, unsure=0) for r in READERS)
    )
    simulate_verdicts(desk)
    for row in current_verdicts(desk.lake).to_pylist():
        wanted = ("desirable", None) if RIGHT[row["draft_id"]] else ("undesirable", "hallucinated_policy")
        assert (row["verdict"], row["reason"]) == wanted
        assert (row["origin"], row["seconds"]) == ("simulated", None) and row["reviewer"].startswith("simulated-")


def test_errors_are_the_same_each_time_and_as_many_as_said(
    run: Run, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("draw")
    monkeypatch.setattr(
        "assets.support.simulated_verdicts.READERS", (Reader(name="simulated-1", wrong=0.25, unsure=0.1),) * 2
    )
    simulate_verdicts(desk)
    said = {row["draft_id"]: row["verdict"] for row in current_verdicts(desk.lake).to_pylist()}
    wrong = sum(verdict != ("desirable" if RIGHT[draft_id] else "undesirable") for draft_id, verdict in said.items())
    # Binomial(120, 0.35): mean 42, standard deviation 5.2.
    assert 42 - 21 < wrong < 42 + 21


def test_a_desk_must_allow_simulated_verdicts_and_know_its_truth(desk: Desk) -> None:
    forbidding = Desk.create(desk.home, "other", SETTINGS.model_copy(update={"audit_simulated": False}))
    with pytest.raises(FeedbackError, match=r"does not let simulated verdicts stand in for people's; set audit_simul"):
        simulate_verdicts(forbidding)
    (desk.home / "truth.parquet").unlink()
    with pytest.raises(FeedbackError, match=r"truth\.parquet holds no truth"):
        simulate_verdicts(desk)


def test_strata_and_columns_of_the_draw_are_the_policys(run: Run, desk: Desk) -> None:
    strata = load_policy(shipped_policies()["harbor-support.v1"]).audit.strata
    parts = json.loads(run("draw", "--json"))["parts"]
    assert all(set(strata) < set(part) for part in parts)
    assert sum(part["size"] for part in parts) == 120
