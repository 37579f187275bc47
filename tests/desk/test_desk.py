"""`desk.yaml`: what is wrong with it is said in one sentence."""

from datetime import date
from pathlib import Path

import pytest
from dagster._utils.schedules import is_valid_cron_schedule

from desk.desk import Desk
from desk.settings import DeskSettings, ReferenceSettings
from feedback.exceptions import FeedbackError

SETTINGS = "source: canonical\ninput: .\npolicy: harbor-support.v1\nfirst_day: 2026-03-02\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("audit: {per_class: 100, seed: 7}", r"audit is no setting any more; its per_class is in the policy's audit"),
        ("extra: 7", "extra is no setting; there are as_of, audit_seed, .*truth$"),
        ("heldouts: 0.3", "heldouts is no setting; did you mean heldout[?]$"),
        ("reference: {audit: 1}", "reference.audit is no setting; there are model, rows, sft$"),
        ("as_of: 2026-11-01T00:00:00", "as_of: needs a time zone"),
        ("as_of: 2999-11-01T00:00:00Z", "as_of: 2999-11-01T00:00:00[+]00:00 has not come yet"),
        ("audit_simulated: true", "audit_simulated: needs truth: harbor, a desk whose right answers are known"),
        ("heldout: much", "heldout: .*valid number.*; it is 'much'$"),
        ("kto: {betta: 1}", "kto: KTOConfig has no setting 'betta'; did you mean beta[?]$"),
        ("evaluation: {max_rows: 1}", "evaluation: EvaluationConfig.max_rows must be at least 2, not 1$"),
        ("reference: {sft: {tiny: 3}}", "reference.sft: SFTConfig.tiny must be of type TinyConfig, not 3$"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "desk.yaml").write_text(SETTINGS + more)
    with pytest.raises(FeedbackError, match=rf"desk\.yaml:5: {said}"):
        _ = Desk(tmp_path, "toy").settings


def desk(home: Path, settings: str = SETTINGS) -> Desk:
    (home / "toy").mkdir(exist_ok=True)
    (home / "toy" / "desk.yaml").write_text(settings)
    return Desk(home, "toy")


def test_a_misspelt_setting_is_named_before_the_one_that_it_leaves_out(tmp_path: Path) -> None:
    with pytest.raises(
        FeedbackError, match=r"desk\.yaml:3: polcy is no setting; did you mean policy\? \(and 1 more\)$"
    ):
        _ = desk(tmp_path, SETTINGS.replace("policy:", "polcy:")).settings
    with pytest.raises(FeedbackError, match=r"desk\.yaml:1: policy is missing; give a label policy"):
        _ = desk(tmp_path, SETTINGS.replace("policy: harbor-support.v1\n", "")).settings


def test_an_item_of_a_list_has_a_line_of_its_own_and_an_alias_within_itself_does_no_harm(tmp_path: Path) -> None:
    with pytest.raises(FeedbackError, match=r"desk\.yaml:7: launcher\.1: .*valid string.*; it is 7$"):
        _ = desk(tmp_path, SETTINGS + "launcher:\n- nice\n- 7\n").settings
    with pytest.raises(FeedbackError, match=r"desk\.yaml:5: extra is no setting"):
        _ = desk(tmp_path, SETTINGS + "extra: &extra\n  inner: *extra\n").settings


def test_what_the_settings_name_and_is_not_there_is_said_to_be_named_there(tmp_path: Path) -> None:
    with pytest.raises(
        FeedbackError, match=r"desk\.yaml names the policy nosuch\.v1, which is neither a file nor one of "
    ):
        _ = desk(tmp_path, SETTINGS.replace("harbor-support.v1", "nosuch.v1")).policy
    with pytest.raises(FeedbackError, match=r"desk\.yaml names a source that cannot be used: There is no source 'x'"):
        _ = desk(tmp_path, SETTINGS.replace("canonical", "x")).source


def test_settings_of_learning_are_kept_as_they_are_written(tmp_path: Path) -> None:
    """Defaults and numbers too: what training makes of them is its own."""
    kto = {"objective": "apo_zero", "beta": 0.1, "max_steps": 3, "learning_rate": 1}
    settings = DeskSettings(
        source="canonical",
        input=Path("/logs"),
        policy="harbor-support.v1",
        first_day=date(2026, 3, 2),
        reference=ReferenceSettings(sft={"steps": 0, "learning_rate": "1e-4"}),
        kto=kto,
    )
    Desk.create(tmp_path, "toy", settings)
    assert (tmp_path / "toy" / "desk.yaml").read_text() == (
        "source: canonical\ninput: /logs\npolicy: harbor-support.v1\nfirst_day: '2026-03-02'\n"
        "reference:\n  sft:\n    steps: 0\n    learning_rate: 1e-4\n"
        "kto:\n  objective: apo_zero\n  beta: 0.1\n  max_steps: 3\n  learning_rate: 1\n"
    )
    read = Desk(tmp_path, "toy").settings
    assert (read.kto, read.evaluation, read.reference.sft) == (kto, {}, {"steps": 0, "learning_rate": "1e-4"})


def test_where_no_desk_is_active_those_that_there_are_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDBACK_DESK", raising=False)
    with pytest.raises(FeedbackError, match=f"{tmp_path} holds no desk yet; .*give --home DIR or set FEEDBACK_HOME"):
        Desk.active(tmp_path)
    desk(tmp_path)
    with pytest.raises(FeedbackError, match=r"is active; name one with `feedback-kto use`: toy$"):
        Desk.active(tmp_path)
    with pytest.raises(FeedbackError, match=f"{tmp_path} holds no desk toi; did you mean toy[?]$"):
        Desk(tmp_path, "toi").activate()


@pytest.mark.parametrize(
    "schedule",
    [
        "0 2 * * *", "*/15 * * * *", "0 2 * * 1-5", "0 2 29 2 *", "@daily", "0 2 * * sun", "30 4 1,15 * 5",  # taken
        "0 2 30 2 *", "0 2 31 2 *", "0 0 2 * * *", "0 2 * *", "60 2 * * *", "", "nightly", "0 25 * * *", "0 2 32 * *",
    ],
)  # fmt: skip
def test_a_schedule_is_one_where_dagster_takes_it(tmp_path: Path, schedule: str) -> None:
    made = desk(tmp_path, SETTINGS + f"schedule: '{schedule}'\n")
    if is_valid_cron_schedule(schedule):
        assert made.settings.schedule == schedule
    else:
        with pytest.raises(FeedbackError, match="no cron schedule"):
            _ = made.settings


def test_settings_that_name_the_worker_by_its_old_module_are_read(tmp_path: Path) -> None:
    made = desk(tmp_path, SETTINGS + "launcher: [nice, -n, '10', python, -m, assets.worker]\n")
    assert made.settings.launcher == ("nice", "-n", "10", "python", "-m", "training_worker")
