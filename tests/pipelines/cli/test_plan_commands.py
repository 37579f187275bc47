"""`feedback-kto policy plan` and `policy apply`, as a person uses them, and the run that applies on a real instance."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from desk.desk import Desk
from desk.settings import DeskSettings
from desk.settings_edit import name_policy
from feedback.audits.overrides import open_gate
from feedback.audits.sample import write_audit_sample
from feedback.audits.verdicts import Verdict, append_verdicts
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.labels.ledger import days_behind
from feedback.lake.tables import EVENTS, LABELS
from pipelines.cli.main import cli

DAYS = [date(2026, 3, 2) + timedelta(days=day) for day in range(3)]
NOW = datetime(2026, 3, 20, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script> \u202egnp.exe {{ 7 * 7 }} [bold]"
POLICY = """\
name: desk
version: 1
description: for a test
owner: nobody
rules:
  - {id: down, when: thumbs_down_at IS NOT NULL, label: undesirable, tier: explicit, weight: 1.0, why: Thumb down.}
  - {id: accepted, when: accepted_at IS NOT NULL, label: desirable, tier: strong, weight: 1.0, why: It was <b>sent</b>.}
"""
FROM_THE_3RD = """  - id: later
    when: shown_at >= TIMESTAMPTZ '2026-03-03 00:00:00+00' AND accepted_at IS NOT NULL
    label: abstain
    why: Later than the 3rd.
