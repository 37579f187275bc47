"""The audit's report, on the terminal and as a page: hostile text stays text, simulated verdicts are named."""

import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from rich.console import Console

from assets.support.audit_chart import draw_quality
from feedback.audits.label_quality import Drift, Quality
from label_policy import Policy, load_policy, shipped_policies
from label_policy.audits.agreement import Agreement
from label_policy.audits.audit_gate import AuditGate, Override, decide_gate
from label_policy.audits.precision import Estimate
from pipelines.views.audit_page import render_report
from pipelines.views.audit_tables import show_report

HOSTILE = "<script>alert(1)</script>[bold]x[/] \u202egnp.exe\u200b | `y` {{ 7 * 7 }}"


def found(precision: float | None, low: float | None = None, read: int = 40) -> Estimate:
    return Estimate(labels=500, sampled=50, read=read, unsure=1, precision=precision, low=low, high=precision and 0.99,
                    effective=40, covered=1.0)  # fmt: skip


@pytest.fixture(scope="module")
def policy() -> Policy:
    return load_policy(shipped_policies()["harbor-support.v1"])


@pytest.fixture
def quality(policy: Policy) -> Quality:
    verdicts = [{"reviewer": HOSTILE, "verdict": "undesirable", "reason": "tone", "note": HOSTILE, "origin": "review"}]
    row = {
        "draft_id": HOSTILE, "label": "desirable", "tier": "strong", "rule": "accepted", "category": HOSTILE,
        "stands_for": 21.0, "against": 1.0, "verdicts": verdicts, "prompt": [{"role": "user", "content": HOSTILE}],
        "completion": HOSTILE, "ticket_id": "t", "shown_at": datetime(2026, 3, 2, tzinfo=UTC),
    }  # fmt: skip
    tiers = {"strong": found(0.95, 0.85), "weak": found(0.7, 0.5), "explicit": found(None, read=0)}
    return Quality(
        policy={"name": policy.name, "version": policy.version, "digest": policy.digest},
        confidence=0.95,
        groups={
            "label": {"desirable": found(0.95, 0.9), "undesirable": found(0.8, 0.7)},
            "tier": tiers,
            "label and tier": {"desirable, strong": found(0.95, 0.85)},
            "rule": {"accepted": found(0.95, 0.85)},
            "category": {HOSTILE: found(0.9, 0.8)},
        },
        at_best=tiers,
        read_of={"desirable": 300, "undesirable": 300},
        suspected={"read": 10, "simulated": 0, "unread": 4, "wrong": 7},
        agreement=Agreement(rows=30, same=0.9, alpha=0.8),
        confusion=[
            {"label": label, "people": people, "verdicts": 3, "labels": 12.5}
            for label in ("desirable", "undesirable")
            for people in ("desirable", "undesirable", "unsure")
        ],
        disagreements=[row],
        drift=[Drift(rule="accepted", before=found(0.97), after=found(0.8), change=-0.17, low=-0.3, high=-0.04)],
        last_audit=datetime(2026, 3, 2, tzinfo=UTC),
        simulated=False,
        tier_of={"accepted": "desirable, strong"},
        rows=[],
    )  # fmt: skip


def decide(quality: Quality, policy: Policy, override: Override | None = None) -> AuditGate:
    labels = {name: each.labels for name, each in quality.groups["label"].items()}
    return decide_gate(
        policy.audit, policy.training, labels=labels, read=quality.read_of, tiers=quality.groups["tier"],
        at_best=quality.at_best, override=override, simulated=quality.simulated,
    )  # fmt: skip


