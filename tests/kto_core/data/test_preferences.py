import pytest

from kto_core.data.datasets import TrainingSet
from kto_core.data.preferences import read_pairs
from tests.kto_core.toy import prompt, toy_rows, write_training_set


def weighed(*rows):
    """Rows of one prompt: (completion, label, weight) each."""
    kinds = toy_rows(len(rows))
    return [
        row | {"prompt": prompt("refund", 1), "completion": text, "label": label, "weight": weight}
        for row, (text, label, weight) in zip(kinds, rows, strict=True)
    ]


def pairs_of(folder, rows):
    data = TrainingSet.open(write_training_set(folder, rows, []))
    return read_pairs(data, "train", data.rows("train"))


def test_a_pair_weighs_the_product_of_its_rows(tmp_path):
    pairs = pairs_of(tmp_path, weighed(("a", True, 0.5), ("b", True, 1.0), ("c", False, 0.2)))
    assert pairs.texts()[0][1:] == ("a", "c")
    assert pairs.weights.tolist() == pytest.approx([0.1, 0.2])
    assert pairs.take([1]).weights.tolist() == pytest.approx([0.2])


def test_rows_that_weigh_nothing_make_no_pairs_and_speak_against_none(tmp_path):
    rows = weighed(("a", True, 0.0), ("b", True, 1.0), ("c", False, 1.0), ("b", False, 0.0), ("c", True, 0.0))
    pairs = pairs_of(tmp_path / "some", rows)
    assert [text[1:] for text in pairs.texts()] == [("b", "c")]
    assert pairs.refused == {}
    assert len(pairs_of(tmp_path / "none", weighed(("a", True, 0.0), ("c", False, 1.0)))) == 0
