"""Expected labels of the shipped policies, one case a line: events of the draft, and the policy's label.

Signals are minutes after the draft was shown.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import SIGNALS, EditKind, compile_sent_texts, load_policy, shipped_policies

DAY = 1440
CASES = {
    "harbor-support.v1": [
        # explicit opinions
        ("safety_flag", "undesirable", "critical", {"flagged_at": 9}),
        ("safety_flag", "undesirable", "critical", {"flagged_at": 9, "approved_at": 8, "thumbs_up_at": 10}),
        ("safety_flag", "undesirable", "critical", {"flagged_at": 9, "accepted_at": 1, "thumbs_down_at": 2}),
        ("accepted", "desirable", "strong", {"flagged_at": 9, "approved_at": 10, "accepted_at": 1}),
        ("accepted", "desirable", "strong", {"flagged_at": 9, "approved_at": 9, "accepted_at": 1}),
        ("approved", "desirable", "weak", {"approved_at": 10}),
        ("dismissed", "undesirable", "weak", {"approved_at": 10, "dismissed_at": 1}),
        ("preferred", "desirable", "explicit", {"preferred_at": 0}),
        ("not_preferred", "undesirable", "strong", {"not_preferred_at": 0}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 1}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 3, "thumbs_up_at": 2, "accepted_at": 1}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 2, "thumbs_up_at": 2}),
        (
            "thumbs_down",
            "undesirable",
            "explicit",
            {"thumbs_down_at": 2, "escalated_at": 9, "reasons": ["hallucinated_policy"]},
        ),
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 3, "thumbs_down_at": 2}),
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 3, "accepted_at": 1, "reopened_at": 99}),
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 3, "edited_at": 1, "edit_kind": "substantive"}),
        ("heavy_edit", "undesirable", "strong", {"thumbs_up_at": 3, "edited_at": 1, "edit_kind": "factual"}),
        (
            "escalated_critical",
            "undesirable",
            "critical",
            {"escalated_at": 9, "reasons": ["tone", "hallucinated_policy"], "thumbs_up_at": 1, "accepted_at": 1},
        ),
        ("escalated_critical", "undesirable", "critical", {"escalated_at": 9, "reasons": ["privacy_leak"]}),
        # what the agent did
        ("rejected", "undesirable", "strong", {"rejected_at": 1}),
        ("rejected", "undesirable", "strong", {"accepted_at": 1, "rejected_at": 2}),
        ("rejected", "undesirable", "strong", {"edited_at": 2, "edit_kind": "wording", "rejected_at": 2}),
        ("accepted", "desirable", "strong", {"rejected_at": 1, "accepted_at": 2}),
        ("light_edit", "desirable", "strong", {"rejected_at": 1, "edited_at": 2, "edit_kind": "cosmetic"}),
        ("rejected", "undesirable", "strong", {"rejected_at": 1, "reasons": ["hallucinated_policy"]}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_kind": "factual", "edit_similarity": 0.99}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_kind": "substantive", "edit_similarity": 0.7}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_kind": "wording", "edit_similarity": 0.59}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_similarity": 0.1}),
        ("light_edit", "desirable", "strong", {"edited_at": 1, "edit_kind": "wording", "edit_similarity": 0.6}),
        ("light_edit", "desirable", "strong", {"accepted_at": 1, "edited_at": 1, "edit_kind": "cosmetic"}),
        ("dismissed", "undesirable", "weak", {"edited_at": 1, "edit_kind": "wording", "dismissed_at": 2}),
        ("light_edit", "desirable", "strong", {"edited_at": 2, "edit_kind": "wording", "dismissed_at": 2}),
        (
            "light_edit",
            "desirable",
            "strong",
            {"edited_at": 1, "edit_kind": "cosmetic", "dismissed_at": 2, "accepted_at": 3},
        ),
        ("edit_unknown", "abstain", None, {"edited_at": 1}),
        ("edit_unknown", "abstain", None, {"accepted_at": 2, "edited_at": 1}),
        ("accepted", "desirable", "strong", {"accepted_at": 1}),
        ("accepted", "desirable", "strong", {"accepted_at": 1, "edit_kind": "none", "edit_similarity": 1.0}),
        ("accepted", "desirable", "strong", {"edited_at": 1, "edit_kind": "none", "edit_similarity": 1.0}),
        ("accepted", "desirable", "strong", {"accepted_at": 2, "dismissed_at": 1}),
        ("dismissed", "undesirable", "weak", {"accepted_at": 1, "dismissed_at": 2}),
        ("copied", "desirable", "weak", {"copied_at": 1}),
        ("copied", "desirable", "weak", {"copied_at": 1, "dismissed_at": 2}),
        ("dismissed", "undesirable", "weak", {"dismissed_at": 1}),
        ("no_rule", "abstain", None, {}),
        ("no_rule", "abstain", None, {"resolved_at": 60}),
        # what became of the ticket
        ("reopened_after_send", "undesirable", "strong", {"accepted_at": 1, "reopened_at": 5 * DAY}),
        ("reopened_after_send", "undesirable", "strong", {"edited_at": 1, "edit_kind": "cosmetic", "reopened_at": 2}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_kind": "factual", "reopened_at": 2}),
        ("accepted", "desirable", "strong", {"accepted_at": 9, "reopened_at": 2}),
        ("dismissed", "undesirable", "weak", {"dismissed_at": 1, "reopened_at": 9}),
        ("escalated", "undesirable", "strong", {"accepted_at": 1, "escalated_at": 9, "reasons": ["other"]}),
        ("escalated", "undesirable", "strong", {"escalated_at": 9, "reasons": ["wrong_routing"]}),
        ("escalated_unsent", "abstain", None, {"escalated_at": 9}),
        ("escalated_unsent", "abstain", None, {"escalated_at": 9, "reasons": None, "dismissed_at": 1}),
        ("escalated_unsent", "abstain", None, {"escalated_at": 1, "accepted_at": 9}),
        ("unresolved_after_send", "abstain", None, {"accepted_at": 1, "unresolved_at": 60}),
        ("unresolved_after_send", "abstain", None, {"accepted_at": 1, "unresolved_at": 60, "resolved_at": 50}),
        ("accepted", "desirable", "strong", {"accepted_at": 1, "unresolved_at": 60, "resolved_at": 70}),
        ("dismissed", "undesirable", "weak", {"dismissed_at": 1, "unresolved_at": 60}),
        ("unhappy_customer", "undesirable", "weak", {"accepted_at": 1, "surveyed_at": 60, "survey_score": 0.25}),
        ("accepted", "desirable", "strong", {"accepted_at": 1, "surveyed_at": 60, "survey_score": 0.5}),
        ("accepted", "desirable", "strong", {"accepted_at": 9, "surveyed_at": 8, "survey_score": 0.0}),
        ("dismissed", "undesirable", "weak", {"dismissed_at": 9, "surveyed_at": 10, "survey_score": 0.0}),
        ("came_back", "abstain", None, {"accepted_at": 1, "repeat_contact_at": DAY}),
        ("came_back", "abstain", None, {"edited_at": 1, "edit_kind": "cosmetic", "repeat_contact_at": DAY}),
        ("accepted", "desirable", "strong", {"accepted_at": 1, "repeat_contact_at": 700}),
        # sooner than it can be read: 600 characters at 60 a second
        ("accepted_unread", "desirable", "weak", {"accepted_at": 9 / 60, "completion": "x" * 600}),
        ("accepted", "desirable", "strong", {"accepted_at": 10 / 60, "completion": "x" * 600}),
        ("accepted", "desirable", "strong", {"accepted_at": 9 / 60, "completion": None}),
        # copied at once and accepted ten minutes later: the accept was not in haste
        ("accepted", "desirable", "strong", {"copied_at": 2 / 60, "accepted_at": 10, "completion": "x" * 1000}),
        ("accepted_unread", "desirable", "weak", {"accepted_at": 2 / 60, "copied_at": 10, "completion": "x" * 1000}),
        ("dismissed", "undesirable", "weak", {"accepted_at": 0.1, "dismissed_at": 9, "completion": "x" * 600}),
        ("thumbs_up", "desirable", "explicit", {"accepted_at": 0.1, "thumbs_up_at": 9, "completion": "x" * 600}),
    ],
    "harbor-support.v2": [
        ("safety_flag", "undesirable", "critical", {"flagged_at": 9, "thumbs_up_at": 10}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 2, "thumbs_up_at": 2, "accepted_at": 1}),
        ("escalated_critical", "undesirable", "critical", {"escalated_at": 9, "reasons": ["unsafe_advice"]}),
        ("praise_overtaken", "abstain", None, {"thumbs_up_at": 3, "accepted_at": 1, "reopened_at": 99}),
        ("praise_overtaken", "abstain", None, {"thumbs_up_at": 3, "surveyed_at": 9, "survey_score": 0.0}),
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 3, "surveyed_at": 9, "survey_score": 1.0}),
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 3, "reopened_at": 2}),
        ("heavy_edit", "undesirable", "strong", {"thumbs_up_at": 3, "edited_at": 1, "edit_kind": "substantive"}),
        ("preferred", "desirable", "explicit", {"preferred_at": 0}),
        ("not_preferred", "abstain", None, {"not_preferred_at": 0}),
        ("rejected", "undesirable", "strong", {"accepted_at": 1, "rejected_at": 2}),
        ("fact_corrected", "undesirable", "strong", {"edited_at": 1, "edit_kind": "factual", "edit_similarity": 0.99}),
        ("heavy_edit", "undesirable", "strong", {"edited_at": 1, "edit_kind": "wording", "edit_similarity": 0.5}),
        ("reopened_after_send", "undesirable", "strong", {"accepted_at": 1, "reopened_at": 12 * DAY}),
        ("escalated", "undesirable", "strong", {"accepted_at": 1, "escalated_at": 9}),
        ("not_settled", "abstain", None, {"escalated_at": 9, "dismissed_at": 1}),
        ("not_settled", "abstain", None, {"accepted_at": 1, "unresolved_at": 60, "resolved_at": 50}),
        ("unhappy_customer", "undesirable", "weak", {"accepted_at": 1, "surveyed_at": 60, "survey_score": 0.0}),
        ("came_back", "abstain", None, {"accepted_at": 1, "repeat_contact_at": 62, "resolved_at": 5}),
        ("accepted", "desirable", "strong", {"accepted_at": 1, "repeat_contact_at": 61, "resolved_at": 5}),
        ("edit_unknown", "abstain", None, {"edited_at": 1, "resolved_at": 5}),
        ("reworded", "abstain", None, {"edited_at": 1, "edit_kind": "wording", "edit_similarity": 0.84}),
        ("light_edit", "desirable", "strong", {"edited_at": 1, "edit_kind": "wording", "edit_similarity": 0.85}),
        ("light_edit", "desirable", "strong", {"edited_at": 1, "edit_kind": "cosmetic", "edit_similarity": 0.7}),
        ("accepted_unread", "desirable", "weak", {"accepted_at": 19 / 60, "completion": "x" * 600, "resolved_at": 5}),
        ("accepted", "desirable", "strong", {"accepted_at": 20 / 60, "completion": "x" * 600, "resolved_at": 5}),
        (
            "accepted",
            "desirable",
            "strong",
            {"copied_at": 2 / 60, "accepted_at": 10, "completion": "x" * 1000, "resolved_at": 50},
        ),
        ("unused", "abstain", None, {"edited_at": 1, "edit_kind": "cosmetic", "dismissed_at": 2}),
        ("accepted_unsettled", "desirable", "weak", {"accepted_at": 1}),
        ("accepted_unsettled", "desirable", "weak", {"edited_at": 1, "edit_kind": "none"}),
        ("unused", "abstain", None, {"accepted_at": 0.1, "dismissed_at": 9, "completion": "x" * 600}),
        ("unused", "abstain", None, {"copied_at": 1}),
        ("unused", "abstain", None, {"approved_at": 1}),
        ("no_rule", "abstain", None, {"resolved_at": 60}),
    ],
    "star.v1": [
        ("accepted", "desirable", "strong", {"accepted_at": 1, "extra": '{"slotfree": true}'}),
        ("passed_over", "undesirable", "weak", {"dismissed_at": 1, "extra": '{"slotfree": true, "rank": 2}'}),
        ("slot_values", "abstain", None, {"accepted_at": 1, "extra": '{"slotfree": false}'}),
        ("slot_values", "abstain", None, {"dismissed_at": 1, "extra": '{"slotfree": null}'}),
        ("slot_values", "abstain", None, {"dismissed_at": 1, "extra": "{}"}),
        ("slot_values", "abstain", None, {"accepted_at": 1, "extra": None}),
        ("no_rule", "abstain", None, {"extra": '{"slotfree": "true"}'}),
    ],
    "taskmaster.v1": [
        ("thumbs_up", "desirable", "explicit", {"thumbs_up_at": 0}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 0}),
        ("thumbs_down", "undesirable", "explicit", {"thumbs_down_at": 1, "thumbs_up_at": 1}),
        ("thumbs_up", "desirable", "explicit", {"thumbs_down_at": 1, "thumbs_up_at": 2}),
        ("no_rule", "abstain", None, {"accepted_at": 1}),
    ],
    "coauthor.v1": [
        ("kept", "desirable", "strong", {"accepted_at": 1}),
        ("kept", "desirable", "strong", {"accepted_at": 1, "edited_at": 9, "edit_kind": "none", "final_text": "x"}),
        ("kept", "desirable", "strong", {"accepted_at": 1, "dismissed_at": 2}),
        ("touched_up", "desirable", "strong", {"accepted_at": 1, "edited_at": 9, "edit_kind": "cosmetic"}),
        ("touched_up", "desirable", "strong", {"edited_at": 9, "edit_kind": "wording", "edit_similarity": 0.5}),
        ("rewritten", "undesirable", "weak", {"edited_at": 9, "edit_kind": "wording", "edit_similarity": 0.49}),
        ("rewritten", "undesirable", "weak", {"edited_at": 9, "edit_kind": "substantive", "final_text": "x"}),
        ("fact_changed", "abstain", None, {"edited_at": 9, "edit_kind": "factual", "edit_similarity": 0.9}),
        ("fact_changed", "abstain", None, {"accepted_at": 1, "edited_at": 9}),
        ("deleted", "undesirable", "strong", {"accepted_at": 1, "edited_at": 9, "final_text": ""}),
        ("deleted", "undesirable", "strong", {"accepted_at": 1, "edited_at": 9, "final_text": " \n\u2003"}),
        ("deleted", "undesirable", "strong", {"accepted_at": 1, "rejected_at": 9}),
        ("kept", "desirable", "strong", {"accepted_at": 9, "rejected_at": 1}),
        ("passed_over", "undesirable", "weak", {"dismissed_at": 1}),
        ("no_rule", "abstain", None, {}),
    ],
}


@pytest.fixture(scope="module")
def policies():
    return {name: load_policy(path) for name, path in shipped_policies().items()}


@pytest.mark.parametrize("name", CASES)
def test_truth(name, policies, decide, interaction):
    rows = decide(policies[name], [interaction(**happened) for *_, happened in CASES[name]])
    for (rule, label, tier, happened), row in zip(CASES[name], rows, strict=True):
        assert (row["rule"], row["label"], row["tier"]) == (rule, label, tier), happened


@pytest.mark.parametrize("name", CASES)
def test_every_rule_has_a_case(name, policies):
    assert {rule.id for rule in policies[name].rules} <= {case[0] for case in CASES[name]}


@pytest.mark.parametrize("name", CASES)
def test_sentences_are_sentences(name, policies):
    for rule in policies[name].rules:
        assert rule.why.endswith(".") and len(rule.why) > 40, rule.id


SENT = [
    # what happened to the draft besides an edit of a fact at minute 5, and whether the agent's text is a row
    ({}, True),
    ({"dismissed_at": 4, "rejected_at": 4}, True),
    ({"dismissed_at": 6}, False),
    ({"dismissed_at": 6, "accepted_at": 7}, True),
    ({"rejected_at": 5}, False),
    ({"rejected_at": 6, "accepted_at": 7}, True),
    ({"reopened_at": 9}, False),
    ({"flagged_at": 9}, False),
    ({"surveyed_at": 9, "survey_score": 0.0}, False),
]


def test_what_an_agent_wrote_and_did_not_send_in_the_end_is_no_example(policies, decide, connection, interaction):
    edit = {"edited_at": 5, "edit_kind": "factual", "final_text": "Reset it twice."}
    rows = [interaction(draft_id=f"d{at}", **edit, **more) for at, (more, _) in enumerate(SENT)]
    decide(policies["harbor-support.v2"], rows)  # registers the rows
    query = compile_sent_texts(policies["harbor-support.v2"])
    drafts = {draft for (draft,) in connection.sql(f"SELECT draft_id FROM ({query})").fetchall()}
    assert drafts == {f"d{at}" for at, (_, expected) in enumerate(SENT) if expected}


def maturity(decide, policy, row):
    [labelled] = decide(policy, [row])
    return labelled["rule"], labelled["matures_at"]


def test_strong_negatives_are_final_at_once(policies, decide, interaction, at):
    policy = policies["harbor-support.v1"]
    assert maturity(decide, policy, interaction(flagged_at=5)) == ("safety_flag", at(0))
    assert maturity(decide, policy, interaction(thumbs_down_at=5, accepted_at=3)) == ("thumbs_down", at(3))


def test_an_accept_waits_out_its_windows(policies, decide, interaction, at):
    policy = policies["harbor-support.v1"]
    assert maturity(decide, policy, interaction(accepted_at=3)) == ("accepted", at(3 + 7 * DAY))
    assert maturity(decide, policy, interaction()) == ("no_rule", at(7 * DAY))
    settled = interaction(accepted_at=3, reopened_at=2, unresolved_at=1, resolved_at=9)
    assert maturity(decide, policy, settled) == ("accepted", at(3 + 7 * DAY))  # it may be reopened again


def test_logs_without_late_signals_are_final_at_once(policies, decide, interaction, at):
    for name in ("star.v1", "taskmaster.v1"):
        row = interaction(accepted_at=2, thumbs_up_at=2, extra='{"slotfree": true}')
        assert maturity(decide, policies[name], row)[1] == at(2)
    assert maturity(decide, policies["coauthor.v1"], interaction(accepted_at=2))[1] == at(2 + DAY)


def harbor(row: dict) -> str:
    """The rules of harbor-support.v1 as one would write them in Python."""
    at = {signal: row[f"{signal}_at"] for signal in SIGNALS}
    happened = {signal for signal in SIGNALS if at[signal] is not None}
    kind, similarity, reasons = row["edit_kind"], row["edit_similarity"], set(row["reasons"] or [])

    def before(one, other):
        return one in happened and other in happened and at[one] <= at[other]

    sent_before = {signal: before("accepted", signal) or before("edited", signal) for signal in SIGNALS}
    if "flagged" in happened and not before("flagged", "approved"):
        return "safety_flag"
    if "thumbs_down" in happened and ("thumbs_up" not in happened or before("thumbs_up", "thumbs_down")):
        return "thumbs_down"
    if "escalated" in happened and reasons & {"hallucinated_policy", "unsafe_advice", "privacy_leak"}:
        return "escalated_critical"
    if "thumbs_up" in happened and kind != "factual":
        return "thumbs_up"
    if "preferred" in happened:
        return "preferred"
    if "not_preferred" in happened:
        return "not_preferred"
    if "rejected" in happened and all(before(send, "rejected") for send in ("accepted", "edited") if send in happened):
        return "rejected"
    if "edited" in happened and (kind in ("factual", "substantive") or (similarity is not None and similarity < 0.6)):
        return "heavy_edit"
    if "reopened" in happened and sent_before["reopened"]:
        return "reopened_after_send"
    if "escalated" in happened:
        return "escalated" if sent_before["escalated"] or "wrong_routing" in reasons else "escalated_unsent"
    sent = "accepted" in happened or "edited" in happened
    if sent and "unresolved" in happened and ("resolved" not in happened or before("resolved", "unresolved")):
        return "unresolved_after_send"
    if sent_before["surveyed"] and row["survey_score"] is not None and row["survey_score"] <= 0.25:
        return "unhappy_customer"
    if "edited" in happened and kind is None:
        return "edit_unknown"
    if sent and ("dismissed" not in happened or before("dismissed", "accepted") or before("dismissed", "edited")):
        if "edited" in happened:
            return "accepted" if kind == "none" else "light_edit"
        first = all(before("accepted", other) for other in ("rejected", "dismissed", "copied") if other in happened)
        unread = row["seconds_to_decision"] < len(row["completion"]) / 60
        return "accepted_unread" if first and unread else "accepted"
    return next((signal for signal in ("copied", "dismissed", "approved") if signal in happened), "no_rule")


# Few signals of many, or the first rules would decide all.
SIGNAL_TIMES = st.dictionaries(st.sampled_from([f"{signal}_at" for signal in SIGNALS]), st.integers(0, 3), max_size=5)
INTERACTIONS = st.fixed_dictionaries(
    {
        "signals": SIGNAL_TIMES,
        "survey_score": st.sampled_from([None, 0.25, 0.5]),
        "edit_kind": st.none() | st.sampled_from([*EditKind]),
        "edit_similarity": st.none() | st.sampled_from([0.0, 0.5999999999999999, 0.6, 1.0]),
        "reasons": st.none() | st.lists(st.sampled_from(["privacy_leak", "wrong_routing", "tone"]), max_size=2),
    }
)


@settings(max_examples=60, deadline=None)
@given(given_rows=st.lists(INTERACTIONS, min_size=1, max_size=30))
def test_harbor_support_equals_its_python_twin(policies, decide, interaction, given_rows):
    rows = [interaction(**happened.pop("signals"), **happened) for happened in map(dict, given_rows)]
    expected = [harbor(dict.fromkeys(f"{signal}_at" for signal in SIGNALS) | row) for row in rows]
    assert [row["rule"] for row in decide(policies["harbor-support.v1"], rows)] == expected
