"""Why a row has its label: one draft, all that is known of it, and every rule, read from the lake without writing.

A row is a draft, what an agent sent in its place (`<draft_id>#sent`), or one text of a ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from feedback.exceptions import FeedbackError
from feedback.history.row_fate import Holding, RowFate, find_holdings, read_row_fate
from feedback.history.row_verdicts import Reading, read_verdicts
from feedback.labels.labels import view_labels
from feedback.labels.timeline import Moment, Window, read_moments, read_windows
from feedback.lake.damage import READ_ERRORS, name_set_damage
from feedback.lake.delta import Lake
from feedback.lake.event_schema import SENT_SUFFIX
from feedback.lake.parquet_scan import view_stored
from feedback.lake.tables import CORRECTIONS, EVENTS, INTERACTIONS, LABELS
from feedback.policy_changes.term_edits import TermEdit, find_term_edit
from label_policy import RANKING_SIGNALS, Policy
from label_policy.audits.audit_gate import AuditGate
from label_policy.engines.trace import RuleTrace, awaited_windows, trace_rules, trace_sent_text
from label_policy.schema.columns import SECONDS_TO_READ

_MOST_NAMED = 3
_VERDICT = "rule, label, tier, weight, state, matures_at, policy, policy_version, policy_digest, as_of"

# What a condition may compare and that is neither a time nor a text: the timeline and the texts are shown themselves.
_MEASURES = ("edit_kind", "edit_similarity", "seconds_to_decision", "survey_score", "reasons", "extra")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A row's label with all that goes with it; `as_of` is the moment that decided whether it is final."""

    rule: str
    label: str
    tier: str | None
    weight: float
    state: str
    matures_at: datetime
    policy: str
    policy_version: int
    policy_digest: str
    as_of: datetime

    def says_the_same(self, other: Verdict) -> bool:
        """Whether both give the row the same label, tier and weight by the same rule."""
        return (self.rule, self.label, self.tier, self.weight) == (other.rule, other.label, other.tier, other.weight)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that is known of one row.

    Attributes:
        row_id: the row that was asked for.
        draft: the row of `INTERACTIONS` behind it; of a `#sent` row, the draft's.
        other_text: the text that was shown beside it in a ranking, if it is one of a ranking.
        now: the moment as of which everything is said.
        moments: what happened, in order.
        windows: what the label waits for.
        measures: what the rules may compare besides times and texts, as the policy sees it; nulls are left out.
        term_edit: why the edit is factual, where that is because of the policy's terms.
        rules: what every rule of the policy says of the draft.
        sent_text: whether what was sent in the draft's place is a row of its own; None where the policy has no such
            section.
        stored: the label in the lake, if there is one.
        computed: what the policy that was asked says now; None where it makes no such row.
        corrections: rows of `CORRECTIONS` about it, the oldest first.
        standing: whether the stored label trains under the desk's policy, and why not.
        holdings: the newest training sets that hold it, or the row that stands for its text.
        unsearched: how many older training sets were not looked into.
        readings: what people, or simulated readers, say of the row.
        gate: what the audit makes of the labels now, whatever it made of them when those sets were built; None where it
            was not asked.

    """

    row_id: str
    draft: dict[str, Any]
    other_text: str | None
    now: datetime
    moments: list[Moment]
    windows: list[Window]
    measures: dict[str, Any]
    term_edit: TermEdit | None
    rules: list[RuleTrace]
    sent_text: RuleTrace | None
    stored: Verdict | None
    computed: Verdict | None
    corrections: list[dict[str, Any]]
    standing: RowFate
    holdings: list[Holding]
    unsearched: int
    readings: list[Reading]
    gate: AuditGate | None

    @property
    def trains(self) -> bool:
        """Whether a training set built now would be trained on and hold the row itself."""
        return self.standing.trains and (self.gate is None or self.gate.passed)

    @property
    def is_sent_text(self) -> bool:
        """Whether the row is what an agent sent in the draft's place."""
        return bool(self.row_id != self.draft["draft_id"])


