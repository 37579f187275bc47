"""The rows of a training set: each label's fate, its side of the split, and the set's name."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from feedback.lake.tables import LABELS
from feedback.training_set.redaction import PATTERNS
from feedback.training_set.rows import (
    COLUMNS,
    content_version,
    count_redactions,
    count_rows,
    preference_pairs,
    training_rows,
)
from label_policy import Policy, Tier, Training, load_policy, shipped_policies
from tests.feedback.labelled import SHOWN, label

SAME = {"prompt": [{"role": "user", "content": "same"}], "completion": "same"}


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def policy() -> Policy:
    """A policy whose critical labels do not train, and whose weak ones count half."""
    tiers = (Tier.EXPLICIT, Tier.STRONG, Tier.WEAK)
    shipped = load_policy(shipped_policies()["harbor-support.v1"])
    return shipped.model_copy(update={"training": Training(tiers=tiers, weights={Tier.WEAK: 0.5})})


@pytest.fixture
def rows(connection: duckdb.DuckDBPyConnection, policy: Policy) -> Callable[..., pa.Table]:
    """Return the training rows of some labels."""

    def make(*labels: dict[str, Any], **options: Any) -> pa.Table:
        connection.register("labels", pa.Table.from_pylist(list(labels), LABELS.schema))
        return training_rows(connection, policy, **{"heldout": 0.0, "salt": "salt", **options})

    return make


def fates(rows: pa.Table) -> dict[str, str]:
    return {row["row_id"]: row["fate"] for row in rows.to_pylist()}


def test_of_the_same_text_and_label_the_strongest_then_the_first_shown_is_kept(rows: Callable) -> None:
    early, late = {"shown_at": SHOWN - timedelta(1)}, {"shown_at": SHOWN + timedelta(1)}
    for kept, other in (
        ({"tier": "strong", **late}, {"tier": "weak", **early}),
        ({"tier": "weak", **early}, {"tier": "weak", **late}),
    ):
        for first, second in (("a", "b"), ("b", "a")):
            table = rows(label(first, **SAME, **kept), label(second, **SAME, **other))
            assert fates(table) == {first: "kept", second: "duplicate"}
    assert fates(rows(label("b", **SAME), label("a", **SAME))) == {"a": "kept", "b": "duplicate"}
    assert fates(rows(*(label(name, **SAME) for name in "abc"))) == {"a": "kept", "b": "duplicate", "c": "duplicate"}


def test_texts_are_the_same_once_redacted_and_cut(rows: Callable) -> None:
    table = rows(
        label("a", prompt=[{"role": "user", "content": "I am ann@example.org"}], completion="\t As you like.\n"),
        label("b", prompt=[{"role": "user", "content": "I am bo@example.org"}], completion="As you like."),
        label("c", prompt=[{"role": "agent", "content": "I am bo@example.org"}], completion="As you like."),
        label("d", prompt=[{"role": "user", "content": "I am bo@example.org"}], completion="As  you like."),
    )
    assert fates(table) == {"a": "kept", "b": "duplicate", "c": "kept", "d": "kept"}
    assert table.column("completion").to_pylist() == ["As you like."] * 3 + ["As  you like."]
    assert table.column("prompt").to_pylist()[0] == [{"role": "user", "content": "I am [EMAIL]"}]


@pytest.mark.parametrize("idle", [{"tier": "critical"}, {"weight": 0.0}])
@pytest.mark.parametrize("name", ["desirable", "undesirable"])
def test_what_does_not_train_decides_nothing_of_what_does(rows: Callable, idle: dict[str, Any], name: str) -> None:
    """The other row can have the same label or the other one, and can be shown before or after."""
    for days in (-1, 1):
        table = rows(
            label("trains", **SAME, tier="weak"),
            label("does not", **SAME, label=name, shown_at=SHOWN + timedelta(days), **idle),
        )
        assert fates(table) == {"trains": "kept", "does not": "tier not trained" if "tier" in idle else "weightless"}


@pytest.mark.parametrize(("good", "bad"), [("strong", "weak"), ("weak", "strong"), ("weak", "weak")])
def test_of_both_labels_the_stronger_is_kept(rows: Callable, good: str, bad: str) -> None:
    table = rows(label("good", **SAME, tier=good), label("bad", **SAME, label="undesirable", tier=bad))
    expected = {"strong": {"good": "kept", "bad": "overruled"}, "weak": {"good": "overruled", "bad": "kept"}}[good]
    assert fates(table) == (expected if good != bad else dict.fromkeys(("good", "bad"), "contradicted"))


def test_what_is_left_out_says_why(rows: Callable) -> None:
    table = rows(
        label("no text", completion=None, tier="critical"),
        label("blank", completion=" \u3000\n", weight=0.0),
        label("critical", tier="critical", weight=0.0),
        label("failed", tier="explicit"),
        label("weightless", weight=0.0),
        label("weak", tier="weak", weight=0.8),
        label("young", state="provisional"),
        label("silent", label="abstain"),
        excluded=["explicit"],
    )
    assert fates(table) == {
        "blank": "blank", "critical": "tier not trained", "failed": "tier failed its audit", "no text": "blank",
        "weak": "kept", "weightless": "weightless",
    }  # fmt: skip
    assert table.column("row_id").to_pylist() == sorted(fates(table)), "ordered"
    assert dict(zip(table.column("row_id").to_pylist(), table.column("weight").to_pylist(), strict=True)) == {
        "blank": 0.0, "critical": None, "failed": None, "no text": None, "weak": 0.4, "weightless": 0.0,
    }  # fmt: skip


def test_a_row_carries_the_precision_of_its_rule_where_it_was_measured(rows: Callable) -> None:
    table = rows(
        label("a", rule="one"), label("b", rule="two"), label("c", rule="three"),
        precision={"three": 0.75, "one": 0.5},
    )  # fmt: skip
    assert table.column("precision").to_pylist() == [0.5, None, 0.75]
    assert rows(label("a", rule="one")).column("precision").to_pylist() == [None]
    assert table.column_names == [*COLUMNS[:-1], "precision", "fate", "split"]


def hashed(ticket: str, salt: str) -> int:
    """Return the first 32 bits of a ticket's hash, which decide its side."""
    return int.from_bytes(hashlib.sha256(f"{salt}:{ticket}".encode()).digest()[:4], "big")


