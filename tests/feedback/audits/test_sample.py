"""The audit sample in the lake: the drawn rows, the rows kept from draw to draw, and the unread rows."""

import pytest

from feedback.audits.sample import unread, write_audit_sample
from feedback.audits.verdicts import Verdict, append_verdicts
from feedback.lake.tables import AUDIT_SAMPLE, LABELS
from label_policy import load_policy, parse_policy, shipped_policies
from tests.feedback.labelled import label, put

POLICY = load_policy(shipped_policies()["harbor-support.v1"])


def of(audit):
    """Return the policy with that audit, without bounds of precision, which would add rows of their own."""
    return POLICY.model_copy(update={"audit": POLICY.audit.model_copy(update={"precision": {}, **audit})})


def draw(lake, policy=POLICY, **options):
    return write_audit_sample(lake, policy, seed=1, **options).to_pylist()


def ids(rows):
    return {row["draft_id"] for row in rows}


def read(lake, drafts, verdict="desirable", reviewer="ann", origin="review"):
    append_verdicts(
        lake, [Verdict(draft_id=d, reviewer=reviewer, verdict=verdict) for d in sorted(drafts)], origin=origin
    )


@pytest.fixture
def labels(lake):
    """Forty final labels of each class, and two labels that no audit draws."""
    rows = [
        label(f"d{i}", label=("desirable", "undesirable")[i % 2], rule=("accepted", "rejected")[i % 2])
        for i in range(80)
    ]
    put(lake, *rows, label("early", state="provisional"), label("none", label="abstain", tier=None, rule="no_rule"))
    return rows


def test_the_rows_are_the_labels_with_how_they_were_drawn(lake, labels):
    rows = draw(lake, of({"per_class": 10, "overlap": 0.0}))
    stored = {row["draft_id"]: row for row in labels}
    assert len(rows) == 20
    for row in rows:
        assert {name: row[name] for name in LABELS.schema.names} == stored[row["draft_id"]]
        assert (row["stratum"], row["stratum_size"]) == (f"{row['label']}|strong|{row['rule']}|refund", 40)
        assert (row["inclusion_probability"], row["suspected"], row["readers"], row["seed"]) == (0.25, False, 1, 1)
    # They are stored in the order in which people read them.
    assert unread(lake).select(AUDIT_SAMPLE.schema.names).to_pylist() == rows
    assert draw(lake, of({"per_class": 10, "overlap": 0.0})) == rows


def test_no_labels_are_an_empty_sample(lake):
    assert unread(lake).num_rows == 0
    assert draw(lake) == []
    assert unread(lake).num_rows == 0


def test_what_still_lacks_readers(lake, labels):
    rows = draw(lake, of({"per_class": 5, "overlap": 1.0}))
    first, second, third = (row["draft_id"] for row in rows[:3])
    read(lake, [first, second])
    read(lake, [first], "unsure", "bob")
    read(lake, [third], reviewer="simulated-1", origin="simulated")
    left = {row["draft_id"]: row for row in unread(lake).to_pylist()}
    assert set(left) == ids(rows) - {first}
    assert (left[second]["read_by"], left[second]["missing"]) == (["ann"], 1)
    assert (left[third]["read_by"], left[third]["missing"]) == ([], 2)
    with_simulated = {row["draft_id"]: row["missing"] for row in unread(lake, simulated=True).to_pylist()}
    assert with_simulated[third] == 1
    read(lake, [first], "withdrawn", "bob")
    assert first in ids(unread(lake).to_pylist())


def test_a_change_of_policy_that_leaves_a_rule_alone_asks_for_no_row_again(lake, labels):
    read(lake, ids(draw(lake, of({"per_class": 20}))))
    # The policy now rejects by another rule; the accepted rows do not change.
    changed = [
        {**row, "rule": "thumbs_down", "tier": "explicit"} if row["label"] == "undesirable" else row for row in labels
    ]
    put(lake, *changed)
    before = ids(unread(lake).to_pylist())
    again = draw(lake, of({"per_class": 20}))
    assert before == {row["draft_id"] for row in again if row["readers"] == 2 and row["draft_id"] in before}
    new = {row["draft_id"] for row in unread(lake).to_pylist() if not row["read_by"]}
    assert new == set()
    assert len(draw(lake, of({"per_class": 30}))) == 60
    assert len([row for row in unread(lake).to_pylist() if not row["read_by"]]) == 20


def test_suspects_are_a_stratum_of_their_own_and_read_whole(lake, labels):
    few = of({"per_class": 5, "suspects": 3})
    drawn = ids(draw(lake, few))
    doubted = [row for row in labels if row["draft_id"] not in drawn]
    suspects = [(row["draft_id"], row["label"]) for row in doubted if row["label"] == "desirable"]
    rows = draw(lake, few, suspects=[("gone", "desirable"), (suspects[9][0], "undesirable"), *suspects])
    suspected = [row for row in rows if row["suspected"]]
    assert ids(suspected) == {draft_id for draft_id, _ in suspects[:3]}
    assert {(row["stratum"], row["inclusion_probability"]) for row in suspected} == {
        ("suspected|desirable|strong|accepted|refund", 1.0)
    }
    assert {row["stratum_size"] for row in rows if row["label"] == "desirable" and not row["suspected"]} == {37}


def test_suspects_stay_while_they_are_doubted_and_make_room_for_new_ones(lake, labels):
    few = of({"per_class": 5, "suspects": 2})
    drafts = [row["draft_id"] for row in labels if row["label"] == "desirable"]
    draw(lake, few, suspects=[(draft_id, "desirable") for draft_id in drafts[:2]])

    def suspected(rows):
        return {row["draft_id"] for row in rows if row["suspected"]}

    assert suspected(draw(lake, few)) == set(drafts[:2])
    read(lake, drafts[:1], "undesirable")
    assert suspected(draw(lake, few, suspects=[(d, "desirable") for d in drafts[5:8]])) == {drafts[0], *drafts[5:7]}
    # A changed label is no longer the suspected one.
    put(lake, *[{**row, "label": "undesirable"} if row["draft_id"] == drafts[0] else row for row in labels])
    assert suspected(draw(lake, few)) == set(drafts[5:7])


def test_the_policy_names_the_strata(lake, labels):
    policy = parse_policy(
        "name: desk\nversion: 1\ndescription: A desk.\nowner: support\naudit: {strata: [label, tier], per_class: 3}\n"
        "rules:\n  - {id: a, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1, why: It was.}\n"
    )
    assert {row["stratum"] for row in draw(lake, policy)} == {"desirable|strong", "undesirable|strong"}
