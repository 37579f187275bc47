"""Every rule of validation, as data: for events, interactions, labels and training sets.

A rule looks at one column of a frame. The frames are made by DuckDB (`events.sql` and its neighbours) and hold no text
of a customer: names, flags and numbers only. `rows` holds a table's rows as far as its rules look at them, each
combination once with the number of `rows` that have it; the others hold what takes several rows to say, such as how far
a day's labels are from those of the days before it.

`critical` rules say what cannot be so unless something is broken: where one fails, nothing after it runs. `warning`
rules say what is unlikely, and their thresholds are set where real and simulated logs stay silent (docs/validation.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from feedback.lake.event_schema import ALL_KINDS
from label_policy import EditKind, Label, State, Tier

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One expectation, and the asset check of its name."""

    name: str
    severity: Severity
    frame: str  # of the suite's
    column: str
    expectation: str  # a class of great_expectations.expectations
    arguments: Mapping[str, Any]
    says: str  # what is expected, as a sentence
    remedy: str  # what to do where it is not so
    shown: tuple[str, ...] = ()  # further columns of the frame that tell what is wrong


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The rules of a table or of a training set."""

    asset: str  # whose asset checks its rules are
    unit: str  # the column of every frame that says which part a row speaks of: a day, or a split
    rules: tuple[Rule, ...]
    frames: tuple[str, ...] = field(default=("rows", "days"))  # queries of <asset>.sql; all but `rows` a row a finding


def _rule(
    severity: Severity,
    frame: str,
    name: str,
    column: str,
    says: str,
    remedy: str,
    *,
    within: tuple[float | None, float | None] | None = None,
    among: Collection[object] = (True,),
    shown: tuple[str, ...] = (),
) -> Rule:
    """A rule that a column's values lie `within` bounds or else `among` some values: by default, that a flag holds."""
    expectation, arguments = "ExpectColumnValuesToBeInSet", dict[str, Any](value_set=list(among))
    if within:
        expectation, arguments = (
            "ExpectColumnValuesToBeBetween",
            dict(zip(("min_value", "max_value"), within, strict=True)),
        )
    return Rule(
        name=name, severity=severity, frame=frame, column=column, expectation=expectation, arguments=arguments,
        says=says, remedy=remedy, shown=shown,
    )  # fmt: skip


_AGAIN = "run the day again from its raw files, and if it stays so correct the mapping"
_REBUILD = "run the day's interactions again, and if it stays so its events are damaged"
_RELABEL = "run `feedback-kto relabel` over the day, and if it stays so correct the policy"
_RETRAIN = "remove the training set's folder and run `feedback-kto retrain`"
_LOOK = "look at what changed at the source that day, and correct the mapping if a name did"

EVENTS: Final = Suite(
    asset="feedback_events",
    unit="day",
    frames=("rows", "days", "signals", "sources"),
    rules=(
        _rule("critical", "rows", "known_kinds", "kind", "Every event is of a kind that the schema knows.", _AGAIN,
              among=sorted(ALL_KINDS), shown=("source",)),
        _rule("critical", "rows", "ids_given", "ids_given", "Every event has an id and a ticket.", _AGAIN,
              shown=("source", "kind")),
        _rule("critical", "rows", "drafts_named", "draft_named",
              "What is said of a draft names the draft.", _AGAIN, shown=("source", "kind")),
        _rule("critical", "rows", "complete", "complete",
              "A draft comes with its prompt and text, a ranking with both texts, a survey with its score.", _AGAIN,
              shown=("source", "kind")),
        _rule("critical", "rows", "scores_in_range", "score_in_range", "A survey's score is from 0 to 1.", _AGAIN,
              shown=("source",)),
        _rule("critical", "rows", "not_from_the_future", "days_ahead",
              "No event happened more than a day after the day it arrived on.", _AGAIN, within=(None, 1),
              shown=("source", "kind")),
        _rule("critical", "days", "no_event_twice", "repeated",
              "No event id is in the lake twice, be it on two days.", _AGAIN, within=(None, 0)),
        _rule("warning", "signals", "no_signal_silent", "share_of_expected",
              "A signal that came every day before still comes, where twelve or more were to be expected.", _LOOK,
              within=(0.05, None), shown=("source", "kind", "events", "expected")),
        _rule("warning", "sources", "no_source_stopped", "days_too_long",
              "No source is silent for longer than it ever was in the 28 days before.",
              "see whether its logs still arrive; `feedback-kto source check` reads what does", within=(None, 0),
              shown=("source", "days_silent", "longest_before")),
    ),
)  # fmt: skip

INTERACTIONS: Final = Suite(
    asset="interactions",
    unit="day",
    rules=(
        _rule("critical", "rows", "drafts_named", "ids_given", "Every interaction has a draft and a ticket.", _REBUILD,
              shown=("source",)),
        _rule("critical", "days", "one_row_a_draft", "repeated", "No draft has two interactions on a day.", _REBUILD,
              within=(None, 0)),
        _rule("critical", "rows", "on_their_day", "on_its_day", "An interaction lies on the day its draft was shown.",
              _REBUILD, shown=("source",)),
        _rule("critical", "rows", "known_edit_kinds", "edit_kind",
              "An edit is of a known kind, and of none where nothing was sent.", _REBUILD,
              among=(*map(str, EditKind), "not sent"), shown=("source",)),
        _rule("critical", "rows", "similarities_in_range", "similarity_in_range",
              "A draft and what was sent are from 0 to 1 alike, and are compared where something was sent.",
              _REBUILD, shown=("source", "edit_kind")),
        _rule("critical", "rows", "evidence_kept", "has_evidence",
              "Every interaction names the events it was made from.", _REBUILD, shown=("source",)),
        _rule("critical", "rows", "nothing_from_later", "known_in_time",
              "No interaction knows of more than its moment did.", _REBUILD, shown=("source",)),
        _rule("warning", "days", "few_blank_drafts", "blank_share",
              "At most one draft in twenty is without text, on days of 50 or more.", _LOOK, within=(None, 0.05)),
        _rule("warning", "days", "few_without_prompt", "promptless_share",
              "At most one draft in twenty is without a conversation before it, on days of 50 or more.", _LOOK,
              within=(None, 0.05)),
        _rule("warning", "days", "decided_after_shown", "early_share",
              "At most one decision in a hundred comes before its draft was shown, on days of 50 or more.",
              "compare the clocks of the systems that log drafts and decisions, or correct the mapping's times",
              within=(None, 0.01)),
    ),
)  # fmt: skip

