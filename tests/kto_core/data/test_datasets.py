import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kto_core import TrainingError
from kto_core.data.datasets import TrainingSet, read_corpus
from tests.kto_core.toy import prompt, toy_rows, write_training_set


def test_rows_that_cannot_teach_are_counted_by_reason(tmp_path):
    rows = toy_rows(20)
    for row, change in zip(
        rows,
        [{"completion": "  "}, {"completion": None}, {"weight": math.nan}, {"weight": -1.0}, {"prompt": []}],
        strict=False,
    ):
        row.update(change)
    usable = TrainingSet.open(write_training_set(tmp_path, rows, [])).rows("train")
    assert usable.refused == {"empty prompt": 1, "empty completion": 2, "weight missing, negative or not finite": 2}
    assert len(usable) == 15


def test_nothing_left_to_teach_is_an_error(tmp_path):
    rows = [row | {"completion": ""} for row in toy_rows(4)]
    with pytest.raises(TrainingError, match=r"no usable row \(empty completion: 4\)"):
        TrainingSet.open(write_training_set(tmp_path, rows, [])).rows("train")


def test_lengths_are_characters_of_prompt_and_completion(training_set):
    rows = TrainingSet.open(training_set).rows("train")
    counted = [sum(len(m["content"]) for m in turns) + len(answer) for turns, answer in rows.pairs()]
    assert rows.characters().tolist() == counted


def test_the_content_hash_ignores_files_and_chunks_but_not_values(tmp_path):
    rows = [{"prompt": prompt("refund", i), "completion": f"answer {i}"} for i in range(6)]
    whole, parts, other = tmp_path / "whole.parquet", tmp_path / "parts", tmp_path / "other.parquet"
    parts.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), whole)
    pq.write_table(pa.Table.from_pylist(rows[:2]), parts / "a.parquet")
    pq.write_table(pa.Table.from_pylist(rows[2:]), parts / "b.parquet", row_group_size=1)
    pq.write_table(pa.Table.from_pylist([*rows[:5], rows[5] | {"completion": "answer"}]), other)
    assert read_corpus(whole).content_hash() == read_corpus(parts).content_hash() != read_corpus(other).content_hash()


def test_a_training_set_as_corpus_gives_its_desirable_training_side(training_set):
    answers = {row["completion"].split()[0] for row in read_corpus(training_set).table.to_pylist()}
    assert answers == {"hello,"}
    assert len(read_corpus(training_set)) == sum(row["label"] for row in toy_rows(160, seed=1))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest.json does not exist"),
        (lambda folder: (folder / "manifest.json").write_text("{"), r"manifest.json cannot be read as JSON"),
        (lambda folder: (folder / "manifest.json").write_text("{}"), r"manifest.json names no version"),
    ],
)
def test_a_broken_manifest_is_named(tmp_path, spoil, message):
    folder = write_training_set(tmp_path / "set", toy_rows(4), [])
    spoil(folder)
    with pytest.raises(TrainingError, match=message):
        TrainingSet.open(folder)


def test_wrong_columns_and_missing_files_are_named(tmp_path):
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"prompt": ["text"], "answer": ["text"]}), file)
    with pytest.raises(TrainingError, match="lacks the column 'completion'; it has prompt, answer"):
        read_corpus(file)
    pq.write_table(pa.table({"prompt": ["text"], "completion": ["text"]}), file)
    with pytest.raises(TrainingError, match="cannot be read as rows with prompt, completion"):
        read_corpus(file)
    with pytest.raises(TrainingError, match="holds no Parquet files"):
        read_corpus(tmp_path / "nowhere")
    with pytest.raises(TrainingError, match="holds no heldout"):
        TrainingSet.open(write_training_set(tmp_path / "set", toy_rows(4), [])).rows("heldout")


CLOSED = {"asked": True, "gate": {"passed": False, "reasons": ["57 desirable rows are still to be read"]}}
REFUSED = (
    "may not train, since its audit's gate is closed: 57 desirable rows are still to be read; build it again with "
    "`feedback-kto retrain` once that is done, or open the gate with `feedback-kto audit override`$"
)


@pytest.mark.parametrize(
    "read",
    [
        TrainingSet.open,
        read_corpus,
        lambda folder: read_corpus(folder / "desirable"),
        lambda folder: read_corpus(next((folder / "desirable").glob("train-*.parquet"))),
    ],
)
def test_a_closed_gate_lets_no_way_into_training(tmp_path, read):
    folder = write_training_set(tmp_path, toy_rows(8), [])
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"audit": CLOSED}))
    with pytest.raises(TrainingError, match=REFUSED):
        read(folder)
    opened = {"asked": True, "gate": {"passed": True, "reasons": []}}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"audit": opened}))
    read(folder)


def test_a_corpus_leaves_out_what_weighs_nothing(tmp_path):
    rows = [{"prompt": prompt("refund", i), "completion": f"answer {i}"} for i in range(6)]
    weights = [0.0, 0.5, None, -1.0, math.nan, 1.0]
    weighed = [row | {"weight": weight} for row, weight in zip(rows, weights, strict=True)]
    pq.write_table(pa.Table.from_pylist(weighed), tmp_path / "weighed.parquet")
    pq.write_table(pa.Table.from_pylist([rows[1], rows[2], rows[5]]), tmp_path / "plain.parquet")
    found = read_corpus(tmp_path / "weighed.parquet")
    assert found.table["completion"].to_pylist() == ["answer 1", "answer 2", "answer 5"]
    assert found.refused == {"weight 0": 1, "weight missing, negative or not finite": 2}
    assert found.content_hash() == read_corpus(tmp_path / "plain.parquet").content_hash()