"""


def drafts() -> list[dict[str, Any]]:
    rows = []
    for number in range(30):
        shown = datetime(2026, 3, 2, 9, tzinfo=UTC) + timedelta(days=number % 3, minutes=number)
        about = {"ticket_id": f"t{number}", "draft_id": f"d{number}{HOSTILE if number == 4 else ''}", "source": "test"}
        said = {"prompt": [{"role": "user", "content": HOSTILE}], "completion": HOSTILE, "category": HOSTILE}
        for kind, at in (
            ("draft_shown", shown),
            ("accepted" if number % 5 else "thumbs_down", shown + timedelta(minutes=1)),
        ):
            rows.append(
                {
                    **dict.fromkeys(EVENTS.schema.names), "event_id": f"{number}-{kind}", "kind": kind,
                    "line": len(rows), "occurred_at": at, "received_at": at, "arrival_date": at.date(),
                    "file": "log.jsonl", **about, **(said if kind == "draft_shown" else {}),
                }
            )  # fmt: skip
    return rows


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A labelled desk with a policy file of its own, and a comment in its settings."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    settings = DeskSettings(
        source="canonical", input=tmp_path, policy=str(path), first_day=DAYS[0], as_of=NOW, lookback_days=7
    )
    desk = Desk.create(tmp_path / "home", "desk", settings)
    written = desk.path / "desk.yaml"
    written.write_text("# mine\n" + written.read_text().replace("policy:", "policy:   "))
    monkeypatch.setenv("FEEDBACK_HOME", str(desk.home))
    monkeypatch.setenv("COLUMNS", "130")
    desk.lake.replace(EVENTS, pa.Table.from_pylist(drafts(), schema=EVENTS.schema), DAYS)
    write_interactions(desk.lake, DAYS, as_of=NOW)
    write_labels(desk.lake, desk.policy, DAYS, as_of=NOW)
    return desk


@pytest.fixture
def edited(desk: Desk, tmp_path: Path) -> Path:
    """Another policy, that changes the second day and the third."""
    path = tmp_path / "edited.yaml"
    path.write_text(POLICY.replace("version: 1", "version: 2").replace("rules:\n", "rules:\n" + FROM_THE_3RD))
    return path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["policy", *map(str, arguments)])


def test_a_policy_that_was_edited_in_place_is_planned_without_arguments(desk: Desk) -> None:
    unchanged = call("plan").output
    assert "No label changes: desk 1" in unchanged
    assert unchanged.endswith("Nothing was written.\nThere is nothing to apply.\n")
    path = Path(desk.settings.policy)
    path.write_text(POLICY.replace("weight: 1.0, why: Thumb", "weight: 0.5, why: Thumb"))
    said = call("plan")
    assert said.exit_code == 0, said.output
    assert "6 of 30 labels change weight, on 3 of 3 days." in said.output
    assert "Nothing was written." in said.output
    assert re.search("`feedback-kto policy apply --plan i.*` makes exactly this change", said.output)
    assert "The stored labels are by another desk 1; raise `version` in the new one" in said.output
    [warning] = json.loads(call("plan", "--json").stdout)["warnings"]
    assert warning.startswith("The stored labels are by another desk 1; raise `version`")
    path.write_text(POLICY + "training: {tiers: [explicit]}\n")
    assert "` makes it the desk's policy, and changes no label" in call("plan").output


def test_rows_and_page_go_where_a_file_can_be(desk: Desk, edited: Path, tmp_path: Path) -> None:
    rows = tmp_path / "it's rows.parquet"
    done = call("plan", edited, "--rows", rows, "--html", tmp_path / "page.html")
    assert f"The page is {tmp_path}/page.html and the rows that change are in {rows}; nothing else" in done.output
    table = pq.read_table(rows)
    assert table.num_rows == 16
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["before_rule"], first["before_label"], first["after_label"]) == ("accepted", "desirable", "abstain")
    assert table.column("shown_date").to_pylist() == sorted(table.column("shown_date").to_pylist())
    for bad in (tmp_path, tmp_path / "nowhere" / "x.html"):
        for option in ("--html", "--rows"):
            said = str(call("plan", edited, option, bad).exception)
            assert said == f"{bad} cannot be written; name a file in a folder that exists and that you may write to"


def test_json_and_page_hold_the_whole_plan(desk: Desk, edited: Path, tmp_path: Path) -> None:
    page = tmp_path / "plan.html"
    done = call("plan", edited, "--json", "--html", page)
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert plan["headline"] == [
        "16 of 30 labels get another label, on 2 of 3 days.",
        "16 that trained as desirable no longer train.",
    ]
    assert plan["labels"] == [
        {"before": "desirable", "after": "abstain", "rows": 16},
        {"before": "desirable", "after": "desirable", "rows": 8},
        {"before": "undesirable", "after": "undesirable", "rows": 6},
    ]
    assert [(row["day"], row["changed"]) for row in plan["days"]] == [
        (str(DAYS[0]), 0),
        (str(DAYS[1]), 8),
        (str(DAYS[2]), 8),
    ]
    assert plan["balance"]["after"]["lambda_bounds"]["desirable_weight"] == [0.75, 1.125]
    assert len(plan["examples"]) == 16
    assert [policy["version"] for policy in (*plan["before"], plan["after"])] == [1, 2]

    text = page.read_text(encoding="utf-8")
    tags = Tags()
    tags.feed(text)
    assert not {"script", "img", "link", "iframe", "b", "form"} & set(tags.seen), "nothing comes from outside, or runs"
    assert tags.open == [], "every element is closed"
    assert "http://" not in text and "https://" not in text
    assert "&lt;script&gt;alert" in text and "&lt;U+202E&gt;" in text and "{{ 7 * 7 }}" in text
    assert tags.seen.count("article") == 16
    assert tags.seen.count("table") == tags.seen.count("caption")
    assert plan["headline"][0] in text and plan["id"] in text
    assert plan["warnings"] == [] and 'class="warning"' not in text


AUDIT = "audit: {per_class: 4, precision: {explicit: 0.3, strong: 0.3}}\n"


@pytest.fixture
def audited(desk: Desk) -> Desk:
    """The desk with an audit: of what was drawn, people contradict the thumbs and a few other labels."""
    Path(desk.settings.policy).write_text(POLICY + AUDIT)
    desk = Desk.active()
    write_labels(desk.lake, desk.policy, DAYS, as_of=NOW)
    rows = write_audit_sample(desk.lake, desk.policy, seed=desk.settings.audit_seed).to_pylist()
    said = [Verdict(draft_id=row["draft_id"], reviewer="Bo", verdict="desirable") for row in rows]
    append_verdicts(desk.lake, said, origin="review")
    return desk


def test_the_gate_of_both_sides_is_in_every_form_of_the_plan(audited: Desk, tmp_path: Path) -> None:
    new, page = tmp_path / "new.yaml", tmp_path / "plan.html"
    new.write_text(POLICY.replace("version: 1", "version: 2") + AUDIT.replace("4", "20"))
    plain = call("plan", new, "--html", page)
    said = " ".join(plain.output.split())
    assert "The audit's gate is open for desk 1, but tier explicit does not train. Tier explicit: 0.0% of" in said
    assert "For desk 2, once its sample is drawn (`feedback-kto audit draw`), the audit's gate is closed: " in said
    assert re.search(r"\d+ desirable \(of 20\) .*rows that the policy asks for are still to be read", said)
    assert "before 24 0 none, since a class is empty without explicit" in said
    assert "--gate closed-no-explicit` makes it the desk's policy" in said
    for sentence in ("The audit&#39;s gate is open for desk 1", "the audit&#39;s gate is closed", "before, without"):
        assert sentence in page.read_text()
    plan = json.loads(call("plan", new, "--json").stdout)
    gates = plan["gates"]
    assert (gates["before"]["passed"], gates["before"]["excluded"]) == (True, ["explicit"])
    assert gates["after"]["missing"]["desirable"] > 0
    assert plan["balance"]["before"]["undesirable"] == 0
    # What both say is said once.
    assert "The audit's gate is open before and after, but tier explicit does not train." in call("plan").output


def test_commands_are_named_with_the_home_that_was_given(audited: Desk, edited: Path) -> None:
    home = ["--home", str(audited.home)]
    said = CliRunner().invoke(cli, [*home, "policy", "plan", str(edited)], env={"FEEDBACK_HOME": "/nowhere"}).output
    assert f"`feedback-kto --home {audited.home} policy apply {edited} --plan i" in said
    page = edited.parent / "page.html"
    CliRunner().invoke(cli, [*home, "policy", "plan", str(edited), "--html", str(page)])
    assert f"<code>feedback-kto --home {audited.home} policy apply {edited}" in page.read_text()


def test_an_override_that_ends_is_announced_and_listed(audited: Desk, tmp_path: Path) -> None:
    hostile = "the launch \u202e[bold]"
    open_gate(audited.lake, audited.policy, who="Ann", why=hostile, tiers=["explicit"])
    new = tmp_path / "new.yaml"
    new.write_text(POLICY.replace("version: 1", "version: 2") + AUDIT.replace("explicit: 0.3", "explicit: 0.4"))
    [warning] = json.loads(call("plan", new, "--json").stdout)["warnings"]
    assert warning.startswith("The override by Ann (the launch <U+202E>[bold]), for tier explicit until ")
    assert warning.endswith(
        "ends: it holds for desk 1 only; renew it with `feedback-kto audit override --who … --why … --tier explicit`."
    )
    assert "`feedback-kto audit override --who … --why … --tier explicit`." in call("plan", new).output
    assert "ends: it holds for desk 1 only" in " ".join(call("apply", new).output.split()), "before it asks"
    new.write_text(POLICY.replace("version: 1", "version: 2"))
    [warning] = json.loads(call("plan", new, "--json").stdout)["warnings"]
    assert warning.endswith("only, and the new policy's gate does not need it.")

    def audit(*arguments: str) -> str:
        return " ".join(CliRunner().invoke(cli, ["audit", *arguments]).output.split())

    assert "The gate is open. Ann opened it until" in audit("status")
    assert json.loads(audit("status", "--json"))["override"]["who"] == "Ann"
    Path(audited.settings.policy).write_text(POLICY + AUDIT.replace("4", "5"))
    status = audit("status")
    assert "The gate is closed." in status and "Ann" not in status
    assert "Overrides that no longer hold: by Ann (the launch <U+202E>[bold]), for tier" in audit("report")
    [former] = json.loads(audit("report", "--json"))["former_overrides"]
    assert (former["who"], former["why_not"]) == ("Ann", "another policy")
    assert former["policy"] == f"desk 1 ({audited.policy.digest[:12]})"
    audit("report", "--html", str(tmp_path / "report.html"))
    assert "by Ann (the launch &lt;U+202E&gt;[bold])" in (tmp_path / "report.html").read_text()


def test_apply_says_if_the_gate_has_moved_since_the_plan(audited: Desk, tmp_path: Path) -> None:
    new = tmp_path / "new.yaml"
    new.write_text(POLICY.replace("version: 1", "version: 2") + AUDIT)
    plan = json.loads(call("plan", new, "--json").stdout)["id"]
    assert "since that plan" not in call("apply", new, "--plan", plan, "--gate", "open-no-explicit").output
    said = " ".join(call("apply", new, "--plan", plan, "--gate", "closed").output.split())
    assert "The gate has changed since that plan was made: from closed to open-no-explicit." in said
    assert "add --yes" in said, "and it goes on"
    refused = str(call("apply", new, "--gate", "shut").exception)
    assert refused == "'shut' is no outcome of a gate; copy --gate from the plan's last line"


class Tags(HTMLParser):
    """The elements of a page, and those that were never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_old_and_new_are_files_shipped_names_or_digests(desk: Desk, edited: Path) -> None:
    digest = desk.policy.digest[:10]
    assert "desk 2" in call("plan", digest, edited).output
    assert "16 of 30 labels" in call("plan", edited, digest).output
    assert "policy apply" not in call("plan", digest, edited).output, "what is stored is not part of it"
    assert "harbor-support 1" in call("plan", "harbor-support.v1").output
    assert "no policy that labelled" in str(call("plan", "abcdef").exception)
    said = str(call("plan", "harbor-suport.v1").exception)
    assert "'harbor-suport.v1' is neither a file, a shipped policy (coauthor.v1, " in said
    assert said.endswith(
        "nor six or more digits of the digest of a policy that has labelled here; did you mean harbor-support.v1?"
    )
    for name in ("ca57b", edited.parent):
        assert "is neither a file, a shipped policy" in str(call("plan", name).exception)
    assert f"did you mean {edited}?" in str(call("explain", "d1", "--policy", str(edited)[:-1]).exception)
    for command in (["check", digest], ["sql", digest], ["explain", "d1", "--policy", digest]):
        assert call(*command).exit_code == 0