_LABELS = tuple(map(str, Label))

LABELS: Final = Suite(
    asset="labels",
    unit="day",
    rules=(
        _rule("critical", "rows", "known_labels", "label",
              f"A label is {', '.join(_LABELS[:-1])} or {_LABELS[-1]}.", _RELABEL,
              among=_LABELS, shown=("rule",)),
        _rule("critical", "rows", "known_tiers", "tier",
              "What says good or bad has a tier that is known, and what abstains has none.", _RELABEL,
              among=(*map(str, Tier), "none"), shown=("label", "rule")),
        _rule("critical", "rows", "weights_in_range", "weight_in_range",
              "A weight is a number not below 0, and 0 where the policy abstains.", _RELABEL, shown=("label", "rule")),
        _rule("critical", "rows", "known_states", "state", f"A label is {' or '.join(State)}.", _RELABEL,
              among=tuple(map(str, State)), shown=("label", "rule")),
        _rule("critical", "rows", "final_once_mature", "final_in_time",
              "No label is final before all that could overturn it has had its time.", _RELABEL,
              shown=("label", "rule")),
        _rule("critical", "rows", "rules_named", "rule_named", "Every label names the rule that decided.", _RELABEL,
              shown=("label",)),
        _rule("critical", "rows", "evidence_kept", "has_evidence", "Every label names the events it was made from.",
              _RELABEL, shown=("label", "rule")),
        _rule("critical", "days", "one_label_a_text", "repeated", "No draft has two labels on a day.", _RELABEL,
              within=(None, 0)),
        _rule("critical", "days", "every_draft_labelled", "unmatched",
              "Every interaction of a day has its label, and no label is without.", _RELABEL, within=(None, 0)),
        _rule("critical", "days", "one_policy_a_day", "policies", "A day is labelled by one policy.", _RELABEL,
              within=(None, 1)),
        _rule("warning", "days", "labels_steady", "drift",
              "The share of desirable among judged drafts is near that of the 28 days before: within 15 points, or "
              "four standard deviations where days differ more.",
              "look at `feedback-kto policy plan`, at the day's rules and at its sources before you train on it",
              within=(None, 1), shown=("desirable_share", "desirable_before")),
        _rule("warning", "days", "abstentions_steady", "abstain_drift",
              "The share of drafts that the policy abstains from is near that of the 28 days before, likewise.",
              "see which signal the day lacks, or which new case no rule decides", within=(None, 1),
              shown=("abstain_share", "abstain_before")),
        _rule("warning", "days", "some_are_judged", "judged_share",
              "At least one draft in a hundred is judged, on final days of 50 or more.",
              "see which signal the day lacks, or which new case no rule decides", within=(0.01, None)),
    ),
)  # fmt: skip

TRAINING_SET: Final = Suite(
    asset="training_set",
    unit="split",
    frames=("rows", "sets"),
    rules=(
        _rule("critical", "rows", "in_their_class", "in_its_class",
              "A row lies in the folder of the class that its label says.", _RETRAIN, shown=("tier", "rule")),
        _rule("critical", "rows", "known_tiers", "tier", "Every row has a tier that is known.", _RETRAIN,
              among=tuple(map(str, Tier)), shown=("rule",)),
        _rule("critical", "rows", "weights_positive", "weight_positive", "Every weight is a number above 0.", _RETRAIN,
              shown=("tier", "rule")),
        _rule("critical", "rows", "texts_there", "texts_there",
              "Every row has a conversation and a reply that is not blank.", _RETRAIN, shown=("tier", "rule")),
        _rule("critical", "rows", "rows_traceable", "traceable",
              "Every row names its draft, its ticket, its day and its rule.", _RETRAIN, shown=("tier", "rule")),
        _rule("critical", "rows", "redacted", "redacted", "No pattern of personal data is left in a text.",
              "tell who maintains the patterns, and keep the set from leaving the house", shown=("rule",)),
        _rule("critical", "sets", "ids_once", "repeated_ids", "No row id is there twice.", _RETRAIN, within=(None, 0)),
        _rule("critical", "sets", "texts_once", "repeated_texts",
              "No reply to the same conversation is there twice, be it with both labels.", _RETRAIN,
              within=(None, 0)),
        _rule("critical", "sets", "as_the_manifest_says", "off_the_manifest",
              "The files hold as many rows as the manifest says.", _RETRAIN, within=(None, 0)),
        _rule("warning", "sets", "few_long_replies", "long_share",
              "At most one reply in a hundred is longer than 8,000 characters.",
              "see whether the mapping takes more for a reply than the reply", within=(None, 0.01)),
    ),
)  # fmt: skip

SUITES: Final = {suite.asset: suite for suite in (EVENTS, INTERACTIONS, LABELS, TRAINING_SET)}
"""By the asset that they speak of."""
