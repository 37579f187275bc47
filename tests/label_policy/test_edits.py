"""What an edit changed: a table of pairs, and properties that hold for any text."""

import time

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_policy import EDIT_KINDS, EditKind, classify_edit, classify_edits, edit_similarities, edit_similarity

TYPOS = [
    ("Teh refnd you requsted is avalable adn we wil proccess it imediately, so you shuld recieve yuor mony", ""),
    ("becuase our suport departmnt folows up seperately. Pleas chekc your acount agian.", ""),
]
TYPED = " ".join(text for text, _ in TYPOS)
CORRECTED = (
    "The refund you requested is available and we will process it immediately, so you should receive your money "
    "because our support department follows up separately. Please check your account again."
)

PAIRS = [
    # factual: numbers, amounts, dates, durations, percentages
    ("factual", "You get a refund within 30 days.", "You get a refund within 14 days."),
    ("factual", "You get a refund within 30 days.", "You get a refund within 30 hours."),
    ("factual", "It takes two business days.", "It takes two days."),
    ("factual", "It takes two days.", "It takes three days."),
    ("factual", "Please wait one day.", "Please wait one week."),
    ("factual", "The fee is $20.", "The fee is €20."),
    ("factual", "The fee is $1,000.50.", "The fee is $1,000.05."),
    ("factual", "You pay $20 by card and $10 by voucher.", "You pay $10 by card and $20 by voucher."),
    ("factual", "You save 10%.", "You save 15%."),
    ("factual", "You save ten percent.", "You save 15 %."),
    ("factual", "Your order AB1234 has shipped.", "Your order AB1243 has shipped."),
    ("factual", "We open at 10:30.", "We open at 11:30."),
    ("factual", "We open at 9 am.", "We open at 9 pm."),
    ("factual", "It renews on 2026-01-31.", "It renews on 2026-01-30."),
    ("factual", "It renews on May 5.", "It renews on March 5."),
    ("factual", "We call you on Monday.", "We call you on Tuesday."),
    ("factual", "We call you tomorrow.", "We call you today."),
    ("factual", "A technician will come.", "A technician will come within 24 hours."),
    ("factual", "It costs twenty-five dollars.", "It costs thirty-five dollars."),
    ("factual", "That is two hundred dollars.", "That is two thousand dollars."),
    # factual: links and addresses
    ("factual", "See https://example.com/refunds.", "See https://example.com/returns."),
    ("factual", "Write to help@example.com.", "Write to helpdesk@example.com."),
    ("factual", "See the page.", "See the page at www.example.com."),
    # factual: negations
    ("factual", "You can cancel.", "You can't cancel."),
    ("factual", "You can cancel.", "You cannot cancel."),
    ("factual", "This fee is refundable.", "This fee is not refundable."),
    ("factual", "The plan is available.", "The plan is unavailable."),
    ("factual", "It ships with a cable.", "It ships without a cable."),
    ("factual", "You can refund. You cannot cancel.", "You cannot refund. You can cancel."),
    ("factual", "We never share it.", "We share it."),
    # cosmetic
    ("cosmetic", "hello there", "Hello there!"),
    ("cosmetic", "Thanks for writing", "Thanks  for\nwriting "),
    ("cosmetic", "I have reset it, please try again", "I have reset it; please try again."),
    ("cosmetic", TYPED, CORRECTED),
    ("cosmetic", "We recieved it", "We received it"),
    ("cosmetic", "You have alot of time", "You have a lot of time"),
    ("cosmetic", "You cannot cancel", "You can't cancel"),
    ("cosmetic", "We dont charge", "We don't charge"),
    ("cosmetic", "It’s done", "It's done"),
    ("cosmetic", "You owe $1,000", "You owe $1000"),
    ("cosmetic", "It is a 30-day trial", "It is a 30 day trial"),
    ("cosmetic", "Open it. Then save it.", "1. Open it.\n2. Then save it."),
    ("cosmetic", "CAFÉ RÉSERVÉ", "café réservé"),
    ("cosmetic", "Your e-mail is set", "Your e mail is set"),
    # wording
    ("wording", "Thanks for reaching out, I have reset it.", "Thanks for contacting us, I have reset it."),
    ("wording", "The refund takes thirty days to arrive.", "The refund takes 30 days to arrive."),
    ("wording", "After 30 days you pay $5.", "You pay $5 after 30 days."),
    ("wording", "No problem! I closed the ticket on the invoice.", "I closed the ticket on the invoice."),
    ("wording", "Your account is active again, enjoy it.", "Hi Anna, your account is active again, enjoy it."),
    ("wording", "We have sent the invoice to your address.", "We have mailed the invoice to your address."),
    ("wording", "He does not know when it arrives.", "He does not even know when it arrives."),
    ("wording", "You may go to the settings page and pick a plan.", "You can go to the settings page and pick a plan."),
    # substantive
    ("substantive", "I have reset your password.", "Please call our billing team, they will look into the charge."),
    ("substantive", "I have reset your password.", ""),
    ("substantive", "I have reset your password.", "  \n"),
    ("substantive", "Restart the router.", "Restart the router, unplug the modem and wait for the light."),
    ("substantive", "Hello", "Goodbye"),
    ("substantive", "请重启路由器", "我们已退款给您"),
    # nothing
    ("none", "", ""),
    ("none", "Same 30 days.", "Same 30 days."),
    ("cosmetic", "", " "),
]  # fmt: skip


