import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.exceptions import FeedbackError
from feedback.lake.damage import name_set_damage
from feedback.lake.delta import Lake
from feedback.lake.journals import append
from feedback.lake.tables import LABELS, LEDGER
from feedback.lake.validation_log import VALIDATIONS
from feedback.training_set.build import build_training_set, read_training_set, tickets_on_both_sides
from feedback.training_set.class_balance import lambda_bounds
from feedback.training_set.rows import content_version
from label_policy import Policy, Tier, Training, load_policy, shipped_policies

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(shipped_policies()["harbor-support.v1"])


@pytest.fixture
def label(policy: Policy) -> Callable[..., dict[str, Any]]:
    """Return a label as the lake stores it: by default desirable, strong and final."""

    def make(draft: str, **fields: Any) -> dict[str, Any]:
        return {
            "draft_id": draft,
            "ticket_id": f"ticket of {draft}",
            "source": "test",
            "shown_at": NOON,
            "shown_date": NOON.date(),
            "prompt": [{"role": "user", "content": f"question {draft}"}],
            "completion": f"answer {draft}",
            "label": "desirable",
            "tier": "strong",
            "weight": 1.0,
            "rule": "some_rule",
            "state": "final",
            "policy": policy.name,
            "policy_version": policy.version,
            "policy_digest": policy.digest,
            "as_of": NOON,
            **fields,
        }

    return make


def write(lake: Lake, *rows: dict[str, Any]) -> None:
    full = [{name: row.get(name) for name in LABELS.schema.names} for row in rows]
    table = pa.Table.from_pylist(full, schema=LABELS.schema)
    lake.replace(LABELS, table, sorted({row["shown_date"] for row in rows}))
    recorded = {"stage": "labels", "how": "built", "recorded_at": datetime.now(UTC)}
    lake.append(LEDGER, pa.Table.from_pylist([{**row, **recorded} for row in rows], schema=LEDGER.schema))


def rows_of(folder: Path, pattern: str = "*/*.parquet") -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob(pattern)) for row in pq.read_table(path).to_pylist()]


