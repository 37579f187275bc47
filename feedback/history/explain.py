"""Explain why a row has its label: its draft, its events and every rule's result, read from the lake without writing.

A row is a draft, the text that an agent sent in its place (`<draft_id>#sent`), or one text of a ranking.
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
from feedback.history.row_verdicts import RowVerdict, read_verdicts
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
_LABEL_COLUMNS = "rule, label, tier, weight, state, matures_at, policy, policy_version, policy_digest, as_of"

# Columns that a condition may compare, without times and texts: those are shown on their own.
_MEASURES = ("edit_kind", "edit_similarity", "seconds_to_decision", "survey_score", "reasons", "extra")


@dataclass(frozen=True, kw_only=True)
class RowLabel:
    """A row's label with its rule, policy and state; `as_of` is the moment that decided whether it is final."""

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

    def agrees_with(self, other: RowLabel) -> bool:
        """Return whether both give the row the same label, tier and weight by the same rule."""
        return (self.rule, self.label, self.tier, self.weight) == (other.rule, other.label, other.tier, other.weight)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The label of one row and everything behind it.

    Attributes:
        row_id: the explained row.
        draft: its row of `INTERACTIONS`; for a `#sent` row, the draft's.
        other_text: the text that was shown beside it, if the row is one of a ranking.
        now: the moment that the explanation is as of.
        moments: what happened, in order.
        windows: the windows that the label waits for.
        measures: the values that the rules may compare besides times and texts, as the policy sees them; nulls are left
            out.
        term_edit: the policy's terms that make the edit factual, if they do.
        rules: the result of every rule of the policy on the draft.
        sent_text: whether the text sent in the draft's place is a row of its own; None where the policy has no such
            section.
        stored: the label in the lake, if there is one.
        computed: the label that the tried policy gives now; None where it gives the row none.
        corrections: rows of `CORRECTIONS` about it, the oldest first.
        standing: whether the stored label trains under the desk's policy, and why not.
        holdings: the newest training sets that hold it, or the row that replaces it as a duplicate.
        unsearched: how many older training sets were not searched.
        readings: the verdicts of people or simulated reviewers on the row.
        gate: the audit's gate now, which need not be the gate when those sets were built; None where it was not
            decided.

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
    stored: RowLabel | None
    computed: RowLabel | None
    corrections: list[dict[str, Any]]
    standing: RowFate
    holdings: list[Holding]
    unsearched: int
    readings: list[RowVerdict]
    gate: AuditGate | None

    @property
    def trains(self) -> bool:
        """Whether a training set built now would hold the row itself and be trained on."""
        return self.standing.trains and (self.gate is None or self.gate.passed)

    @property
    def is_sent_text(self) -> bool:
        """Whether the row is the text that an agent sent in the draft's place."""
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
    """Explain one row.

    Args:
        lake: the desk's lake.
        policy: the policy whose rules are tried.
        row_id: a draft's id, a draft's id and `#sent`, or a ranking's event id and `#preferred` or `#other`.
        deployed: the desk's policy; it decides which rows train.
        training_sets: folder of the desk's training sets.
        now: aware datetime: the moment that decides which labels are final.
        heldout: share of tickets that training never sees.
        salt: changes which tickets are held out.
        gate: the gate of the desk's labels now (`feedback.audits.audit_outcome.measure_audit`).
        simulated: whether simulated verdicts count on this desk.

    Raises:
        FeedbackError: there is no such row; the message names similar ones.

    """
    with lake.sql(CORRECTIONS) as connection:
        for table in (EVENTS, INTERACTIONS, LABELS):
            view_stored(connection, lake, table)
        draft = _find_draft(connection, row_id, lake)
        _label(connection, policy, draft, now)
        rules = trace_rules(connection, policy, relation="draft")
        sent_text = trace_sent_text(connection, policy, relation="draft") if policy.sent_text else None
        stored = _row_label(connection, "labels", row_id, draft)
        computed = _row_label(connection, "computed", row_id, draft)
        if not (stored or computed):
            raise _no_sent_text(draft["draft_id"], policy, sent_text)
        label = computed or stored
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
            windows=read_windows(draft, awaited_windows(policy, label.rule)) if label else [],
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
    """Return the interaction of a row; a logged id with one of our suffixes comes before an id that we suffixed."""
    # The narrow columns are read first; the row with its texts is then read from its day only.
    keys = connection.execute(
        "SELECT draft_id, shown_date FROM interactions WHERE draft_id IN ($row, $draft)"
        " ORDER BY draft_id = $row DESC, shown_date LIMIT 1",
        {"row": row_id, "draft": row_id.removesuffix(SENT_SUFFIX)},
    ).fetchall()
    if not keys:
        desk = lake.root.parent
        raise FeedbackError(f"on desk {desk.name} ({desk}) {_unknown(connection, row_id)}")
    [draft] = _rows(connection, "SELECT * FROM interactions WHERE draft_id = $1 AND shown_date = $2", *keys[0])
    return draft


