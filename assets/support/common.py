"""Shared by the assets: partitions, the desk, the moment of a run, and figures in metadata."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pyarrow as pa

from assets.support.stages import AS_OF_TAG
from desk.desk import Desk, feedback_home
from desk.lock import hold_desk
from desk.settings import DeskSettings
from feedback.exceptions import FeedbackError
from label_policy import PolicyError

OWNERS = {
    "data": ["team:data-engineering"],
    "policy": ["team:support-quality"],
    "learning": ["team:machine-learning"],
}
DESK_TAG = "feedback-kto/desk"
# Runs that write the record share this pool (dagster.yaml: one at a time), and hold the desk's lock.
LAKE_POOL = "lake"
_FIRST_DAY_WITHOUT_A_DESK = date(2026, 1, 1)


class DeskResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The desk that the assets work on: `name`, fixed when the definitions were loaded, or else the active one."""

    home: str
    name: str | None = None

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["DeskResource"]:
        """Hold the desk for a run that writes the record; other uses of the desk need not wait."""
        self.setup_for_execution(context)
        run = context.run
        if run is not None and run.run_op_concurrency and LAKE_POOL in (run.run_op_concurrency.all_pools or ()):
            with hold_desk(self.active(), run_id=run.run_id, job=run.job_name):
                yield self
        else:
            yield self

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Refuse a run for another desk than the one that this process has loaded."""
        tagged = context.run.tags.get(DESK_TAG) if context.run else None
        if tagged is not None and tagged != self.active().name:
            raise FeedbackError(
                f"the run is for desk {tagged}, but this process has loaded desk {self.active().name}; "
                f"reload the definitions, or set FEEDBACK_DESK={tagged}"
            )

    def active(self) -> Desk:
        """The desk; its settings are read anew, so that a change counts from the next run on."""
        return Desk(Path(self.home), self.name) if self.name else Desk.active(Path(self.home))


def _desk_at_load() -> Desk | None:
    """The active desk, or None before there is one: definitions must load all the same."""
    try:
        desk = Desk.active(feedback_home())
        _ = desk.settings
    except FeedbackError:
        return None
    return desk


_DESK = _desk_at_load()
_SETTINGS = _DESK.settings if _DESK else None
DESK_NAME = _DESK.name if _DESK else None
# One partition per UTC day, from the desk's first day to yesterday.
DAYS = dg.DailyPartitionsDefinition(
    start_date=(_SETTINGS.first_day if _SETTINGS else _FIRST_DAY_WITHOUT_A_DESK).isoformat(), timezone="UTC"
)
NIGHTLY_CRON = _SETTINGS.schedule if _SETTINGS else DeskSettings.model_fields["schedule"].default


def _late_days() -> int:
    """Days after a draft was shown in which signals about it are looked for upstream: the longest window, doubled."""
    try:
        windows = _DESK.policy.maturity.values() if _DESK else ()
    except (FeedbackError, PolicyError):  # definitions must load all the same; a run says what is wrong
        windows = ()
    longest = max(windows, default=None)
    return (
        DeskSettings.model_fields["lookback_days"].default if longest is None else -(-2 * longest // timedelta(days=1))
    )


LATE_DAYS = _late_days()


def partition_days(context: dg.AssetExecutionContext) -> list[date]:
    """Return the days of this run."""
    return [date.fromisoformat(key) for key in context.partition_keys]


def moment_of(context: dg.AssetExecutionContext, desk: Desk) -> datetime:
    """Return the moment as of which the run builds: its tag, else the desk's setting, else when it was launched."""
    tag = context.run.tags.get(AS_OF_TAG)
    if tag is not None:
        return datetime.fromisoformat(tag).astimezone(UTC)
    if desk.settings.as_of is not None:
        return desk.settings.as_of.astimezone(UTC)
    record = context.instance.get_run_record_by_id(context.run.run_id)
    return (record.create_timestamp if record else datetime.now(UTC)).astimezone(UTC)


def column_schema(schema: pa.Schema) -> Mapping[str, dg.TableSchema]:
    """Return definition metadata that shows an Arrow schema in the asset's Columns tab."""
    return {
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(field.name, str(field.type)) for field in schema]
        )
    }


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> dg.MarkdownMetadataValue:
    """Return a table as Markdown; numbers are grouped by thousands."""

    def cell(value: object) -> str:
        return f"{value:,}" if isinstance(value, int) else "" if value is None else str(value).replace("|", "\\|")

    lines = [" | ".join(header), " | ".join("---" for _ in header)]
    lines += [" | ".join(cell(value) for value in row) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """Return a PNG as metadata, so that the UI shows it."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")