def sides(table: pa.Table) -> set[tuple[str, str]]:
    return {(row["ticket_id"], row["split"]) for row in table.to_pylist()}


def test_a_tickets_hash_alone_decides_its_side(rows: Callable) -> None:
    labels = [label(f"d{n}", ticket_id=f"t{n // 2}", label=("desirable", "undesirable")[n % 2]) for n in range(80)]
    for heldout, salt in ((0.0, "salt"), (0.3, "salt"), (0.3, "another"), (0.99, "salt")):
        expected = {(f"t{n}", "heldout" if hashed(f"t{n}", salt) / 2**32 < heldout else "train") for n in range(40)}
        assert sides(rows(*labels, heldout=heldout, salt=salt)) == expected


def test_a_ticket_at_the_border_trains(rows: Callable) -> None:
    ticket, border = label("d", ticket_id="t"), hashed("t", "salt")
    assert sides(rows(ticket, heldout=border / 2**32)) == {("t", "train")}
    assert sides(rows(ticket, heldout=(border + 1) / 2**32)) == {("t", "heldout")}


def test_a_version_is_the_sha_256_of_its_rows_pairs_and_audit(
    connection: duckdb.DuckDBPyConnection, policy: Policy, rows: Callable
) -> None:
    same = {"prompt": [{"role": "user", "content": "wie groß?"}], "ticket_id": "t"}
    labels = [
        label("b", **same, completion="so groß", preferred_over="a"),
        label("a", **same, completion="klein", label="undesirable", rule="measured"),
    ]
    table = rows(*labels, precision={"measured": 0.9})
    pairs = preference_pairs(connection, policy, heldout=0.0, salt="salt")
    lines = [
        '{"category":"refund","completion":"klein","label":false,"precision":0.9,'
        '"prompt":[{"content":"wie groß?","role":"user"}],"row_id":"a","rule":"measured","shown_date":"2026-03-02",'
        '"split":"train","ticket_id":"t","tier":"strong","weight":1.0}\n',
        '{"category":"refund","completion":"so groß","label":true,'
        '"prompt":[{"content":"wie groß?","role":"user"}],"row_id":"b","rule":"accepted","shown_date":"2026-03-02",'
        '"split":"train","ticket_id":"t","tier":"strong","weight":1.0}\n',
        '{"category":"refund","chosen":"so groß","prompt":[{"content":"wie groß?","role":"user"}],"rejected":"klein",'
        '"rejected_row_id":"a","row_id":"b","rule":"accepted","shown_date":"2026-03-02","split":"train",'
        '"ticket_id":"t","tier":"strong"}\n',
        '{"a":[1],"gate":"größer"}\n',
    ]

    def version(lines: list[str]) -> str:
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]

    assert content_version(table, pairs, {"gate": "größer", "a": [1]}) == version(lines)
    assert content_version(table, pairs, None) == version(lines[:3])
    turned = pa.Table.from_pylist(table.to_pylist()[::-1], table.schema)
    assert content_version(turned, pairs, None) == version(lines[:3]), "in whatever order they came"


def test_rows_are_counted_by_class_and_the_rest(rows: Callable) -> None:
    tickets = {n: f"t{n}" for n in range(6)}
    table = rows(
        label("a", ticket_id=tickets[0]), label("b", ticket_id=tickets[1], category=None),
        label("c", ticket_id=tickets[2], tier="weak", rule="dismissed", label="undesirable"),
        heldout=(max(hashed(tickets[n], "salt") for n in range(3))) / 2**32,
    )  # fmt: skip
    of = {row["row_id"]: row["split"] for row in table.to_pylist()}
    assert sorted(of.values()) == ["heldout", "heldout", "train"]
    counts = count_rows(table)
    for split in ("train", "heldout"):
        good, bad = ((of["a"] == split) + (of["b"] == split), int(of["c"] == split))
        expected = {"desirable": good, "undesirable": bad}
        assert counts[split] == {name: number for name, number in expected.items() if number}
    assert counts["tier"] == {"strong": {"desirable": 2}, "weak": {"undesirable": 1}}
    assert counts["rule"] == {"accepted": {"desirable": 2}, "dismissed": {"undesirable": 1}}
    assert counts["category"] == {"none": {"desirable": 1}, "refund": {"desirable": 1, "undesirable": 1}}


def test_redactions_are_counted_in_prompts_and_completions(rows: Callable) -> None:
    table = rows(
        label("a", prompt=[{"role": "user", "content": "a@b.org, c@d.org"}, {"role": "user", "content": "e@f.org"}]),
        label("b", completion="call 415-555-2671 or write to g@h.org"),
    )
    assert count_redactions(table) == {**dict.fromkeys(PATTERNS, 0), "EMAIL": 4, "PHONE": 1}
    assert count_redactions(table.slice(0, 0)) == dict.fromkeys(PATTERNS, 0)
