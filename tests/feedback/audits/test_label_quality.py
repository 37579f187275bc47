"""The label quality that people's verdicts give: weighted by stratum, for the policy that was sampled."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.audits.audit_outcome import decide_audit, manifest_section, measure_audit
from feedback.audits.label_quality import measure
from feedback.audits.overrides import former_overrides, open_gate, override_now
from feedback.audits.verdicts import Verdict, append_verdicts
from feedback.exceptions import FeedbackError
from feedback.labels.ledger import keep_policy
from feedback.lake.delta import Lake
from feedback.lake.tables import AUDIT_SAMPLE, LABELS, LEDGER
from feedback.training_set.build import build_training_set, recorded_audit
from label_policy import Audit, Policy, load_policy, shipped_policies

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def policy() -> Policy:
    shipped = load_policy(shipped_policies()["harbor-support.v1"])
    return shipped.model_copy(update={"audit": Audit(per_class=10, precision={"strong": 0.5, "weak": 0.5})})


@pytest.fixture
def fill(lake: Lake, policy: Policy) -> Callable[..., None]:
    """`fill(a=("desirable", "strong", "accepted", "refund", 100, 10))`: a stratum of 100 labels, 10 of them drawn."""

    def make(digest: str = policy.digest, **strata: tuple[str, str, str, str, int, int]) -> None:
        labels, drawn = [], []
        for name, (label, tier, rule, category, size, take) in strata.items():
            for number in range(size):
                draft = f"{name}{number}"
                row = {
                    "draft_id": draft, "ticket_id": f"t-{draft}", "shown_at": NOON, "shown_date": NOON.date(),
                    "prompt": [{"role": "user", "content": f"question {draft}"}], "completion": f"answer {draft}",
                    "label": label, "tier": tier, "rule": rule, "category": category, "weight": 1.0, "state": "final",
                    "policy": policy.name, "policy_version": policy.version, "policy_digest": digest, "as_of": NOON,
                }  # fmt: skip
                labels.append({column: row.get(column) for column in LABELS.schema.names})
                if number < take:
                    suspected = name.startswith("suspected")
                    more = {"stratum": f"{label}|{tier}|{name}", "stratum_size": size, "suspected": suspected}
                    more |= {"readers": 1, "inclusion_probability": take / size, "seed": 0}
                    drawn.append({column: (row | more).get(column) for column in AUDIT_SAMPLE.schema.names})
        lake.replace(LABELS, pa.Table.from_pylist(labels, schema=LABELS.schema), [NOON.date()])
        lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(drawn, schema=AUDIT_SAMPLE.schema))
        built = {"stage": "labels", "how": "built", "recorded_at": NOON, "shown_date": NOON.date()}
        policy_columns = {
            "policy": policy.name,
            "policy_version": policy.version,
            "policy_digest": digest,
            "as_of": NOON,
        }
        lake.append(LEDGER, pa.Table.from_pylist([built | policy_columns], schema=LEDGER.schema))

    return make


@pytest.fixture
def say(lake: Lake) -> Callable[..., None]:
    """`say("a", [1, 1, 0, None])`: drafts a0, a1, … are good, good, bad and unsure."""

    def make(stratum: str, verdicts: list[int | None], *, by: str = "Bo", start: int = 0, **options: Any) -> None:
        words = {1: "desirable", 0: "undesirable", None: "unsure"}
        recorded = [
            Verdict(draft_id=f"{stratum}{start + number}", reviewer=by, verdict=words[verdict])
            for number, verdict in enumerate(verdicts)
        ]
        append_verdicts(lake, recorded, **{"origin": "review"} | options)

    return make


TWO = {
    "a": ("desirable", "strong", "accepted", "refund", 90, 10),
    "b": ("desirable", "strong", "accepted", "billing", 10, 10),
    "c": ("undesirable", "weak", "dismissed", "refund", 50, 10),
}


def test_rows_weigh_as_many_labels_as_they_stand_for(lake: Lake, policy: Policy, fill: Callable, say: Callable) -> None:
    fill(**TWO)
    say("a", [1] * 10)
    say("b", [0] * 5 + [1] * 5)
    say("c", [0] * 4 + [1] + [None] * 5)
    quality = measure(lake, policy)
    accepted = quality.groups["rule"]["accepted"]
    assert (accepted.labels, accepted.sampled, accepted.read, accepted.unsure) == (100, 20, 20, 0)
    assert accepted.precision == pytest.approx(0.9 * 1 + 0.1 * 0.5)
    dismissed = quality.groups["tier"]["weak"]
    assert (dismissed.read, dismissed.unsure, dismissed.precision) == (10, 5, pytest.approx(0.8))
    refund = quality.groups["category"]["refund"]
    assert refund.precision == pytest.approx((90 * 1 + 50 * 0.8) / 140)
    cells = {(cell["label"], cell["people"]): cell for cell in quality.confusion}
    assert cells["desirable", "undesirable"] == {
        "label": "desirable", "people": "undesirable", "verdicts": 5, "labels": 5.0,
    }  # fmt: skip
    assert cells["undesirable", "unsure"]["labels"] == 25.0
    assert quality.disagreements[0]["draft_id"] == "c4", "it stands for five labels, the others for one"
    assert quality.disagreements[0]["completion"] == "answer c4"
    assert json.loads(json.dumps(quality.as_dict()))["rule"]["accepted"]["precision"] == 0.95
    assert quality.rule_precision()["dismissed"] == pytest.approx(0.8)


def test_where_a_group_cuts_a_stratum_it_is_parted_as_its_drawn_rows_are(
    lake: Lake, policy: Policy, fill: Callable, say: Callable
) -> None:
    fill(a=("desirable", "strong", "accepted", "refund", 80, 10))
    rows = lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    for number, row in enumerate(rows):
        row["category"] = "billing" if number < 3 else "refund"
    lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(rows, schema=AUDIT_SAMPLE.schema))
    say("a", [1] * 10)
    by_category = measure(lake, policy).groups["category"]
    assert (by_category["billing"].labels, by_category["refund"].labels) == pytest.approx((24, 56))


def test_two_readers_count_by_the_share_that_agrees(lake: Lake, policy: Policy, fill: Callable, say: Callable) -> None:
    fill(**TWO)
    say("b", [1] * 10)
    say("b", [0, 1, None], by="Cy")
    quality = measure(lake, policy)
    assert quality.groups["category"]["billing"].precision == pytest.approx(0.95)
    assert (quality.agreement.rows, quality.agreement.same) == (2, 0.5)
    assert quality.agreement.alpha == pytest.approx(0.0, abs=0.01)
    say("b", [1], by="Cy", recorded_at=datetime.now(UTC) + timedelta(seconds=1))
    agreed = measure(lake, policy).agreement
    assert (agreed.same, agreed.alpha) == (1.0, None), "where all say the same, alpha is not defined"


def test_simulated_verdicts_count_only_where_asked_for_and_mark_everything(
    lake: Lake, policy: Policy, fill: Callable, say: Callable
) -> None:
    fill(**TWO)
    for stratum, right in (("a", 1), ("b", 1), ("c", 0)):
        say(stratum, [right] * 10, by="simulated-1", origin="simulated")
    assert (measure(lake, policy).read, measure(lake, policy).simulated_rows) == (0, 0)
    assert not measure_audit(lake, policy).gate.passed
    outcome = measure_audit(lake, policy, simulated=True)
    quality, gate = outcome.quality, outcome.gate
    assert gate.passed and gate.simulated and quality.simulated
    values = quality.as_dict()
    assert (values["read"], values["simulated"]) == (0, 30), "nobody has read any of them"
    strong = quality.groups["tier"]["strong"]
    assert (strong.read, strong.simulated, strong.answered, strong.precision) == (0, 20, 20, 1.0)
    say("a", [1] * 3)
    outcome = measure_audit(lake, policy, simulated=True)
    assert (outcome.quality.read, outcome.quality.simulated_rows) == (3, 27)
    assert manifest_section(outcome, policy)["simulated"] is True
    for stratum, right in (("a", 1), ("b", 1), ("c", 0)):
        say(stratum, [right] * 10)
    assert not measure(lake, policy, simulated=True).simulated, "people's verdicts have taken their place"


def test_suspects_that_nobody_has_read_are_taken_to_be_like_the_rest_of_what_is_measured(
    lake: Lake, policy: Policy, fill: Callable, say: Callable
) -> None:
    fill(**TWO, suspected=("desirable", "strong", "accepted", "refund", 20, 20))
    say("a", [1] * 8 + [0] * 2)
    say("b", [1] * 10)
    quality = measure(lake, policy)
    tier, refund = quality.groups["tier"]["strong"], quality.groups["category"]["refund"]
    assert (tier.precision, tier.covered) == (pytest.approx(0.9 * 0.8 + 0.1), pytest.approx(100 / 120))
    assert refund.precision == pytest.approx(0.8)
    assert quality.suspected == {"read": 0, "simulated": 0, "unread": 20, "wrong": 0}
    # Once some are read, the unread ones of their stratum count like these.
    say("suspected", [0] * 3)
    quality = measure(lake, policy)
    assert quality.groups["tier"]["strong"].precision == pytest.approx((90 * 0.8 + 10) / 120)
    assert quality.suspected == {"read": 3, "simulated": 0, "unread": 17, "wrong": 3}


def test_a_sample_of_another_policy_says_nothing(lake: Lake, policy: Policy, fill: Callable, say: Callable) -> None:
    fill(digest="other", **TWO)
    say("a", [1] * 10)
    quality = measure(lake, policy)
    assert quality.sampled == 0 and quality.groups["label"] == {}
    assert "`feedback-kto audit draw`" in decide_audit(lake, policy, quality).gate.reasons[0]


def test_rows_that_a_later_draw_left_out_were_read_all_the_same(
    lake: Lake, policy: Policy, fill: Callable, say: Callable
) -> None:
    fill(**TWO)
    for stratum, right in (("a", 1), ("b", 1), ("c", 0)):
        say(stratum, [right] * 10)
    rows = lake.dataset(AUDIT_SAMPLE).to_table().to_pylist()
    kept = [row for row in rows if row["draft_id"] not in {"c0", "c1"}]
    lake.replace(AUDIT_SAMPLE, pa.Table.from_pylist(kept, schema=AUDIT_SAMPLE.schema))
    quality = measure(lake, policy)
    assert quality.groups["label"]["undesirable"].read == 8
    assert quality.read_of["undesirable"] == 10
    assert decide_audit(lake, policy, quality).gate.passed


def test_a_rule_that_got_worse_since_the_last_audit_is_found(
    lake: Lake, policy: Policy, fill: Callable, say: Callable
) -> None:
    fill(a=("desirable", "strong", "accepted", "refund", 900, 120), c=("undesirable", "weak", "dismissed", "", 300, 40))
    say("a", [1] * 58 + [0] * 2, recorded_at=NOON)
    say("c", [0] * 20, recorded_at=NOON)
    assert measure(lake, policy).drift == []
    later = NOON + timedelta(days=30)
    say("a", [1] * 40 + [0] * 20, start=60, recorded_at=later)
    say("c", [0] * 20, start=20, recorded_at=later + timedelta(days=1))
    quality = measure(lake, policy)
    assert quality.last_audit == later
    fell, same = quality.drift
    assert (fell.rule, fell.change) == ("accepted", pytest.approx(40 / 60 - 58 / 60))
    assert fell.low < fell.change < fell.high < 0
    assert same.low < 0 < same.high


def test_an_override_is_bound_to_its_policy_and_expires(lake: Lake, policy: Policy) -> None:
    override = open_gate(lake, policy, who=" Ann  Lee ", why="the launch", tiers=["weak"], days=2)
    assert override_now(lake, policy) == override
    assert (override.who, override.tiers) == ("Ann Lee", ("weak",))
    assert override_now(lake, policy, now=datetime.now(UTC) + timedelta(days=3)) is None
    other = load_policy(shipped_policies()["harbor-support.v2"])
    assert override_now(lake, other) is None
    newer = open_gate(lake, policy, who="Bo", why="again")
    assert override_now(lake, policy) == newer
    keep_policy(lake, policy)
    [former] = former_overrides(lake, policy)
    assert (former.override, former.why_not) == (override, "replaced")
    assert former.policy == f"harbor-support 1 ({policy.digest[:12]})"
    assert [each.why_not for each in former_overrides(lake, other)] == ["another policy"] * 2
    in_three_days = former_overrides(lake, policy, now=datetime.now(UTC) + timedelta(days=3))
    assert [(each.override.who, each.why_not) for each in in_three_days] == [("Ann Lee", "expired")]
    assert json.loads(json.dumps(former.as_dict()))["why_not"] == "replaced"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"who": " ", "why": "x"}, "needs a name and a reason"),
        ({"who": "Ann", "why": "x", "days": 0}, "cannot be valid for 0 days"),
        (
            {"who": "Ann", "why": "x", "tiers": ["explicit"]},
            "asks for no audit of tier explicit; name one of strong, weak",
        ),
    ],
)
def test_an_override_that_makes_no_sense_is_refused(lake: Lake, policy: Policy, arguments: Any, says: str) -> None:
    with pytest.raises(FeedbackError, match=says):
        open_gate(lake, policy, **arguments)
    silent = policy.model_copy(update={"audit": Audit()})
    with pytest.raises(FeedbackError, match="asks for no audit, so it has no gate to open"):
        open_gate(lake, silent, who="Ann", why="x")


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("*/train-*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_a_training_set_carries_what_was_found_and_leaves_out_what_failed(
    lake: Lake, policy: Policy, fill: Callable, say: Callable, tmp_path: Path
) -> None:
    fill(**TWO)
    sets = tmp_path / "sets"
    closed = build_training_set(lake, policy, sets, heldout=0)
    assert closed.manifest["audit"]["gate"]["passed"] is False
    assert len(rows_of(closed.path)) == 150, "it is written all the same"
    assert {row["precision"] for row in rows_of(closed.path)} == {None}
    say("a", [1] * 10)
    say("b", [1] * 5 + [0] * 5)
    say("c", [1] * 9 + [0])
    built = build_training_set(lake, policy, sets, heldout=0)
    audit = built.manifest["audit"]
    assert audit["gate"]["passed"] and audit["gate"]["excluded"] == ["weak"]
    assert built.manifest["left_out"] == {"tier failed its audit": 50}
    assert {row["precision"] for row in rows_of(built.path)} == {audit["rules"]["accepted"]["used"]}
    assert audit["precision"]["desirable"]["precision"] == pytest.approx(0.95)
    assert "undesirable" not in audit["precision"], "none of these train"
    # A replay has the labels and not the verdicts: the earlier manifest holds the audit.
    elsewhere = build_training_set(lake, policy, tmp_path / "again", heldout=0, audit=recorded_audit(sets, closed.path))
    assert elsewhere.version == built.version


def test_a_set_that_nobody_was_asked_about_keeps_its_name(
    lake: Lake, policy: Policy, fill: Callable, say: Callable, tmp_path: Path
) -> None:
    fill(**TWO)
    silent = policy.model_copy(update={"audit": Audit()})
    unread = build_training_set(lake, silent, tmp_path, heldout=0)
    assert unread.manifest["audit"]["gate"] | {"tiers": {}} == unread.manifest["audit"]["gate"]
    assert unread.manifest["audit"]["gate"]["passed"] is True
    lake.replace(AUDIT_SAMPLE, AUDIT_SAMPLE.schema.empty_table())
    assert build_training_set(lake, silent, tmp_path, heldout=0).version == unread.version
    fill(**TWO)
    say("a", [1] * 9 + [0])
    read = build_training_set(lake, silent, tmp_path, heldout=0)
    assert read.version != unread.version
    assert {row["rule"]: row["precision"] for row in rows_of(read.path)} == {"accepted": 0.9, "dismissed": None}
