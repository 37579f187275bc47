"""Raw logs to labels as the pipeline does it: ingestion with its books, interactions and labels, in Delta tables."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from feedback.ingest.ingestion import ingest
from feedback.labels.interactions import write_interactions
from feedback.labels.label_writer import write_labels
from feedback.lake.delta import Lake
from feedback.lake.tables import EVENTS
from feedback.sources.raw_files import discover
from feedback.sources.source import load_source
from label_policy import Policy


def run(raw: Path, out: Path, policy: Policy, as_of: datetime) -> None:
    """Label the logs under `raw` and write the lake under `out`."""
    source, lake = load_source("canonical"), Lake(out)
    files = discover(raw, source)
    ingest(lake, source, files, sorted({file.arrival_date for file in files}), input_root=raw)
    with lake.sql(EVENTS) as connection:
        shown = connection.execute(
            "SELECT DISTINCT CAST(occurred_at AS DATE) FROM events WHERE kind = 'draft_shown' ORDER BY 1"
        ).fetchall()
    days = [day for (day,) in shown]
    write_interactions(lake, days, as_of=as_of)
    write_labels(lake, policy, days, as_of=as_of)