def test_applying_is_one_run_over_just_the_days_that_change(
    desk: Desk, edited: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", environment["DAGSTER_HOME"])
    stale = call("apply", edited, "--plan", "i0-l9-0123456789abcdef", "--yes")
    assert "since plan i0-l9-0123456789abcdef (version 0 then" in str(stale.exception)
    assert "add --yes" in call("apply", edited).output
    plan = json.loads(call("plan", edited, "--json").stdout)
    version = desk.lake.version(LABELS) or 0

    done = call("apply", edited, "--plan", plan["id"], "--yes")
    assert done.exit_code == 0, done.output
    assert "16 labels on 2 days changed as planned, row for row; 1 day confirmed as they are" in done.stdout

    assert desk.lake.version(LABELS) == version + 1, "one commit"
    now = Desk.active()
    assert now.settings.policy == str(edited)
    assert (now.path / "desk.yaml").read_text().startswith("# mine\nsource: canonical\n")
    assert days_behind(now.lake, now.policy) == ([], 3)
    with dg.DagsterInstance.from_config(environment["DAGSTER_HOME"]) as instance:
        [record] = instance.get_run_records(limit=1)
        assert (record.dagster_run.job_name, record.dagster_run.status) == (
            "apply_policy",
            dg.DagsterRunStatus.SUCCESS,
        )
        events = [
            entry.event_log_entry.dagster_event
            for entry in instance.get_records_for_run(record.dagster_run.run_id).records
        ]
    made = [
        event.step_materialization_data.materialization for event in events if event and event.is_step_materialization
    ]
    assert [(item.asset_key.path, item.partition) for item in made] == [(["labels"], str(day)) for day in DAYS[1:]]
    assert made[0].metadata["abstain"].value == 8
    assert made[0].metadata["dagster/partition_row_count"].value == 10
    assert made[-1].metadata["policy digest"].value == now.policy.digest
    [check] = [
        event.asset_check_evaluation_data
        for event in events
        if event and event.event_type_value == "ASSET_CHECK_EVALUATION"
    ]
    assert (check.check_name, check.passed, check.description) == ("one_policy", True, "0 of 3 days behind desk v2")
    assert "There is nothing to do." in call("apply").output
    again = call("apply", edited, "--plan", plan["id"], "--yes")
    assert "they are by this policy already" in str(again.exception)


def test_a_policy_that_labelled_is_found_by_its_digest_though_its_file_is_broken(desk: Desk) -> None:
    digest = desk.policy.digest
    Path(desk.settings.policy).write_text("gone")
    assert f"No label changes: desk 1 ({digest[:12]})" in call("plan", digest[:10]).output
    assert f"desk.v1-{digest[:12]}.yaml as the desk's policy" in call("apply", digest[:10]).output
    assert "a policy is a mapping" in str(call("plan").exception)


@pytest.mark.parametrize("written", ["policy: old.yaml", "policy:   'old.yaml'   # why", '"policy": "old.yaml"'])
def test_one_setting_is_changed_and_the_rest_stays(tmp_path: Path, written: str) -> None:
    settings = DeskSettings(source="canonical", input=tmp_path, policy="old.yaml", first_day=DAYS[0])
    desk = Desk.create(tmp_path, "desk", settings)
    path = desk.path / "desk.yaml"
    path.write_text(f"source: canonical # policy: x\ninput: /in\n{written}\nfirst_day: 2026-03-02\n")
    head, tail = path.read_text().split("old.yaml")
    name_policy(Desk(tmp_path, "desk"), "/new place/it's: new.yaml")
    assert Desk(tmp_path, "desk").settings.policy == "/new place/it's: new.yaml"
    changed = path.read_text()
    assert changed.startswith(head.rstrip("'\"")) and changed.endswith(tail.lstrip("'\""))
