import math

import numpy as np
import pytest

from kto_core.data.ranking_scores import auc, balanced_accuracy, choice_accuracy, choice_sets, prior_scores


def test_auc_counts_pairs_in_order_and_ties_as_half():
    scores, good = np.array([3.0, 1.0, 1.0, 0.0]), np.array([True, True, False, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[good] for b in scores[~good]]
    assert auc(scores, good) == pytest.approx(np.mean(pairs))
    assert auc(scores, np.array([True] * 4)) is None


def test_a_threshold_is_never_chosen_on_the_rows_it_measures():
    # Fold 0 separates at 0, fold 1 at 10: each fold's threshold fails on the other.
    scores = np.array([-1.0, 1.0, 9.0, 11.0])
    good = np.array([False, True, False, True])
    folds = np.array([0, 0, 1, 1])
    assert balanced_accuracy(scores, good, folds) == 0.5
    assert balanced_accuracy(np.array([0.0, 1.0, 0.0, 1.0]), good, folds) == 1.0
    assert balanced_accuracy(scores, good, np.zeros(4)) is None
    assert balanced_accuracy(scores, np.array([True, True, False, True]), folds) is None


def test_choices_are_prompts_with_both_kinds_and_ties_count_by_share():
    prompts = ["a", "a", "b", "b", "c", "d", "d", "d"]
    good = np.array([True, False, True, True, False, True, False, False])
    sets = choice_sets(prompts, good)
    assert [rows.tolist() for rows in sets] == [[0, 1], [5, 6, 7]]
    assert choice_accuracy(np.array([1.0, 0, 0, 0, 0, 2, 2, 0]), good, sets) == pytest.approx((1 + 0.5) / 2)
    assert choice_accuracy(np.zeros(8), good, sets) == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert choice_accuracy(np.zeros(8), good, []) is None


def test_the_prior_is_smoothed_log_odds_of_the_text():
    trained = ["yes", "yes", "yes", "no"]
    labels = np.array([True, True, False, False])
    scores = prior_scores(["yes", "no", "new"], trained=trained, trained_desirable=labels, smoothing=1.0)
    assert scores.tolist() == pytest.approx([math.log(2.5 / 1.5), math.log(0.5 / 1.5), 0.0])


@pytest.mark.parametrize("label", [True, False])
def test_training_rows_of_one_class_tell_no_text_from_another(label):
    labels = np.array([label, label])
    scores = prior_scores(["yes", "no"], trained=["yes", "yes"], trained_desirable=labels, smoothing=1.0)
    assert scores.tolist() == [0.0, 0.0]
