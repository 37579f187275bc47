import pytest

from kto_core import EvaluationConfig, KTOConfig, SFTConfig, TinyConfig, TrainingError


@pytest.mark.parametrize(
    "config", [SFTConfig(steps=3, tiny=TinyConfig(layers=2)), KTOConfig(beta=1), EvaluationConfig()]
)
def test_a_config_survives_json(config):
    assert type(config).from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (KTOConfig, {"betta": 1}, r"KTOConfig has no setting 'betta'; it knows balance"),
        (KTOConfig, {"beta": 0}, r"KTOConfig.beta must be above 0, not 0.0"),
        (KTOConfig, {"beta": float("nan")}, r"KTOConfig.beta must be a finite number"),
        (KTOConfig, {"beta": "big"}, r"KTOConfig.beta must be of type float, not 'big'"),
        (KTOConfig, {"batch_groups": 1.5}, r"KTOConfig.batch_groups must be of type int, not 1.5"),
        (KTOConfig, {"batch_groups": True}, r"KTOConfig.batch_groups must be of type int, not True"),
        (KTOConfig, {"balance": "luck"}, r"KTOConfig.balance must be one of 'oversample', 'lambda', 'none'"),
        (KTOConfig, {"group_rows": 7}, r"KTOConfig.group_rows must be even"),
        (KTOConfig, {"warmup": 2}, r"KTOConfig.warmup must be at most 1"),
        (KTOConfig, {"max_steps": "many"}, r"KTOConfig.max_steps must be of type int or nothing"),
        (SFTConfig, {"tiny": {"depth": 1}}, r"TinyConfig has no setting 'depth'"),
        (SFTConfig, {"tiny": {"width": 30, "heads": 4}}, r"TinyConfig.width must be a multiple of 2 × heads = 8"),
        (SFTConfig, {"tiny": 3}, r"SFTConfig.tiny must be of type TinyConfig"),
        (EvaluationConfig, {"max_rows": 1}, r"EvaluationConfig.max_rows must be at least 2"),
    ],
)
def test_a_wrong_setting_is_named(kind, values, says):
    with pytest.raises(TrainingError, match=says):
        kind.from_dict(values)


def test_whole_numbers_do_for_floats_and_nested_configs_come_from_mappings():
    config = SFTConfig.from_dict({"learning_rate": 1, "tiny": {"layers": 2}})
    assert config.learning_rate == 1.0
    # YAML 1.1 reads this as text.
    assert SFTConfig.from_dict({"learning_rate": "1e-4"}).learning_rate == 1e-4
    assert config.tiny == TinyConfig(layers=2)
