"""Problems found in invented figures; the reaction of `train_kto` is tested in test_kto.py."""

import pytest

from kto_core.training.health import WINDOW, Watch, troubles

QUIET = {"z0": 0.5, "reward_desirable": 1.0, "reward_undesirable": -1.0}


def run(*phases):
    """Steps: each phase is (steps, figures)."""
    steps = [QUIET | figures for count, figures in phases for _ in range(count)]
    return [figures | {"step": number} for number, figures in enumerate(steps, start=1)]


def test_a_quiet_run_has_no_trouble():
    quiet = run((200, {}), (3, {"grad_norm_desirable": 1.0, "grad_norm_undesirable": 4.0}))
    assert Watch(beta=0.1, warns=True).look(quiet)


def test_kl_saturates():
    sentences = troubles(run((WINDOW, {"z0": 40.0})), beta=0.1)["kl saturates"]
    assert "z0 is 40.0 nats and β·z0 4.0" in sentences
    assert "has 7% of its gradient" in sentences
    assert not troubles(run((WINDOW, {"z0": 40.0})), beta=0.05)
    assert not troubles(run((WINDOW - 1, {"z0": 40.0})), beta=0.1)


@pytest.mark.parametrize("larger", ["desirable", "undesirable"])
def test_one_class_dominates(larger):
    smaller = {"desirable": "undesirable", "undesirable": "desirable"}[larger]
    measured = {f"grad_norm_{larger}": 3.0, f"grad_norm_{smaller}": 0.1}
    sentences = troubles(run((50, {}), (1, measured), (50, {}), (1, measured), (50, {}), (1, measured)), beta=0.1)
    assert f"the gradient of {larger} rows is 30 × that of {smaller} ones" in sentences["one class dominates"]
    assert not troubles(run((2, measured)), beta=0.1), "two measurements are too few"
    learned = {"reward_desirable": 4.0, "reward_undesirable": -4.0}
    assert not troubles(run((50, measured | learned)), beta=0.1), "what is learned has no gradient left"


def test_without_z0_the_reference_point_is_0():
    """Figures of APO-zero."""
    figures = {"z0": None, "grad_norm_desirable": 3.0, "grad_norm_undesirable": 0.1, "reward_undesirable": -1.0}
    assert "one class dominates" in troubles(run((50, figures)), beta=0.1)
    assert not troubles(run((50, figures | {"reward_undesirable": -4.0})), beta=0.1), "undesirable rows are learned"


def test_measurements_may_lie_as_far_apart_as_the_run_is_long():
    measured = {"grad_norm_desirable": 3.0, "grad_norm_undesirable": 0.1}
    watch = Watch(beta=0.1, warns=False)
    assert not watch.look(run((1, measured), (1500, {}), (1, measured), (1500, {}), (1, measured)))
    assert watch.reported["one class dominates"]["step"] == 3003


def test_both_rewards_fall():
    fallen = {"reward_desirable": -2.0, "reward_undesirable": -2.4}
    sentences = troubles(run((50, {}), (WINDOW, fallen)), beta=0.1)["both rewards fall"]
    assert "to -2.00 for desirable rows and -2.40 for undesirable ones" in sentences
    # An undesirable reward that falls is what training is for; a desirable one wavers about 0, or is taken along.
    assert not troubles(run((50, fallen | {"reward_undesirable": -4.1})), beta=0.1)
    assert not troubles(run((50, fallen | {"reward_desirable": -0.1})), beta=0.1)
    assert not troubles(run((WINDOW - 1, fallen)), beta=0.1)


def test_each_trouble_is_told_once_when_it_is_first_seen(caplog):
    steps = run((50, {}), (100, {"z0": 100.0}))
    watch = Watch(beta=0.1, warns=True)
    looks = [watch.look(steps[:count]) for count in (0, 20, 50, 80, 150)]
    assert looks == [True, True, True, False, False]
    assert watch.reported.keys() == {"kl saturates"}
    assert 50 < watch.reported["kl saturates"]["step"] <= 50 + WINDOW
    assert len(caplog.messages) == 1
