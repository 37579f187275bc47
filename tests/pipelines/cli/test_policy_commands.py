"""`feedback-kto policy`, as a person and as a script meet it. In this process, since another costs a second."""

import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from desk.desk import Desk
from desk.settings import DeskSettings
from feedback.history.explain import Explanation, explain
from feedback.history.row_verdicts import RowVerdict
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.tables import EVENTS, INTERACTIONS
from feedback.training_set.build import build_training_set
from label_policy import load_policy
from label_policy.audits.audit_gate import AuditGate, Outcome, Override, TierOutcome
from pipelines.cli.main import main
from pipelines.output.safe_text import shorten, span, visible, word_diff
from pipelines.views.explain_view import show_explanation

SHOWN = datetime(2026, 3, 2, 12, tzinfo=UTC)
AS_OF = SHOWN + timedelta(days=9)
POLICY = """\
name: desk
version: 1
description: A desk.
owner: support
maturity: {reopened: 7d}
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1, why: They said so.}
  - id: taken
    when: accepted_at IS NOT NULL OR edited_at IS NOT NULL
    label: desirable
    tier: strong
    weight: 1
    why: It was sent.
  - {id: never, when: edited_at > decided_at, label: abstain, why: Another decided first.}
  - {id: back, when: reopened_at IS NOT NULL, label: undesirable, tier: strong, weight: 1, why: Came back.}
sent_text: {when: edit_kind IS NOT NULL, tier: strong, weight: 0.5, why: What was right.}
"""
FACTUAL = (
    "{id: factual, when: edit_kind = 'factual', label: undesirable, tier: strong, weight: 1, why: A fact was wrong.}\n"
)
# Moves the cursor, sets the window's title, turns the writing round, hides, or reads as rich's markup and emoji.
HOSTILE = "a\x1b[2J\x1b]0;x\x07\u202eb\u200b\u2066\x00\x9b31m[bold red]c[/][link=http://x]d :bomb: \ufeff\r\u2028 [/"


def event(kind: str, minutes: float, number: int, **more: Any) -> dict[str, Any]:
    when = SHOWN + timedelta(minutes=minutes)
    return {
        "event_id": f"e{number}{HOSTILE}", "kind": kind, "occurred_at": when, "received_at": when,
        "arrival_date": when.date() - timedelta(days=1), "file": f"{HOSTILE}.jsonl", "line": number,
        "source": HOSTILE, "agent_id": HOSTILE, **more,
    }  # fmt: skip


def draft(
    number: int, completion: str, *reactions: tuple[str, float, str | None], name: str | None = None
) -> list[Any]:
    about = {"draft_id": name or f"d{number}", "ticket_id": f"t{number}"}
    prompt = [{"role": HOSTILE, "content": f"{number} {HOSTILE}"}, {"role": "user", "content": "How long?\nTell me."}]
    shown = event("draft_shown", 0, 100 * number, **about, prompt=prompt, completion=completion, category=HOSTILE)
    return [shown] + [
        event(kind, minutes, 100 * number + i, **about, final_text=text, reasons=[HOSTILE])
        for i, (kind, minutes, text) in enumerate(reactions, start=1)
    ]


@pytest.fixture(scope="module")
def policy_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policies") / "desk.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, policy_file: Path) -> Iterator[Desk]:
    """A desk whose texts are hostile, labelled, with a training set."""
    events = [
        *draft(1, f"Refunds take 30 days. {HOSTILE}", ("edited", 3, f"Refunds take 14 days. {HOSTILE} x")),
        *draft(2, "Two premium.", ("accepted", 1, None), ("edited", 2, "Two basic."), ("surveyed", 60, None)),
        *draft(3, "Three.", ("thumbs_down", 1, None)),
        *draft(4, HOSTILE, ("accepted", 1, None), name=HOSTILE),
        event("copied", 60 * 24 * 8, 999, draft_id="last", ticket_id="last"),
    ]
    for one in events:
        one["score"] = 0.5 if one["kind"] == "surveyed" else None
    home = tmp_path_factory.mktemp("home")
    desk = Desk.create(
        home, "desk",
        DeskSettings(
            source="canonical", input=home, policy=str(policy_file), first_day=date(2026, 3, 1), as_of=AS_OF, heldout=0
        ),
    )  # fmt: skip
    rows = [{name: one.get(name) for name in EVENTS.schema.names} for one in events]
    desk.lake.replace(
        EVENTS, pa.Table.from_pylist(rows, schema=EVENTS.schema), sorted({e["arrival_date"] for e in events})
    )
    days = [SHOWN.date()]
    write_interactions(desk.lake, days, as_of=AS_OF)
    write_labels(desk.lake, desk.policy, days, as_of=AS_OF)
    yield desk


