"""Raw logs to labels as a plain pandas script: a frame of events, a group-by for each signal, a mask for each rule.

The rules are harbor-support.v1's, written out by hand. Broken lines are skipped; the labels go to one Parquet file.
"""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from pathlib import Path

import pandas as pd

from label_policy import Policy, classify_edits, edit_similarities

_DECISIONS = ("accepted", "edited", "rejected", "dismissed", "copied")
_OF_TICKETS = ("resolved", "unresolved", "reopened", "escalated", "surveyed", "repeat_contact")
_SIGNALS = (*_DECISIONS, "thumbs_up", "thumbs_down", "approved", "flagged", *_OF_TICKETS)
_HARMFUL = {"hallucinated_policy", "unsafe_advice", "privacy_leak"}


def run(raw: Path, out: Path, policy: Policy, as_of: datetime) -> None:
    """Label the logs under `raw` and write the labels under `out`."""
    events = _read(raw)
    drafts = events[events["kind"] == "draft_shown"].set_index("draft_id")
    frame = _interactions(events, drafts)
    frame["rule"] = _rules(frame, policy)
    ruled = {rule.id: rule for rule in policy.rules}
    for column in ("label", "tier", "weight"):
        frame[column] = frame["rule"].map({name: getattr(rule, column) for name, rule in ruled.items()})
    frame["label"] = frame["label"].fillna("abstain").astype(str)
    frame["weight"] = frame["weight"].fillna(0.0)
    frame["matures_at"] = _matures_at(frame, policy)
    frame["state"] = (frame["matures_at"] <= as_of).map({True: "final", False: "provisional"})
    out.mkdir(parents=True)
    columns = ["completion", "final_text", "rule", "label", "tier", "weight", "matures_at", "state"]
    frame[columns].reset_index().to_parquet(out / "labels.parquet")


def _read(raw: Path) -> pd.DataFrame:
    days = []
    for path in sorted(raw.glob("*.jsonl.gz")):
        rows = []
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                try:
                    rows.append(json.loads(line))
                except ValueError:
                    continue
        days.append(pd.DataFrame(rows))
    events = pd.concat(days, ignore_index=True)
    for column in ("occurred_at", "received_at"):
        events[column] = pd.to_datetime(events[column], format="ISO8601", utc=True)
    return events.sort_values("received_at", kind="stable").drop_duplicates("event_id")


def _interactions(events: pd.DataFrame, drafts: pd.DataFrame) -> pd.DataFrame:
    own = events[events["draft_id"].notna() & (events["kind"] != "draft_shown")]
    shown = drafts[["ticket_id", "occurred_at"]].rename(columns={"occurred_at": "shown_at"}).reset_index()
    of_tickets = events[events["draft_id"].isna()].drop(columns="draft_id").merge(shown, on="ticket_id")
    of_tickets = of_tickets[of_tickets["occurred_at"] >= of_tickets["shown_at"]]
    signals = pd.concat([own, of_tickets], ignore_index=True).sort_values(["occurred_at", "event_id"])

    frame = drafts[["ticket_id", "category", "completion"]].copy()
    frame["shown_at"] = drafts["occurred_at"]
    for signal in _SIGNALS:
        frame[f"{signal}_at"] = signals[signals["kind"] == signal].groupby("draft_id")["occurred_at"].max()
    last = frame.groupby("ticket_id")["shown_at"].transform("max")
    again = last.where(last > frame["shown_at"])
    frame["repeat_contact_at"] = frame["repeat_contact_at"].combine(again, max).fillna(again)
    decided = signals[signals["kind"].isin(_DECISIONS)].groupby("draft_id")["occurred_at"].min()
    frame["decided_at"] = decided
    frame["seconds_to_decision"] = (decided - frame["shown_at"]).dt.total_seconds()
    surveys = signals[signals["kind"] == "surveyed"]
    frame["survey_score"] = surveys.groupby("draft_id")["score"].last() if len(surveys) else float("nan")
    reasons = signals[signals["reasons"].notna()].groupby("draft_id")["reasons"].sum()
    frame["reasons"] = reasons.map(set).reindex(frame.index)
    frame["reasons"] = frame["reasons"].map(lambda value: value if isinstance(value, set) else set())

    sent = signals[signals["final_text"].notna()].groupby("draft_id")["final_text"].last()
    frame["final_text"] = sent
    as_it_was = frame["final_text"].isna() & frame["accepted_at"].notna() & frame["edited_at"].isna()
    frame.loc[as_it_was, "final_text"] = frame["completion"]
    texts = ([text if isinstance(text, str) else None for text in frame[name]] for name in ("completion", "final_text"))
    before, after = texts
    frame["edit_kind"] = classify_edits(before, after).to_pandas().to_numpy()
    frame["edit_similarity"] = edit_similarities(before, after).to_pandas().to_numpy()
    return frame