def _unknown(connection: duckdb.DuckDBPyConnection, row_id: str) -> str:
    """Return why the row does not exist, and the ids of similar rows."""
    stored = connection.execute("SELECT count(*) FROM interactions").fetchall()[0][0]
    if not stored:
        return "there are no interactions yet; `feedback-kto run` builds them from the raw logs"
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
        return f"{_quoted(row_id)} is an event; explain its draft, such as {_listed(of_event)}"
    similar = connection.execute(
        "SELECT draft_id FROM interactions WHERE levenshtein(draft_id, $1) <= $2"
        " ORDER BY levenshtein(draft_id, $1), draft_id LIMIT $3",
        [row_id, max(1, len(row_id) // 5), _MOST_NAMED],
    ).fetchall()
    if similar:
        return f"there is no draft {_quoted(row_id)}; similar ids are {_listed(similar)}"
    return (
        f"there is no draft {_quoted(row_id)} among {stored:,} interactions; give a draft_id of its raw logs "
        "or a row_id of its training sets, or choose another desk with `feedback-kto use`"
    )


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")


def _listed(rows: Sequence[tuple[str]]) -> str:
    return ", ".join(_quoted(draft_id) for (draft_id,) in rows)


def _label(connection: duckdb.DuckDBPyConnection, policy: Policy, draft: dict[str, Any], now: datetime) -> None:
    """Create the tables `computed` (the policy's labels of draft and sent text) and `draft` (the draft's row only)."""
    view_labels(connection, policy, name="labelled", days=[draft["shown_date"]], as_of=now)
    draft_id = draft["draft_id"]
    connection.execute(
        "CREATE TEMP TABLE computed AS SELECT * FROM labelled WHERE draft_id IN ($1, $2)",
        [draft_id, draft_id + SENT_SUFFIX],
    )
    # The columns are as the policy sees them: an edit that changes one of its terms is factual.
    connection.execute("CREATE TEMP TABLE draft AS SELECT * FROM computed WHERE draft_id = $1", [draft_id])


def _row_label(
    connection: duckdb.DuckDBPyConnection, relation: str, row_id: str, draft: dict[str, Any]
) -> RowLabel | None:
    query = f"SELECT {_LABEL_COLUMNS} FROM {relation} WHERE draft_id = $1 AND shown_date = $2"
    rows = _rows(connection, query, row_id, draft["shown_date"])
    return RowLabel(**rows[0]) if rows else None


def _no_sent_text(draft_id: str, policy: Policy, sent_text: RuleTrace | None) -> FeedbackError:
    if sent_text is None:
        reason = f"policy {policy.id} has no sent_text section"
    else:
        failing = next(part.text for part in sent_text.parts if not part.holds)
        reason = f"policy {policy.id} makes one only where {failing}"
    return FeedbackError(
        f"there is no row for the text sent in place of {_quoted(draft_id)}: {reason}; "
        f"explain {_quoted(draft_id)} for the draft itself"
    )


def _other_text(connection: duckdb.DuckDBPyConnection, draft: dict[str, Any]) -> str | None:
    """Return the text that was shown beside this one, if the row is one side of a ranking."""
    if not any(draft[f"{signal}_at"] for signal in RANKING_SIGNALS):
        return None
    # Both sides come from the one event that ranked them.
    rows = connection.execute(
        "SELECT completion FROM interactions WHERE shown_date = $1 AND draft_id <> $2 AND evidence = $3",
        [draft["shown_date"], draft["draft_id"], draft["evidence"]],
    ).fetchall()
    return str(rows[0][0]) if rows else None


def _holdings(training_sets: Path, row_ids: Sequence[str]) -> tuple[list[Holding], int]:
    """Return `find_holdings`; an error names the damaged file if there is one."""
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