@pytest.fixture
def run(desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command in this process, as in a pipe, and return what it prints."""
    monkeypatch.setenv("FEEDBACK_HOME", str(desk.home))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str) -> str:
        main(["policy", *arguments])
        return capsys.readouterr().out

    return run


def test_check_counts_on_the_active_desk_and_warns(run: Callable[..., str], policy_file: Path) -> None:
    said = run("check", str(policy_file))
    assert "on 4 interactions of desk desk, shown 2026-03-02 to 2026-03-02" in said
    rows = {words[0]: words for words in map(str.split, said.splitlines()) if words}
    assert rows["taken"] == ["taken", "desirable", "strong", "1", "3", "3"]
    assert rows["never"] == ["never", "abstain", "1", "0"]
    assert rows["no_rule"] == ["no_rule", "abstain", "0"]
    assert rows["sent_text"] == ["sent_text", "desirable", "strong", "0.5", "2"]
    assert "! rule 'never' holds on 1 interaction and decides none, taken by 'taken' (1)" in said
    assert "! 'surveyed' came on 1 interaction and no rule reads it" in said
    assert max(map(len, said.splitlines())) <= 80


def test_check_in_json_says_the_same(run: Callable[..., str], policy_file: Path) -> None:
    said = json.loads(run("check", str(policy_file), "--json"))
    assert (said["policy"], said["desk"], said["coverage"]["interactions"]) == ("desk", "desk", 4)
    never = said["coverage"]["rules"][2]
    assert (never["rule"], never["holds"], never["decides"], never["taken_by"]) == ("never", 1, 0, {"taken": 1})
    assert [f["kind"] for f in said["findings"] if f["level"] == "warning"] == ["shadowed", "unread_signal"]
    alone = json.loads(run("check", str(policy_file), "--json", "--no-data"))
    assert (alone["desk"], alone["coverage"]) == (None, None)


def test_strict_is_an_exit_status_for_scripts(
    run: Callable[..., str], policy_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run("check", str(policy_file), "--strict")
    assert stopped.value.code == 1
    said = f"feedback-kto: {policy_file} has 2 warnings, which --strict does not allow.\n"
    assert capsys.readouterr().err == said
    assert "no warnings" in run("check", "star.v1", "--strict", "--no-data")
    monkeypatch.setenv("FEEDBACK_HOME", str(policy_file.parent))
    main(["policy", "check", "star.v1", "--strict"])
    assert "not known: no desk's data was read" in capsys.readouterr().out


def test_sql_is_statements_that_run(run: Callable[..., str], policy_file: Path, desk: Desk) -> None:
    labels, sent = run("sql", str(policy_file)).strip().removesuffix(";").split(";\n")
    assert sent.strip().startswith("-- Texts that agents sent in place of a draft")
    with desk.lake.sql(INTERACTIONS) as connection:
        assert connection.execute(f"SELECT count(*) FROM ({labels})").fetchall() == [(4,)]
        assert connection.execute(f"SELECT count(*) FROM ({sent}\n)").fetchall() == [(2,)]
    assert ";" not in run("sql", "star.v1")


def test_explain_tells_the_whole_story(run: Callable[..., str], desk: Desk) -> None:
    made = build_training_set(desk.lake, desk.policy, desk.training_sets, heldout=0.0)
    release = desk.releases / "kto-1"
    release.mkdir(parents=True)
    (release / "manifest.json").write_text(json.dumps({"training_set": {"version": made.version}}))
    said = " ".join(run("explain", "d2").split())
    for part in (
        "desirable by rule 'taken', tier strong, weight 1; final",
        "sent Two [-premium.-] {+basic.+}",
        "+1 min ● accepted",
        "+1 h ● surveyed",
        "✗ down not: thumbs_down_at IS NOT NULL",
        "✓ taken one of these is enough ✓ accepted_at IS NOT NULL ✓ edited_at IS NOT NULL It was sent.",
        "– never would hold",
        "✓ sent_text the sent text is a row of its own: explain d2#sent",
        "It trains as desirable, with weight 1.",
        "pair d2#sent preferred to d2 (train)",
        f"training set {made.version}, desirable/train",
        f"release kto-1, trained on {made.version}",
    ):
        assert part in said
    whole = json.loads(run("explain", "d2#sent", "--json"))
    assert (whole["row_id"], whole["stored"]["rule"], whole["standing"]["fate"]) == ("d2#sent", "sent_text", "kept")
    assert whole["releases"] == [{"id": "kto-1", "training_set": made.version, "champion": False}]
    by_another = run("explain", "d3", "--policy", "star.v1")
    assert re.search(r"Rules of star 1 \([0-9a-f]{12}\)", by_another)
    assert "now" in by_another and "Training, by the stored label" in by_another


def test_explain_tells_apart_what_a_changed_policy_left_behind(
    run: Callable[..., str], desk: Desk, policy_file: Path, tmp_path: Path
) -> None:
    """The same name and version, other rules, and a term that makes an edit factual."""
    made = build_training_set(desk.lake, desk.policy, desk.training_sets, heldout=0.0)
    with_terms = tmp_path / "desk.yaml"
    with_terms.write_text(POLICY.replace("rules:\n", "terms: [nothing, Premium]\nrules:\n  - " + FACTUAL))
    assert "The stored label is by another desk 1; raise `version` in the policy." in run(
        "explain", "d2", "--policy", str(with_terms)
    )
    try:
        write_labels(desk.lake, load_policy(with_terms), [SHOWN.date()], as_of=AS_OF)
        said = " ".join(run("explain", "d2", "--policy", str(with_terms)).split())
        plan = json.loads(run("plan", str(policy_file), "--json"))
    finally:
        write_labels(desk.lake, desk.policy, [SHOWN.date()], as_of=AS_OF)
    assert "undesirable by rule 'factual'" in said
    assert "edit_kind factual by the term 'Premium' (wording without)" in said
    assert f"training set {made.version}, desirable/train (before the label changed)" in said
    [example] = [row for row in plan["examples"] if row["draft_id"] == "d2"]
    assert example["before"]["signals"] == {"edit_kind": "factual"}
    assert example["before"]["term_edit"] == {"terms": ["Premium"], "without": "wording"}
    assert example["after"]["term_edit"] is None


def audited(
    explanation: Explanation, outcome: Outcome = "failed", by: str = HOSTILE, note: str = HOSTILE, **gate: Any
) -> Explanation:
    """The same row, with what readers said of it and what the gate makes of its tier."""
    said: dict[str, Any] = {
        "reviewer": by, "reason": "tone", "note": note, "recorded_at": AS_OF,
        "rule": "never", "label": "abstain",
    }  # fmt: skip
    verdicts = [
        RowVerdict(verdict="undesirable", origin="review", why_not=None, **said),
        RowVerdict(verdict="unsure", origin="simulated", why_not="read by a person", **said),
    ]
    found = TierOutcome(required=0.6, precision=0.67, low=0.52, outcome=outcome)
    made: dict[str, Any] = {"asked": True, "passed": True, "tiers": {"strong": found, "explicit": found}, "missing": {}}
    return replace(explanation, readings=verdicts, gate=AuditGate(**made | gate))


def test_explain_says_who_read_the_row_and_what_the_gate_makes_of_its_tier_now(desk: Desk) -> None:
    explanation = explain(
        desk.lake, desk.policy, "d3", deployed=desk.policy, training_sets=desk.training_sets, now=AS_OF, heldout=0.0
    )
    override = Override(override_id="o", who="Dora", why="the launch", expires_at=AS_OF)

    def told(explanation: Explanation) -> str:
        console = Console(file=io.StringIO(), width=80)
        show_explanation(explanation, desk.policy, [], console, full=False)
        return " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]

    assert "gate now" not in told(explanation) and "readers" not in told(explanation)
    said = told(audited(explanation, by="Ann", note="so", excluded=("explicit",)))
    assert "It trains as undesirable" in said, "whether the tier is excluded is for explain to say"
    assert "gate now tier explicit failed: at least 52.0% are right, and the policy requires 60.0%" in said
    assert "undesirable, It is rude, cold or out of place, “so”; 2026-03-11 12:00" in said
    assert "can't tell, It is rude" in said and "simulated: nobody read it" in said
    assert "no longer counts: a person has read the row" in said and "the label was abstain then, by 'never'" in said
    said = told(audited(explanation, "overridden", override=override, simulated=True))
    assert "tier explicit is overridden: " in said and "Dora opened it until 2026-03-11 12:00 UTC: the launch" in said
    assert "simulated verdicts count here" in said
    closed = audited(explanation, "undecided", passed=False, reasons=("57 rows are still to be read",))
    assert "It does not train: the audit's gate is closed, so nothing trains." in told(closed)
    assert "closed: 57 rows are still to be read" in told(closed) and not closed.trains


def test_what_explain_prints_can_be_copied(desk: Desk) -> None:
    place = "region=eu/desk=support/year=2026/month=03/day=02/part-00000-3f2b6c1e-c000.jsonl.gz"
    explanation = explain(
        desk.lake, desk.policy, "d1", deployed=desk.policy, training_sets=desk.training_sets, now=AS_OF, heldout=0.0
    )
    moments = [replace(moment, file=place) for moment in explanation.moments]
    for width in (80, 320):
        console = Console(file=io.StringIO(), width=width)
        show_explanation(replace(explanation, moments=moments), desk.policy, [], console, full=False)
        lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert [line for line in lines if line != line.rstrip()] == []
        of_places = [line.split() for line in lines if place in line]
        assert [words[-1] for words in of_places] == [f"{place}:{moment.line}" for moment in moments]
        assert {len(words) == 1 for words in of_places} == {width == 80}


def seen(text: str) -> list[str]:
    """The characters that are not there to be seen, but for line ends and the terminal's own colours."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    return [c for c in plain if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c != "\n"]


@pytest.mark.parametrize("row_id", ["d1", "d1#sent", "d2", "d3", HOSTILE], ids=ascii)
@pytest.mark.parametrize(("terminal", "width", "full"), [(True, 80, False), (False, 120, True)])
def test_hostile_texts_are_shown_as_text(desk: Desk, row_id: str, terminal: bool, width: int, full: bool) -> None:
    explanation = explain(
        desk.lake, desk.policy, row_id, deployed=desk.policy, training_sets=desk.training_sets, now=AS_OF, heldout=0.0
    )
    override = Override(override_id="o", who=HOSTILE, why=HOSTILE, expires_at=AS_OF)
    explanation = audited(explanation, "overridden", override=override)
    console = Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system="truecolor")
    show_explanation(explanation, desk.policy, [], console, full=full)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert seen(said) == []
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    assert "[bold red]c[/][link=http://x]d :bomb:" in " ".join(plain.split())
    places = {f"{visible(moment.file)}:{moment.line}" for moment in explanation.moments}
    # A place is never broken, so that it can be copied; a terminal breaks it without harm.
    assert max(len(line) for line in plain.splitlines() if line.strip() not in places) <= width
    assert "http://x" in plain and "\x1b]8" not in said, "a link is text"


