"""The verdicts on one row, and why some do not count."""

from feedback.audits.verdicts import Verdict, append_verdicts, current_verdicts
from feedback.history.row_verdicts import read_verdicts
from tests.feedback.labelled import label, put


def say(lake, kind, reviewer, *, origin="review", **fields):
    append_verdicts(lake, [Verdict(draft_id="d1", reviewer=reviewer, verdict=kind, **fields)], origin=origin)


def read(lake, *, policy_digest="p", simulated=True):
    verdicts = read_verdicts(lake, "d1", policy_digest=policy_digest, simulated=simulated)
    expected = {row["reviewer"] for row in current_verdicts(lake).to_pylist() if row["draft_id"] == "d1"}
    current = {each.reviewer for each in verdicts if each.why_not not in ("text changed", "read by a person")}
    assert current == expected, "a verdict counts here if it counts everywhere else"
    return {each.reviewer: (each.verdict, each.why_not) for each in verdicts}


def test_each_reviewers_newest_verdict_says_why_it_does_not_count(lake):
    put(lake, label("d1"), label("d2"), sampled=True)
    assert read(lake) == {}
    say(lake, "undesirable", "simulated-1", origin="simulated", reason="tone")
    assert read(lake) == {"simulated-1": ("undesirable", None)}
    assert read(lake, simulated=False) == {"simulated-1": ("undesirable", "simulated")}
    say(lake, "desirable", "ann")
    say(lake, "unsure", "ann", note="both")
    say(lake, "desirable", "bob")
    say(lake, "withdrawn", "bob")
    assert read(lake) == {"simulated-1": ("undesirable", "read by a person"), "ann": ("unsure", None)}
    assert read(lake, policy_digest="q")["ann"] == ("unsure", "not sampled")
    # The label changes while the sample is still the earlier one; then a new sample is drawn.
    put(lake, label("d1", label="undesirable", rule="rejected"))
    assert read(lake)["ann"] == ("unsure", "label changed")
    put(lake, label("d1", label="undesirable", rule="rejected"), sampled=True)
    assert read(lake)["ann"] == ("unsure", None)
    [_, ann] = read_verdicts(lake, "d1", policy_digest="p", simulated=True)
    assert (ann.label, ann.note, ann.origin) == ("desirable", "both", "review"), "what the policy said then is kept"
    put(lake, label("d1", completion="other"), sampled=True)
    assert {why_not for _, why_not in read(lake).values()} == {"text changed"}