@pytest.mark.parametrize("kind, draft, final", PAIRS, ids=[f"{kind}-{final[:30]}" for kind, _, final in PAIRS])
def test_pairs(kind, draft, final):
    assert classify_edit(draft, final) == kind


@pytest.mark.parametrize("kind, draft, final", PAIRS, ids=[f"{kind}-{final[:30]}" for kind, _, final in PAIRS])
def test_a_kind_of_change_has_no_direction(kind, draft, final):
    if kind in ("none", "cosmetic", "factual") or final.strip():
        assert classify_edit(final, draft) == ("substantive" if draft.strip() and not final.strip() else kind)


def test_twenty_typos_are_far_apart_and_cosmetic():
    assert edit_similarity(TYPED, CORRECTED) < 0.9
    assert sum(word != other for word, other in zip(TYPED.split(), CORRECTED.split(), strict=True)) >= 20


def test_terms_of_the_policy_are_facts():
    pair = "The Premium plan covers it.", "The Basic plan covers it."
    assert classify_edit(*pair) is EditKind.WORDING
    assert classify_edit(*pair, terms=["premium plan", "basic plan"]) is EditKind.FACTUAL
    assert classify_edit("a premiumplan", "a premium", terms=["premium plan", ""]) is not EditKind.FACTUAL
    assert classify_edit("C++ is in", "C# is in", terms=["C++", "C#"]) is EditKind.FACTUAL


VOCABULARY = (
    "the refund will arrive in 14 days , please call us . you can not cancel € 20 é 漢 https://a.b/c x@y.z Monday"
)
WORDS = st.sampled_from(VOCABULARY.split())
PROSE = st.lists(WORDS, max_size=30).map(" ".join)


@given(st.one_of(PROSE, st.text(max_size=200)), st.one_of(PROSE, st.text(max_size=200)))
def test_any_pair_has_a_kind_and_a_similarity(draft, final):
    kind, similarity = classify_edit(draft, final), edit_similarity(draft, final)
    assert (kind == "none") == (draft == final) == (similarity == 1.0)
    assert 0.0 <= similarity <= 1.0
    assert similarity == edit_similarity(final, draft)
    assert kind in EDIT_KINDS


@given(PROSE, PROSE, st.integers(2, 9999), st.integers(1, 50), st.sampled_from(["days", "%", "dollars", "users"]))
def test_a_changed_number_is_always_factual(before, after, number, step, unit):
    draft, final = (f"{before} within {value} {unit} {after}" for value in (number, number + step))
    assert classify_edit(draft, final) is EditKind.FACTUAL


@given(PROSE)
def test_case_and_space_are_always_cosmetic(text):
    final = "  ".join(text.upper().split()) + "\n"
    assert classify_edit(text, final) is EditKind.COSMETIC


@settings(max_examples=50)
@given(st.lists(st.tuples(st.none() | PROSE, st.none() | PROSE), max_size=20))
def test_columns_equal_the_pairs(pairs):
    drafts, finals = [draft for draft, _ in pairs], [final for _, final in pairs]
    expected = [None if None in pair else (classify_edit(*pair), edit_similarity(*pair)) for pair in pairs]
    columns = [
        (drafts, finals),
        (pa.array(drafts, pa.string()), pa.array(finals, pa.large_string())),
        (pa.chunked_array([drafts[:3], drafts[3:]], pa.string()), pa.array(finals, pa.string())),
    ]
    for left, right in columns:
        kinds, similarities = classify_edits(left, right), edit_similarities(left, right)
        assert (kinds.type, similarities.type) == (pa.string(), pa.float64())
        assert kinds.to_pylist() == [pair and pair[0] for pair in expected]
        assert similarities.to_pylist() == [pair and pair[1] for pair in expected]


def test_columns_must_be_of_one_length():
    with pytest.raises(pa.ArrowInvalid):
        classify_edits(["a"], ["a", "b"])


def test_long_texts_are_bounded():
    draft = "lorem ipsum dolor " * 60_000
    final = "dolor sit " + draft[::-1]
    start = time.process_time()
    assert classify_edit(draft, final) is EditKind.SUBSTANTIVE
    assert edit_similarity(draft, final) < 0.5
    assert edit_similarities([draft, "a"], [final, "b"]).to_pylist() == [edit_similarity(draft, final), 0.0]
    assert time.process_time() - start < 5


def test_ten_thousand_pairs_take_seconds():
    drafts = [
        f"Hello {i}, your refund of the order is on its way, please allow some time for it." for i in range(10_000)
    ]
    finals = [draft.replace("on its way", "being sent") for draft in drafts]
    start = time.process_time()
    assert set(classify_edits(drafts, finals).to_pylist()) == {"wording"}
    assert time.process_time() - start < 5