@given(st.text())
def test_whatever_cannot_be_seen_is_spelled_out(text: str) -> None:
    assert [c for c in visible(text, lines=True) if c != "\n" and not (c.isprintable() or c.isspace())] == []
    assert seen(visible(text)) == []
    assert "\n" not in visible(text)


WORDS = st.lists(st.sampled_from(["refund", "30", "14", "days.", "not"]), max_size=8)


@given(WORDS, WORDS)
def test_a_diff_holds_both_texts(before: list[str], after: list[str]) -> None:
    words = word_diff(" ".join(before), " ".join(after), full=True).plain
    taken = re.sub(r"\{\+.*?\+\}", "", words).replace("[-", "").replace("-]", "")
    put = re.sub(r"\[-.*?-\]", "", words).replace("{+", "").replace("+}", "")
    assert (taken.split(), put.split()) == (before, after)


def test_long_texts_are_cut_and_say_so() -> None:
    diff = word_diff("one " + "same " * 100 + "two", "1 " + "same " * 100 + "2", full=False).plain
    assert diff.startswith("[-one-] {+1+} same") and diff.endswith("[-two-] {+2+}")
    assert "… (76 words as drafted) " in diff
    assert shorten("x" * 641, 600).endswith("… (41 more characters; --full shows them)")
    assert shorten("x" * 640, 600) == shorten("x" * 640, None) == "x" * 640


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.6, "1 min"), (90, "1 min 30 s"), (3600, "1 h"), (86_400 * 5 + 7_300, "5 d 2 h"), (-120, "2 min")],
)
def test_spans_read_as_people_say_them(seconds: float, said: str) -> None:
    assert span(timedelta(seconds=seconds)) == said
