"""Verdicts: which fields are kept, and which verdicts count."""

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audits.verdicts import REASONS, TEXT_DIGEST_SQL, Verdict, append_verdicts, current_verdicts, text_digest
from feedback.exceptions import FeedbackError
from feedback.lake.event_schema import MESSAGES
from feedback.lake.tables import VERDICTS
from tests.feedback.labelled import label, put


def current(lake):
    return [(row["draft_id"], row["reviewer"], row["verdict"]) for row in current_verdicts(lake).to_pylist()]


def verdict(draft_id="d1", kind="desirable", reviewer="ann", **fields):
    return Verdict(draft_id=draft_id, reviewer=reviewer, verdict=kind, **fields)


def test_nothing_stands_before_the_first_verdict(lake):
    assert current_verdicts(lake) == VERDICTS.schema.empty_table()


def test_a_verdict_keeps_what_the_policy_said(lake):
    put(lake, label("d1", rule="thumbs_up", tier="explicit", weight=0.5), sampled=True)
    append_verdicts(lake, [verdict(kind="undesirable", reason="tone", note="curt", seconds=4.5)], origin="review")
    [row] = current_verdicts(lake).to_pylist()
    policy_said = {"label": "desirable", "tier": "explicit", "rule": "thumbs_up", "weight": 0.5, "policy_digest": "p"}
    assert {name: row[name] for name in (*policy_said, "stratum")} == {**policy_said, "stratum": "s"}
    assert (row["verdict"], row["reason"], row["note"], row["seconds"], row["origin"]) == (
        "undesirable", "tone", "curt", 4.5, "review"
    )  # fmt: skip
    assert row["text_digest"] == text_digest([{"role": "user", "content": "question d1"}], "reply d1")


def test_the_newest_of_each_reviewer_counts_unless_withdrawn(lake, at):
    put(lake, label("d1"), label("d2"), sampled=True)
    append_verdicts(lake, [verdict(), verdict("d2"), verdict(reviewer="bob")], origin="review", recorded_at=at())
    # In one commit, the later of two verdicts on the same draft counts.
    append_verdicts(
        lake, [verdict(kind="unsure"), verdict(kind="undesirable")], origin="review", recorded_at=at(hours=1)
    )
    assert current(lake) == [("d1", "ann", "undesirable"), ("d1", "bob", "desirable"), ("d2", "ann", "desirable")]
    append_verdicts(lake, [verdict("d2", "withdrawn")], origin="review", recorded_at=at(hours=2))
    assert current(lake) == [("d1", "ann", "undesirable"), ("d1", "bob", "desirable")]
    append_verdicts(lake, [verdict("d2", "unsure")], origin="review", recorded_at=at(hours=3))
    assert ("d2", "ann", "unsure") in current(lake)


def test_a_verdict_stands_only_while_the_text_is_the_one_that_was_read(lake):
    put(lake, label("d1"), label("d2"), sampled=True)
    append_verdicts(lake, [verdict("d1"), verdict("d2")], origin="review")
    # Another policy gives d1 another label, d2 has another text, and nobody has read d3.
    put(lake, label("d1", label="undesirable", rule="rejected"), label("d2", completion="other"), label("d3"))
    assert current(lake) == [("d1", "ann", "desirable")]
    put(lake, label("d3"))
    assert current(lake) == []


def test_a_simulated_verdict_counts_until_somebody_has_read_the_draft(lake):
    put(lake, label("d1"), label("d2"), sampled=True)
    simulated = [verdict(draft, reviewer=f"simulated-{number}") for draft in ("d1", "d2") for number in (1, 2)]
    append_verdicts(lake, simulated, origin="simulated")
    append_verdicts(lake, [verdict("d1", "undesirable")], origin="import")
    assert [row[:2] for row in current(lake)] == [("d1", "ann"), ("d2", "simulated-1"), ("d2", "simulated-2")]
    append_verdicts(lake, [verdict("d1", "withdrawn")], origin="import")
    assert len(current(lake)) == 4


@pytest.mark.parametrize(
    "bad_verdict, origin, part",
    [
        (lambda: verdict("d9"), "review", "'d9' is not in the audit sample"),
        (lambda: verdict(kind="good"), "review", "must be one of desirable, undesirable, unsure, withdrawn"),
        (lambda: verdict(reason="ugly"), "review", "reason 'ugly'; it must be one of hallucinated_policy"),
        (lambda: verdict(reviewer=" "), "review", "has no reviewer"),
        (lambda: verdict(seconds=float("nan")), "review", "took nan seconds"),
        (lambda: verdict(note="\ud800"), "review", "note of the verdict on 'd1' is no Unicode text"),
        (lambda: verdict(text_digest="0" * 64), "import", "has changed since it was read"),
        (lambda: verdict(reviewer="Simulated-1"), "review", "cannot give a verdict of origin 'review'"),
        (lambda: verdict(), "simulated", "cannot give a verdict of origin 'simulated'"),
    ],
)
def test_what_is_refused(lake, bad_verdict, origin, part):
    put(lake, label("d1"), sampled=True)
    with pytest.raises(FeedbackError, match=part):
        append_verdicts(
            lake, [verdict(reviewer="simulated-1" if origin == "simulated" else "bob"), bad_verdict()], origin=origin
        )
    assert not lake.exists(VERDICTS)


def test_any_text_can_be_kept(lake):
    put(lake, label("d1"), sampled=True)
    note = "<script>\u202e\x00 =cmd()\n" + "long " * 10_000
    append_verdicts(lake, [verdict(note=note, reason=next(iter(REASONS)))], origin="review")
    assert current_verdicts(lake)["note"].to_pylist() == [note]


TEXT = st.one_of(st.none(), st.text(max_size=8))
PROMPTS = st.one_of(st.none(), st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(PROMPTS, TEXT), max_size=10))
def test_the_text_digest_is_the_same_in_python_and_in_sql(rows):
    texts = pa.table(
        {
            "prompt": pa.array([row[0] for row in rows], MESSAGES),
            "completion": pa.array([row[1] for row in rows], pa.string()),
        }
    )
    with duckdb.connect() as connection:
        connection.register("texts", texts)
        computed = [row[0] for row in connection.execute(f"SELECT {TEXT_DIGEST_SQL} FROM texts").fetchall()]
    assert computed == [text_digest(*row) for row in rows]


def test_texts_that_read_otherwise_have_other_digests():
    turn = {"role": "user", "content": "ab"}
    texts = [([turn], "c"), ([turn], "bc"), ([{**turn, "content": "a"}], "bc"), ([turn, turn], "c"), ([], "c")]
    assert len({text_digest(*text) for text in texts}) == len(texts)
