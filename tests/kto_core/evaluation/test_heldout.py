import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import roc_auc_score

from kto_core import EvaluationConfig, KTOConfig, evaluate, train_kto
from kto_core.data.datasets import TrainingSet
from kto_core.data.tokenization import Encoder
from kto_core.evaluation.heldout import auc_within, draw_rows
from kto_core.models.model_folders import load
from tests.kto_core.toy import toy_rows, write_training_set


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("evaluation")


@pytest.fixture(scope="module")
def candidate(reference, training_set, home):
    config = KTOConfig(max_steps=12, batch_groups=1, beta=0.5, learning_rate=3e-3)
    return train_kto(
        reference=reference, training_set=training_set, config=config, store=home / "models", cache=home / "cache"
    )


@pytest.fixture(scope="module")
def figures(reference, candidate, training_set, home):
    config = EvaluationConfig(max_rows=None)
    return evaluate(
        reference=reference, candidate=candidate, training_set=training_set, config=config, cache=home / "cache",
        scores=home / "scores.parquet",
    )  # fmt: skip


def naive_scores(folder, rows):
    model, tokenizer = load(folder)
    encoder = Encoder(tokenizer, max_prompt_tokens=512, max_completion_tokens=256)
    summed, lengths = [], []
    with torch.no_grad():
        for row in encoder.encode(rows.pairs()):
            ids = torch.from_numpy(row.ids.astype(np.int64))
            logps = model(input_ids=ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
            summed.append(float(logps[row.start - 1 :].sum()))
            lengths.append(row.completion_tokens)
    return np.array(summed), np.array(lengths)


def test_figures_equal_a_direct_computation(figures, reference, candidate, training_set):
    rows = TrainingSet.open(training_set).rows("heldout")
    good = rows.desirable()
    before, lengths = naive_scores(reference, rows)
    after, _ = naive_scores(candidate, rows)
    assert figures["auc_before"] == pytest.approx(roc_auc_score(good, before / lengths), abs=2e-3)
    assert figures["auc_after"] == pytest.approx(roc_auc_score(good, after / lengths), abs=2e-3)
    rewards = 0.5 * (after - before)
    assert figures["beta"] == 0.5
    assert figures["reward_margin"] == pytest.approx(rewards[good].mean() - rewards[~good].mean(), abs=1e-4)
    assert figures["rows"] == figures["rows_held_out"] == 80


def test_each_row_that_was_scored_is_written_down(figures, candidate, training_set, home):
    assert figures["rows"] == 80
    rows = TrainingSet.open(training_set).rows("heldout")
    after, lengths = naive_scores(candidate, rows)
    written = pq.read_table(home / "scores.parquet")
    assert written.column_names == ["row_id", "ticket_id", "category", "desirable", "tokens", "before", "after"]
    assert written["row_id"].to_pylist() == rows.table["row_id"].to_pylist()
    assert written["desirable"].to_pylist() == rows.desirable().tolist()
    assert written["tokens"].to_pylist() == lengths.tolist()
    assert written["after"].to_numpy() == pytest.approx(after, abs=1e-3)


def test_training_helped_and_everything_is_plain_json(figures):
    assert figures["auc_after"] >= figures["auc_before"]
    assert figures["reward_margin"] > 0
    assert figures["choice_sets"] > 0
    assert 0 < figures["choice_accuracy_random"] < 1
    assert figures["auc_prior"] > 0.8  # the toy desk's replies tell their class by their words
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert set(figures["categories"]) == {"none", "refund", "invoice", "password", "delivery", "contract"}
    assert sum(part["rows"] for part in figures["categories"].values()) == 80


def test_a_second_evaluation_computes_nothing(figures, reference, candidate, training_set, home, monkeypatch):
    monkeypatch.setattr("kto_core.evaluation.heldout.load", lambda folder: pytest.fail("the cache had it all"))
    again = evaluate(
        reference=reference,
        candidate=candidate,
        training_set=training_set,
        config=EvaluationConfig(max_rows=None),
        cache=home / "cache",
    )
    assert again == figures


def test_held_out_rows_that_training_has_are_left_out(reference, tmp_path):
    train, heldout = toy_rows(40, seed=1), toy_rows(30, seed=2)
    heldout[:4] = [row | {"ticket_id": "elsewhere"} for row in train[:4]]
    found = evaluate(
        reference=reference,
        candidate=reference,
        training_set=write_training_set(tmp_path / "set", train, heldout, version="leak"),
        config=EvaluationConfig(),
        cache=tmp_path / "cache",
    )
    assert found["rows_seen_in_training"] >= 4
    assert found["rows"] == 30 - found["rows_seen_in_training"]
    assert found["reward_margin"] == pytest.approx(0)
    assert found["beta"] == KTOConfig().beta


def test_what_cannot_be_measured_is_none(reference, tmp_path):
    heldout = [row for row in toy_rows(30, seed=2) if row["label"]]
    found = evaluate(
        reference=reference,
        candidate=reference,
        training_set=write_training_set(tmp_path / "set", toy_rows(40, seed=1), heldout, version="good"),
        config=EvaluationConfig(),
        cache=tmp_path / "cache",
    )
    assert found["auc_after"] is None
    assert found["accuracy_after"] is None
    assert found["choice_accuracy_after"] is None
    assert found["choice_accuracy_random"] is None
    assert found["reward_margin"] is None


def test_a_draw_keeps_prompts_whole_and_follows_the_seed(training_set):
    rows = TrainingSet.open(training_set).rows("heldout")
    prompts, fresh = rows.prompt_keys(), list(range(len(rows)))
    drawn = draw_rows(rows, prompts, fresh, max_rows=40, seed=0)
    assert 36 <= len(drawn) <= 40
    assert drawn.tolist() == draw_rows(rows, prompts, fresh, max_rows=40, seed=0).tolist()
    assert drawn.tolist() != draw_rows(rows, prompts, fresh, max_rows=40, seed=1).tolist()
    inside = {prompts[i] for i in drawn}
    assert all((i in set(drawn.tolist())) == (prompts[i] in inside) for i in fresh)
    good = rows.desirable()
    assert good[drawn].mean() == pytest.approx(good.mean(), abs=0.08)


def test_auc_within_categories_does_not_reward_knowing_the_category():
    def part(good, bad):
        labels = np.array([True] * len(good) + [False] * len(bad))
        auc = roc_auc_score(labels, np.array(good + bad)) if len(good) and len(bad) else None
        return {"desirable": len(good), "undesirable": len(bad), "auc_after": auc}

    liked, disliked = part([0.9, 0.9, 0.9], [0.9]), part([0.1], [0.1, 0.1, 0.1])
    pooled = roc_auc_score([True] * 4 + [False] * 4, [0.9, 0.9, 0.9, 0.1, 0.9, 0.1, 0.1, 0.1])
    assert pooled == 0.75
    assert auc_within([liked, disliked], "after") == 0.5
    assert auc_within([part([0.9, 0.8], [0.1]), part([0.2], [0.3])], "after") == pytest.approx(2 / 3)
    assert auc_within([part([0.5], [])], "after") is None


def test_a_prior_of_one_class_is_as_good_as_chance(reference, tmp_path):
    train = [row | {"label": True} for row in toy_rows(20, seed=1)]
    places = {"reference": reference, "candidate": reference, "cache": tmp_path / "cache"}
    training_set = write_training_set(tmp_path / "set", train, toy_rows(40, seed=2))
    found = evaluate(**places, training_set=training_set, config=EvaluationConfig())
    assert found["auc_prior"] == 0.5
    assert found["choice_accuracy_prior"] == found["choice_accuracy_random"]