def _rules(f: pd.DataFrame, policy: Policy) -> pd.Series:
    happened = {signal: f[f"{signal}_at"].notna() for signal in _SIGNALS}

    def after_sending(signal: str) -> pd.Series:
        return (f["accepted_at"] <= f[f"{signal}_at"]) | (f["edited_at"] <= f[f"{signal}_at"])

    kind, reasons = f["edit_kind"], f["reasons"]
    sent = happened["accepted"] | happened["edited"]
    kept = ~happened["dismissed"] | (f["dismissed_at"] <= f["accepted_at"])
    kept_or_edited = kept | (f["dismissed_at"] <= f["edited_at"])
    half_a_day = pd.Timedelta(hours=12)
    back = f["repeat_contact_at"]
    hurried = f["seconds_to_decision"] < f["completion"].str.len() / policy.reading_speed
    held = {
        "safety_flag": happened["flagged"] & (~happened["approved"] | (f["approved_at"] < f["flagged_at"])),
        "thumbs_down": happened["thumbs_down"] & (~happened["thumbs_up"] | (f["thumbs_up_at"] <= f["thumbs_down_at"])),
        "escalated_critical": happened["escalated"] & reasons.map(lambda ticked: bool(ticked & _HARMFUL)),
        "thumbs_up": happened["thumbs_up"] & (kind.fillna("none") != "factual"),
        "rejected": happened["rejected"]
        & (~happened["accepted"] | (f["accepted_at"] <= f["rejected_at"]))
        & (~happened["edited"] | (f["edited_at"] <= f["rejected_at"])),
        "heavy_edit": happened["edited"] & (kind.isin(["factual", "substantive"]) | (f["edit_similarity"] < 0.6)),
        "reopened_after_send": after_sending("reopened"),
        "escalated": happened["escalated"]
        & (after_sending("escalated") | reasons.map(lambda ticked: "wrong_routing" in ticked)),
        "escalated_unsent": happened["escalated"],
        "unresolved_after_send": happened["unresolved"]
        & sent
        & (~happened["resolved"] | (f["resolved_at"] <= f["unresolved_at"])),
        "unhappy_customer": (f["survey_score"] <= 0.25) & after_sending("surveyed"),
        "came_back": (back > f["accepted_at"] + half_a_day) | (back > f["edited_at"] + half_a_day),
        "edit_unknown": happened["edited"] & kind.isna(),
        "light_edit": happened["edited"] & kind.isin(["cosmetic", "wording"]) & kept_or_edited,
        "accepted_unread": (f["accepted_at"] <= f["decided_at"]) & ~happened["edited"] & kept & hurried,
        "accepted": sent & kept_or_edited,
        "copied": happened["copied"],
        "dismissed": happened["dismissed"],
        "approved": happened["approved"],
    }
    rule = pd.Series("no_rule", index=f.index)
    for name, holds in reversed(held.items()):
        rule = rule.mask(holds.astype(bool), name)
    return rule


def _matures_at(f: pd.DataFrame, policy: Policy) -> pd.Series:
    base = f[[f"{signal}_at" for signal in _DECISIONS]].max(axis=1).fillna(f["shown_at"])
    base = base.where(base >= f["shown_at"], f["shown_at"])
    matures = base.copy()
    read: set[str] = set()
    for position, rule in enumerate(policy.rules):
        read |= rule.condition.signals
        last = position == len(policy.rules) - 1
        mine = f["rule"].isin([rule.id, "no_rule"] if last else [rule.id])
        for signal, window in sorted(policy.maturity.items(), key=lambda item: item[1]):
            if signal in read:
                at = f[f"{signal}_at"]
                waits = mine & (at.isna() | (at < base))
                matures = matures.mask(waits, base + window)
    return matures