def explain(
    lake: Lake,
    policy: Policy,
    row_id: str,
    *,
    deployed: Policy,
    training_sets: Path,
    now: datetime,
    heldout: float,
    salt: str = "heldout",
    gate: AuditGate | None = None,
    simulated: bool = False,
) -> Explanation:
    """Gather all that is known of one row.

    Args:
        lake: the desk's.
        policy: the policy whose rules are tried.
        row_id: a draft's id, a draft's id and `#sent`, or a ranking's event id and `#preferred` or `#other`.
        deployed: the desk's policy, which says what trains.
        training_sets: folder of the desk's training sets.
        now: aware datetime: the moment that decides which labels are final.
        heldout: share of tickets that training never sees.
        salt: changes which tickets those are.
        gate: what the audit makes of the desk's labels now (`feedback.audits.label_quality.decide`).
        simulated: whether verdicts that nobody gave count on this desk.

    Raises:
        FeedbackError: there is no such row; the message names near ones.

    """
    with lake.sql(CORRECTIONS) as connection:
        for table in (EVENTS, INTERACTIONS, LABELS):
            view_stored(connection, lake, table)
        draft = _find_draft(connection, row_id, lake)
        _label(connection, policy, draft, now)
        rules = trace_rules(connection, policy, relation="draft")
        sent_text = trace_sent_text(connection, policy, relation="draft") if policy.sent_text else None
        stored = _verdict(connection, "labels", row_id, draft)
        computed = _verdict(connection, "verdicts", row_id, draft)
        if not (stored or computed):
            raise _no_sent_text(draft["draft_id"], policy, sent_text)
        decided = computed or stored
        excluded = gate.excluded if gate else ()
        standing = read_row_fate(
            lake, deployed, row_id, day=draft["shown_date"], heldout=heldout, salt=salt, excluded=excluded
        )
        holdings, unsearched = _holdings(training_sets, [row_id, *standing.stands_for])
        return Explanation(
            row_id=row_id,
            draft=draft,
            other_text=_other_text(connection, draft),
            now=now,
            moments=read_moments(connection, draft),
            windows=read_windows(draft, awaited_windows(policy, decided.rule)) if decided else [],
            measures=_measures(connection, policy),
            term_edit=find_term_edit(policy, draft),
            rules=rules,
            sent_text=sent_text,
            stored=stored,
            computed=computed,
            corrections=_corrections(connection, row_id),
            standing=standing,
            holdings=holdings,
            unsearched=unsearched,
            readings=read_verdicts(lake, row_id, policy_digest=deployed.digest, simulated=simulated),
            gate=gate,
        )


def _find_draft(connection: duckdb.DuckDBPyConnection, row_id: str, lake: Lake) -> dict[str, Any]:
    """The interaction behind a row; an id of the log's own that ends like one of ours comes first."""
    # Narrow columns first: a row with its texts is then read from its day alone.
    found = connection.execute(
        "SELECT draft_id, shown_date FROM interactions WHERE draft_id IN ($row, $draft)"
        " ORDER BY draft_id = $row DESC, shown_date LIMIT 1",
        {"row": row_id, "draft": row_id.removesuffix(SENT_SUFFIX)},
    ).fetchall()
    if not found:
        desk = lake.root.parent
        raise FeedbackError(f"on desk {desk.name} ({desk}) {_unknown(connection, row_id)}")
    [draft] = _rows(connection, "SELECT * FROM interactions WHERE draft_id = $1 AND shown_date = $2", *found[0])
    return draft