def test_a_day_that_failed_a_critical_rule_trains_nothing_until_it_is_valid_again(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    write(lake, label("a"), label("b", label="undesirable"))

    def found(*critical: str, warning: tuple[str, ...] = ()) -> None:
        row = {"asset": "labels", "part": "2026-03-02", "critical_failed": critical, "warning_failed": warning}
        row |= {"page": "labels.html", "run_id": "run", "recorded_at": datetime.now(UTC)}
        append(lake, VALIDATIONS, pa.Table.from_pylist([row], VALIDATIONS.schema))

    found("one_label_a_draft")
    with pytest.raises(
        FeedbackError, match="one_label_a_draft does not hold for 1 days of labels, 2026-03-02 the first"
    ):
        build_training_set(lake, policy, tmp_path)
    found(warning=("labels_steady",))
    manifest = build_training_set(lake, policy, tmp_path).manifest
    assert manifest["validation"] == {
        "labels": {"days": 1, "critical": {}, "warning": {"labels_steady": ["2026-03-02"]}}
    }


def test_only_final_labels_with_weight_train(lake: Lake, policy: Policy, label: Callable, tmp_path: Path) -> None:
    write(
        lake,
        label("good"),
        label("bad", label="undesirable"),
        label("young", state="provisional"),
        label("unsure", label="abstain", tier=None, weight=0.0),
        label("weightless", weight=0.0),
        label("empty", completion="  "),
    )
    training_set = build_training_set(lake, policy, tmp_path, heldout=0)
    assert {row["row_id"]: row["label"] for row in rows_of(training_set.path)} == {"good": True, "bad": False}
    assert rows_of(training_set.path, "undesirable/train-*")[0]["row_id"] == "bad"
    assert training_set.manifest["left_out"] == {"weightless": 1, "blank": 1}


def test_a_text_seen_twice_counts_once_and_a_contradiction_goes_by_tier(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    same = [{"role": "user", "content": "same"}]
    write(
        lake,
        label("twice", prompt=same, completion="a", tier="weak"),
        label("twice, stronger", prompt=same, completion="a", tier="explicit"),
        label("won", prompt=same, completion="b", tier="explicit", label="undesirable"),
        label("overruled", prompt=same, completion="b", tier="weak"),
        label("tie", prompt=same, completion="c"),
        label("tie too", prompt=same, completion="c", label="undesirable"),
    )
    training_set = build_training_set(lake, policy, tmp_path, heldout=0)
    assert {row["row_id"] for row in rows_of(training_set.path)} == {"twice, stronger", "won"}
    assert training_set.manifest["left_out"] == {"duplicate": 1, "overruled": 1, "contradicted": 2}


def test_personal_data_does_not_reach_the_training_set(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    write(
        lake,
        label(
            "d",
            prompt=[{"role": "user", "content": "I am ann@example.org, card 4111 1111 1111 1111, order 12345"}],
            completion="We called +44 20 7946 0958 about DE89 3704 0044 0532 0130 00; refund in 14 days.",
        ),
    )
    training_set = build_training_set(lake, policy, tmp_path, heldout=0)
    [row] = rows_of(training_set.path)
    assert row["prompt"][0]["content"] == "I am [EMAIL], card [CARD], order 12345"
    assert row["completion"] == "We called [PHONE] about [IBAN]; refund in 14 days."
    assert {name: count for name, count in training_set.manifest["redactions"].items() if count} == {
        "EMAIL": 1, "CARD": 1, "PHONE": 1, "IBAN": 1,
    }  # fmt: skip


def test_the_version_is_of_the_rows_alone(lake: Lake, policy: Policy, label: Callable, tmp_path: Path) -> None:
    rows = [label(f"d{number}", label="desirable" if number % 2 else "undesirable") for number in range(20)]
    write(lake, *rows)
    first = build_training_set(lake, policy, tmp_path / "one")
    assert first.manifest["heldout"] == {"share_of_tickets": 0.1, "salt": "heldout"}
    write(lake, *reversed(rows))
    assert build_training_set(lake, policy, tmp_path / "two").version == first.version
    write(lake, *rows[:-1], {**rows[-1], "weight": 0.5})
    assert build_training_set(lake, policy, tmp_path / "two").version != first.version


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 3), st.sampled_from(["desirable", "undesirable"]), st.sampled_from(Tier)
        ),
        min_size=1,
        max_size=40,
    )
)
def test_whatever_the_labels(
    drawn: list[tuple[int, int, str, str]], policy: Policy, label: Callable, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("set")
    lake = Lake(folder / "lake")
    write(
        lake,
        *(
            label(
                f"d{number:03d}", ticket_id=f"t{ticket}", label=name, tier=tier, completion=f"answer {text}",
                prompt=[{"role": "user", "content": "q"}],
            )
            for number, (ticket, text, name, tier) in enumerate(drawn)
        ),
    )  # fmt: skip
    strongest = {
        (text, name): min(tuple(Tier).index(tier) for _, other, its, tier in drawn if (other, its) == (text, name))
        for _, text, name, _ in drawn
    }
    expected = set()
    for text in {text for _, text, _, _ in drawn}:
        sides = {name: strongest[text, name] for name in ("desirable", "undesirable") if (text, name) in strongest}
        best = [name for name, tier in sides.items() if tier == min(sides.values())]
        if len(best) == 1:
            expected.add((f"answer {text}", best[0] == "desirable"))
    if not expected:
        with pytest.raises(FeedbackError, match="no label can train"):
            build_training_set(lake, policy, folder, heldout=0.4)
        return
    training_set = build_training_set(lake, policy, folder, heldout=0.4)
    kept = rows_of(training_set.path)
    assert sorted((row["completion"], row["label"]) for row in kept) == sorted(expected)
    assert tickets_on_both_sides(training_set.path) == []
    assert sum(
        sum(part.values())
        for part in (training_set.manifest["counts"]["train"], training_set.manifest["counts"]["heldout"])
    ) == len(kept)
    assert sum(training_set.manifest["left_out"].values()) + len(kept) == len(drawn)


def test_any_tool_reads_it(lake: Lake, policy: Policy, label: Callable, tmp_path: Path) -> None:
    write(lake, *(label(f"d{number}", label="desirable" if number % 2 else "undesirable") for number in range(200)))
    training_set = build_training_set(lake, policy, tmp_path, heldout=0.2)
    held, total = duckdb.execute(
        "SELECT count(*) FILTER (filename LIKE '%heldout%'), count(*) FROM read_parquet(?, filename=true)",
        [str(training_set.path / "*" / "*.parquet")],
    ).fetchall()[0]
    assert total == 200
    assert 20 <= held <= 60
    manifest = json.loads((training_set.path / "manifest.json").read_text())
    assert manifest["policy"]["digest"] == policy.digest
    assert read_training_set(training_set.path).version == training_set.path.name == manifest["version"]


def test_labels_of_another_policy_stop_the_build(lake: Lake, policy: Policy, label: Callable, tmp_path: Path) -> None:
    write(lake, label("new"), label("old", policy_digest="another", shown_date=date(2026, 3, 1)))
    with pytest.raises(FeedbackError, match="1 of 2 days behind harbor-support v1"):
        build_training_set(lake, policy, tmp_path)


def test_nothing_to_train_on_says_what_there_is(lake: Lake, policy: Policy, label: Callable, tmp_path: Path) -> None:
    write(lake, label("young", state="provisional"))
    with pytest.raises(FeedbackError, match=r"1 desirable provisional.*1 desirable labels.*wait for them"):
        build_training_set(lake, policy, tmp_path)


def test_lambda_bounds_keep_the_ratio_that_the_paper_asks_for() -> None:
    bounds = lambda_bounds(desirable=10, undesirable=40)
    for low_or_high, ratio in ((0, 1.0), (1, 1.5)):
        assert bounds["desirable_weight"][low_or_high] * 10 / 40 == pytest.approx(ratio, rel=1e-3)
        assert 10 / (bounds["undesirable_weight"][1 - low_or_high] * 40) == pytest.approx(ratio, rel=1e-3)
    for nothing in ({"desirable": 10}, {"undesirable": 10}, {}):
        assert lambda_bounds(**nothing) == {"desirable_weight": None, "undesirable_weight": None}


def test_lambda_bounds_have_four_digits() -> None:
    """λ_D·3 / 1 in [1, 3/2], and 3 / (λ_U·1) likewise."""
    assert lambda_bounds(desirable=3, undesirable=1) == {
        "desirable_weight": [0.3333, 0.5],
        "undesirable_weight": [2.0, 3.0],
    }


def test_the_policy_says_which_tiers_train_and_how_much(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    training = Training(tiers=(Tier.EXPLICIT, Tier.STRONG), weights={Tier.STRONG: 0.5})
    choosy = policy.model_copy(update={"training": training})
    stamp = {"policy_digest": choosy.digest}
    write(
        lake,
        label("a", tier="explicit", label="undesirable", **stamp),
        label("b", tier="strong", weight=0.8, **stamp),
        label("c", tier="weak", **stamp),
        # A tier that does not train does not overrule or contradict one that does.
        label("d", tier="critical", label="undesirable", prompt=[{"role": "user", "content": "question b"}],
              completion="answer b", **stamp),
    )  # fmt: skip
    training_set = build_training_set(lake, choosy, tmp_path, heldout=0)
    assert {row["row_id"]: row["weight"] for row in rows_of(training_set.path)} == {"a": 1.0, "b": 0.4}
    assert training_set.manifest["left_out"] == {"tier not trained": 2}


def pairs_of(lake: Lake, policy: Policy, folder: Path) -> list[tuple[str, str]]:
    training_set = build_training_set(lake, policy, folder, heldout=0)
    assert training_set.manifest["preferences"]["train"] == len(rows_of(training_set.path, "preferences/train-*"))
    return [(row["chosen"], row["rejected"]) for row in rows_of(training_set.path, "preferences/train-*")]


def test_pairs_are_of_final_labels_and_never_both_ways(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    same = {"prompt": [{"role": "user", "content": "how?"}], "ticket_id": "t"}
    bad = {"label": "undesirable", **same}
    write(
        lake,
        label("r1#preferred", completion="so", preferred_over="r1#other", **same),
        label("r1#other", completion="or so", **bad),
        label("d1", completion="within 30 days", **bad),
        label("d1#sent", completion="within 14 days", preferred_over="d1", **same),
        label("d2", completion="young", **bad, state="provisional"),
        label("d2#sent", completion="younger", preferred_over="d2", **same),
        label("r2#preferred", completion="left", preferred_over="r2#other", **same),
        label("r2#other", completion="right", **bad),
        label("r3#preferred", completion="right", preferred_over="r3#other", **same),
        label("r3#other", completion="left", **bad),
        label("r4#preferred", completion="so", preferred_over="r4#other", **same),
        label("r4#other", completion="or so", **bad),
    )
    assert pairs_of(lake, policy, tmp_path) == [("within 14 days", "within 30 days"), ("so", "or so")]


def test_a_pair_lies_on_its_tickets_side_and_changes_the_version(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path
) -> None:
    rows = []
    for number in range(40):
        ticket = {"ticket_id": f"t{number}"}
        rows.append(label(f"r{number}#preferred", preferred_over=f"r{number}#other", **ticket))
        rows.append(label(f"r{number}#other", label="undesirable", **ticket))
    write(lake, *({**row, "preferred_over": None} for row in rows))
    without = build_training_set(lake, policy, tmp_path, heldout=0.4)
    assert not (without.path / "preferences").exists()
    write(lake, *rows)
    training_set = build_training_set(lake, policy, tmp_path, heldout=0.4)
    assert training_set.version != without.version
    for split in ("train", "heldout"):
        pairs = rows_of(training_set.path, f"preferences/{split}-*")
        assert pairs
        assert {row["ticket_id"] for row in pairs} == {
            row["ticket_id"] for row in rows_of(training_set.path, f"*desirable/{split}-*")
        }
    assert tickets_on_both_sides(training_set.path) == []


def test_a_column_that_came_later_renames_no_set_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback.training_set.rows.COLUMNS", ("row_id", "category"))
    monkeypatch.setattr("feedback.training_set.rows.PAIR_COLUMNS", ("row_id",))
    rows = pa.table({"row_id": ["a", "b"], "category": ["x", None], "split": ["train", "heldout"]})
    before = content_version(rows, rows, None)
    monkeypatch.setattr("feedback.training_set.rows.COLUMNS", ("row_id", "category", "locale"))
    monkeypatch.setattr("feedback.training_set.rows._LATER", ("locale",))
    assert content_version(rows.append_column("locale", pa.nulls(2, pa.string())), rows, None) == before
    assert content_version(rows.append_column("locale", pa.array([None, "de"])), rows, None) != before


def test_a_ticket_on_both_sides_is_named(tmp_path: Path) -> None:
    sides = {
        "desirable/train-00000": ["a", "b", "d"],
        "undesirable/train-00001": ["c", "c"],
        "undesirable/heldout-00000": ["c", "x"],
        "preferences/heldout-00000": ["b", "y"],
    }
    for name, tickets in sides.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(pa.table({"ticket_id": tickets}), tmp_path / f"{name}.parquet")
    assert tickets_on_both_sides(tmp_path) == ["b", "c"]


def test_a_file_that_is_cut_off_damaged_or_gone_is_named(
    lake: Lake, policy: Policy, label: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedback.training_set.build._SHARD_ROWS", 10)
    rows = []
    for number in range(20):
        ticket = {"ticket_id": f"t{number}"}
        rows.append(label(f"r{number}#preferred", preferred_over=f"r{number}#other", **ticket))
        rows.append(label(f"r{number}#other", label="undesirable", **ticket))
    write(lake, *rows)
    path = build_training_set(lake, policy, tmp_path, heldout=0.2).path
    assert name_set_damage(path) is None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    assert len(files) > 7, "some parts have several shards"
    for file in files:
        whole = file.read_bytes()
        for left in (whole[:-3], whole[:4] + bytes(len(whole) // 2) + whole[4 + len(whole) // 2 :], None):
            file.unlink()
            if left is not None:
                file.write_bytes(left)
            message = str(name_set_damage(path))
            assert (
                f"training set {path.name}: {file} is damaged or missing; restore it from a copy, or remove " in message
            )
            file.write_bytes(whole)
    assert name_set_damage(path) is None
