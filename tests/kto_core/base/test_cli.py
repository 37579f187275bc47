import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from kto_core.__main__ import cli, main


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)


@pytest.mark.parametrize("command", [[], ["sft"], ["train"], ["evaluate"], ["release"], ["generate"]])
def test_help_reads(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_train_evaluate_release_and_ask(reference, training_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "kto.yaml"
    config.write_text(yaml.safe_dump({"beta": 0.5, "max_steps": 9, "batch_groups": 1}))
    trained = run(
        "train", "--reference", reference, "--training-set", training_set, "--config", config, "--max-steps", 2
    )
    candidate = trained.stdout.split()[-1]
    training = json.loads((tmp_path / candidate / "training.json").read_text())
    assert training["config"]["beta"] == 0.5
    assert training["metrics"]["steps"] == 2

    evaluated = run("evaluate", "--reference", reference, "--candidate", candidate, "--training-set", training_set)
    (tmp_path / "evaluation.json").write_text(evaluated.stdout)
    assert json.loads(evaluated.stdout)["beta"] == 0.5
    bundle = ["--candidate", candidate, "--training-set", training_set, "--evaluation", "evaluation.json"]
    released = run("release", *bundle, "--promote", "new").stdout.split()
    assert released[0] == released[1]
    generated = run("generate", "--model", released[0], "--prompt", "help", "--max-new-tokens", 3)
    assert generated.exit_code == 0


def test_another_objective_is_an_option(reference, training_set, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "--reference", reference, "--training-set", training_set, "--objective", "apo_zero"]
    candidate = Path(run(*words, "--max-steps", 1, "--kl-prompts", 0).stdout.split()[-1])
    assert candidate.name.startswith("apo_zero-")
    assert json.loads((candidate / "training.json").read_text())["config"]["objective"] == "apo_zero"
    assert "'dpo' is not one of 'kto', 'apo_zero'" in run(*words[:-1], "dpo").output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sft", "--model", "nowhere", "--rows", "missing"], "missing holds no Parquet files"),
        (["sft", "--model", "nowhere", "--steps", "0"], "model 'nowhere' is neither a preset"),
        (["sft", "--model", "tiny", "--steps", "-1"], "SFTConfig.steps must be at least 0, not -1"),
        (["train", "--reference", "r", "--training-set", "t", "--config", "no.yaml"], "config no.yaml cannot be read"),
        (["train", "--reference", "r", "--training-set", "t"], "training set t is not a folder"),
        (["release"], "choose an action"),
        (["release", "--rollback"], "has no earlier champion"),
        (["release", "--candidate", "c"], "needs --candidate, --training-set and --evaluation"),
    ],
)
def test_a_mistake_ends_in_one_sentence_and_exit_1(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["kto_core", *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 1
    assert message in error
    assert "Traceback" not in error
    assert error.strip().count("\n") == 0


@pytest.mark.parametrize("text", ["- a\n- b\n", "beta: [", "betta: 1"])
def test_a_wrong_config_file_is_reported(text, tmp_path, monkeypatch, capsys):
    (tmp_path / "c.yaml").write_text(text)
    monkeypatch.setattr(
        "sys.argv", ["k", "train", "--reference", "r", "--training-set", "t", "--config", str(tmp_path / "c.yaml")]
    )
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")