def _unknown(connection: duckdb.DuckDBPyConnection, row_id: str) -> str:
    """Why there is no such row, and which there are."""
    stored = connection.execute("SELECT count(*) FROM interactions").fetchall()[0][0]
    if not stored:
        return "there are no interactions yet; `feedback-kto run` makes them from the raw logs"
    of_ticket = connection.execute(
        "SELECT draft_id FROM interactions WHERE ticket_id = $1 ORDER BY shown_at, draft_id LIMIT $2",
        [row_id, _MOST_NAMED],
    ).fetchall()
    if of_ticket:
        return f"{_quoted(row_id)} is a ticket; explain one of its drafts, such as {_listed(of_ticket)}"
    of_event = connection.execute(
        "SELECT draft_id FROM interactions WHERE list_contains(evidence, $1) ORDER BY draft_id LIMIT $2",
        [row_id, _MOST_NAMED],
    ).fetchall()
    if of_event:
        return f"{_quoted(row_id)} is an event; explain the draft that it is about, such as {_listed(of_event)}"
    near = connection.execute(
        "SELECT draft_id FROM interactions WHERE levenshtein(draft_id, $1) <= $2"
        " ORDER BY levenshtein(draft_id, $1), draft_id LIMIT $3",
        [row_id, max(1, len(row_id) // 5), _MOST_NAMED],
    ).fetchall()
    if near:
        return f"there is no draft {_quoted(row_id)}; near it are {_listed(near)}"
    return (
        f"there is no draft {_quoted(row_id)} among {stored:,} interactions; give a draft_id of its raw logs "
        "or a row_id of its training sets, or choose another desk with `feedback-kto use`"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _listed(rows: Sequence[tuple[str]]) -> str:
    return ", ".join(_quoted(draft_id) for (draft_id,) in rows)


def _label(connection: duckdb.DuckDBPyConnection, policy: Policy, draft: dict[str, Any], now: datetime) -> None:
    """Make the tables `verdicts`, what the policy says of the draft and its sent text, and `draft`, the draft's row."""
    view_labels(connection, policy, name="labelled", days=[draft["shown_date"]], as_of=now)
    draft_id = draft["draft_id"]
    connection.execute(
        "CREATE TEMP TABLE verdicts AS SELECT * FROM labelled WHERE draft_id IN ($1, $2)",
        [draft_id, draft_id + SENT_SUFFIX],
    )
    # With the columns as the policy sees them: an edit that changes one of its terms is factual.
    connection.execute("CREATE TEMP TABLE draft AS SELECT * FROM verdicts WHERE draft_id = $1", [draft_id])


def _verdict(
    connection: duckdb.DuckDBPyConnection, relation: str, row_id: str, draft: dict[str, Any]
) -> Verdict | None:
    query = f"SELECT {_VERDICT} FROM {relation} WHERE draft_id = $1 AND shown_date = $2"
    found = _rows(connection, query, row_id, draft["shown_date"])
    return Verdict(**found[0]) if found else None


def _no_sent_text(draft_id: str, policy: Policy, sent_text: RuleTrace | None) -> FeedbackError:
    if sent_text is None:
        why = f"policy {policy.id} has no sent_text section"
    else:
        failing = next(part.text for part in sent_text.parts if not part.holds)
        why = f"policy {policy.id} makes one only where {failing}"
    return FeedbackError(
        f"there is no row of what was sent in place of {_quoted(draft_id)}: {why}; "
        f"explain {_quoted(draft_id)} for the draft itself"
    )


def _other_text(connection: duckdb.DuckDBPyConnection, draft: dict[str, Any]) -> str | None:
    """The text that was shown beside this one, if the row is a side of a ranking."""
    if not any(draft[f"{signal}_at"] for signal in RANKING_SIGNALS):
        return None
    # Both sides are made from the one event that ranked them.
    rows = connection.execute(
        "SELECT completion FROM interactions WHERE shown_date = $1 AND draft_id <> $2 AND evidence = $3",
        [draft["shown_date"], draft["draft_id"], draft["evidence"]],
    ).fetchall()
    return str(rows[0][0]) if rows else None


def _holdings(training_sets: Path, row_ids: Sequence[str]) -> tuple[list[Holding], int]:
    """As `find_holdings`, with the damaged file named where one keeps it from being done."""
    try:
        return find_holdings(training_sets, row_ids)
    except READ_ERRORS as error:
        folders = sorted(manifest.parent for manifest in training_sets.glob("*/manifest.json"))
        damage = next(filter(None, map(name_set_damage, folders)), None)
        raise damage or error from error


def _measures(connection: duckdb.DuckDBPyConnection, policy: Policy) -> dict[str, Any]:
    columns = list(_MEASURES)
    if policy.reading_speed:
        columns.append(f"length(completion) / {policy.reading_speed!r} AS {SECONDS_TO_READ}")
    [row] = _rows(connection, f"SELECT {', '.join(columns)} FROM draft")
    return {name: value for name, value in row.items() if value not in (None, [])}


def _corrections(connection: duckdb.DuckDBPyConnection, row_id: str) -> list[dict[str, Any]]:
    return _rows(connection, "SELECT * FROM corrections WHERE draft_id = $1 ORDER BY recorded_at", row_id)


def _rows(connection: duckdb.DuckDBPyConnection, query: str, *parameters: object) -> list[dict[str, Any]]:
    return list(connection.sql(query, params=list(parameters)).to_arrow_table().to_pylist())
