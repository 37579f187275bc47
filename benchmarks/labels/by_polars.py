"""Raw logs to labels by hand in Polars: frames, expressions, one Parquet file at the end.

It drops lines that do not end in a brace, since these are cut off. The policy's rules come from `label_with_polars`.
"""

from __future__ import annotations

import gzip
from datetime import datetime
from pathlib import Path

import polars as pl

from label_policy import INTERACTION_COLUMNS, Policy, ValueType, classify_edits, edit_similarities
from label_policy.engines.polars_labels import label_with_polars

_DECISIONS = ("accepted", "edited", "rejected", "dismissed", "copied")
_OF_TICKETS = ("resolved", "unresolved", "reopened", "escalated", "surveyed", "repeat_contact")
_SIGNALS = (*_DECISIONS, "thumbs_up", "thumbs_down", "approved", "flagged", *_OF_TICKETS)
_TEXTS = ("event_id", "kind", "occurred_at", "received_at", "ticket_id", "draft_id", "agent_id", "completion")
_SCHEMA = {
    **dict.fromkeys([*_TEXTS, "final_text", "category", "model_version"], pl.String),
    "prompt": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "reasons": pl.List(pl.String),
    "score": pl.Float64,
}
_TYPES = {
    ValueType.TEXT: pl.String,
    ValueType.NUMBER: pl.Float64,
    ValueType.TIME: pl.Datetime("us", "UTC"),
    ValueType.TEXTS: pl.List(pl.String),
}


def run(raw: Path, out: Path, policy: Policy, as_of: datetime) -> None:
    """Label the logs under `raw` and write the labels under `out`."""
    times = ("occurred_at", "received_at")
    events = pl.concat(
        pl.read_ndjson(_whole_lines(path), schema=_SCHEMA) for path in sorted(raw.glob("*.jsonl.gz"))
    ).with_columns(pl.col(name).str.to_datetime(time_unit="us", time_zone="UTC") for name in times)
    events = events.sort("received_at").unique("event_id", keep="first", maintain_order=True)
    labelled = label_with_polars(_interactions(events), policy)
    final = pl.when(pl.col("matures_at") <= as_of).then(pl.lit("final")).otherwise(pl.lit("provisional"))
    out.mkdir(parents=True)
    labelled.with_columns(state=final).write_parquet(out / "labels.parquet")


def _whole_lines(path: Path) -> bytes:
    """Return the file without cut-off lines, at which Polars would stop."""
    return b"\n".join(line for line in gzip.decompress(path.read_bytes()).splitlines() if line.endswith(b"}"))


def _interactions(events: pl.DataFrame) -> pl.DataFrame:
    drafts = events.filter(pl.col("kind") == "draft_shown").select(
        "draft_id", "ticket_id", "category", "model_version", "prompt", "completion",
        pl.col("occurred_at").alias("shown_at"),
    )  # fmt: skip
    facts = ["draft_id", "event_id", "kind", "occurred_at", "agent_id", "final_text", "reasons", "score"]
    own = events.filter(pl.col("draft_id").is_not_null()).select(facts)
    of_tickets = (
        events.filter(pl.col("draft_id").is_null())
        .drop("draft_id")
        .join(drafts.select("draft_id", "ticket_id", "shown_at"), on="ticket_id")
        .filter(pl.col("occurred_at") >= pl.col("shown_at"))
        .select(facts)
    )
    at, kind = pl.col("occurred_at"), pl.col("kind")
    signals = (
        pl.concat([own, of_tickets])
        .group_by("draft_id")
        .agg(
            at.filter(kind.is_in(_DECISIONS)).min().alias("decided_at"),
            *(at.filter(kind == signal).max().alias(f"{signal}_at") for signal in _SIGNALS),
            pl.col("score").filter(kind == "surveyed").sort_by(at.filter(kind == "surveyed")).last()
            .alias("survey_score"),
            pl.col("final_text").filter(pl.col("final_text").is_not_null())
            .sort_by(at.filter(pl.col("final_text").is_not_null())).last(),
            pl.col("agent_id").sort_by("occurred_at").first(),
            pl.col("reasons").drop_nulls().explode().unique().sort().alias("reasons"),
            pl.col("event_id").sort_by("occurred_at", "event_id").alias("evidence"),
        )
    )  # fmt: skip
    last = pl.col("shown_at").max().over("ticket_id")
    frame = drafts.join(signals, on="draft_id", how="left").with_columns(
        pl.max_horizontal("repeat_contact_at", pl.when(last > pl.col("shown_at")).then(last)).alias(
            "repeat_contact_at"
        ),
        pl.coalesce(
            "final_text",
            pl.when(pl.col("accepted_at").is_not_null() & pl.col("edited_at").is_null()).then(pl.col("completion")),
        ).alias("final_text"),
        ((pl.col("decided_at") - pl.col("shown_at")).dt.total_microseconds() / 1e6).alias("seconds_to_decision"),
        pl.col("reasons").list.drop_nulls(),
    )
    texts = frame["completion"].to_arrow(), frame["final_text"].to_arrow()
    frame = frame.with_columns(
        pl.Series("edit_kind", pl.from_arrow(classify_edits(*texts))),
        pl.Series("edit_similarity", pl.from_arrow(edit_similarities(*texts))),
    )
    absent = {name: kind for name, kind in INTERACTION_COLUMNS.items() if name not in frame.columns}
    return frame.with_columns(pl.lit(None, _TYPES[kind]).alias(name) for name, kind in absent.items())