class Tags(HTMLParser):
    """What a browser would make of a page: its elements, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags, self.text = set[str](), ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_text_stays_text_on_the_page(quality: Quality, policy: Policy) -> None:
    override = Override(override_id="o", who=HOSTILE, why=HOSTILE, expires_at=datetime(2026, 3, 9, tzinfo=UTC))
    page = render_report(quality, decide(quality, policy, override), policy, desk="toy")
    seen = Tags(page)
    assert "script" not in seen.tags and "img" not in seen.tags
    assert seen.text.count("<script>alert(1)</script>") >= 6
    assert "\u202e" not in page and "\u200b" not in page and "<U+202E>" in seen.text
    assert "default-src 'none'" in page
    assert "Simulated" not in page


def test_the_terminal_says_the_same_without_markup_from_texts(quality: Quality, policy: Policy) -> None:
    out = io.StringIO()
    show_report(quality, decide(quality, policy), Console(file=out, width=160, force_terminal=True))
    said = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert "[bold]x[/]" in said and "\u202e" not in said
    assert "The gate is open." in said
    assert "tier weak: 70.0% of its labels are right, at least 50.0%" in said and "it does not train" in said
    assert "14 of these rows; people have read 10; the verdicts contradict 7 of these labels (70%)" in said
    assert "4 are unread, and count like the read rows of their stratum" in said
    assert "Krippendorff's alpha is 0.80" in said
    assert "-17.0% (-30.0% to -4.0%)" in said


def test_simulated_verdicts_are_called_that_everywhere(quality: Quality, policy: Policy) -> None:
    groups = {name: {value: replace(each, simulated=30) for value, each in group.items()}
              for name, group in quality.groups.items()}  # fmt: skip
    simulated = replace(quality, simulated=True, groups=groups)
    gate = decide(simulated, policy)
    page = render_report(simulated, gate, policy, desk="toy")
    out = io.StringIO()
    show_report(simulated, gate, Console(file=out, width=160))
    for said in (Tags(page).text, out.getvalue()):
        assert "Simulated: nobody gave" in said and "people have read 80, and 60 have simulated verdicts." in said
    assert simulated.as_dict()["read"] == 80 and simulated.as_dict()["simulated"] == 60
    assert gate.as_dict()["simulated"] is True


def test_the_terminal_breaks_no_word_at_80_columns(quality: Quality, policy: Policy) -> None:
    """What the gate says, rules' names and figures are whole; only hostile names are longer than a column."""
    long = {"reopened_after_send": replace(found(1.0, 0.85), labels=2204, sampled=113, simulated=103)}
    strong, tiers = quality.groups["tier"]["strong"], ("critical", "explicit", "strong", "weak")
    groups = quality.groups | {"rule": long, "tier": dict.fromkeys(tiers, replace(strong, simulated=230))}
    gate = decide(replace(quality, groups=groups, at_best=groups["tier"]), policy)
    outcomes = zip(tiers, ("overridden", "undecided", "passed", "failed"), strict=True)
    gate = replace(gate, tiers={tier: replace(gate.tiers[tier], outcome=outcome) for tier, outcome in outcomes})  # type: ignore[arg-type]
    out = io.StringIO()
    show_report(replace(quality, groups=groups), gate, Console(file=out, width=80))
    said = out.getvalue()
    assert "…" not in said
    for words in (
        "critical     85.0%     90.0%  overridden",
        "explicit     85.0%     90.0%  undecided",
        "strong       85.0%     80.0%  passed",
        "weak         85.0%     60.0%  failed",
        "reopened_after_send   2,204    113    40    103      1  100.0%  85.0%  99.0%",
    ):
        assert words in said


def test_nothing_drawn_is_a_sentence(quality: Quality, policy: Policy) -> None:
    empty = replace(quality, groups={name: {} for name in quality.groups}, disagreements=[], drift=[])
    gate = decide(empty, policy)
    out = io.StringIO()
    show_report(empty, gate, Console(file=out, width=160))
    assert "`feedback-kto audit draw` draws a sample of them" in out.getvalue()
    assert "The gate is closed" in render_report(empty, gate, policy, desk="toy")
    assert draw_quality(empty, policy).startswith(b"\x89PNG")


def test_the_figure_is_a_picture_of_every_class_tier_and_rule(quality: Quality, policy: Policy) -> None:
    assert draw_quality(quality, policy).startswith(b"\x89PNG")
