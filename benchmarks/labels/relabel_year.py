"""A year of interactions labelled again: by the job `relabel`, by the bare query, and by Dagster with an empty asset.

Each is a process that prints its seconds: `python -m benchmarks.labels.relabel_year relabel|dagster|bare HOME`.
"""

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

FIRST_DAY = date(2025, 1, 1)
DAYS = 365
DRAFTS_A_DAY = 3_000
POLICY = "harbor-support.v1"
AS_OF = datetime(2026, 3, 1, tzinfo=UTC)


def prepare(home: Path, sample: pa.Table) -> None:
    """Create a desk under `home` that has the interactions of `sample` on every day."""
    from desk.desk import Desk, DeskSettings
    from feedback.lake.tables import INTERACTIONS

    day_rows = sample.slice(0, DRAFTS_A_DAY)
    settings = DeskSettings(source="canonical", input=home, policy=POLICY, first_day=FIRST_DAY, as_of=AS_OF)
    desk = Desk.create(home, "year", settings)
    times = [name for name in INTERACTIONS.schema.names if name.endswith("_at") and name != "as_of"]
    for start in range(0, DAYS, 73):
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("rows", day_rows)
            shifted = ", ".join(f"{name} + (day - CAST(shown_at AS DATE)) * INTERVAL 1 DAY AS {name}" for name in times)
            rows = connection.execute(
                f"""
                SELECT * REPLACE (draft_id || '-' || day AS draft_id, ticket_id || '-' || day AS ticket_id,
                    day AS shown_date, CAST($as_of AS TIMESTAMPTZ) AS as_of, {shifted})
                FROM rows, (SELECT CAST($first AS DATE) + CAST(range AS INTEGER) AS day FROM range($start, $start + 73))
                """,
                {"as_of": AS_OF, "first": FIRST_DAY, "start": start},
            ).to_arrow_table()
        desk.lake.replace(INTERACTIONS, rows, [FIRST_DAY + timedelta(days=start + n) for n in range(73)])


def _bare(home: Path) -> float:
    """Return the seconds of the compiled query over the stored Parquet, with its rows fetched."""
    from deltalake import DeltaTable

    from label_policy import compile_policy, load_policy, shipped_policies

    files = DeltaTable(home / "year" / "lake" / "interactions").file_uris()
    policy = load_policy(shipped_policies()[POLICY])
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(files, hive_partitioning=True).create_view("interactions")
        start = time.perf_counter()
        connection.sql(compile_policy(policy)).to_arrow_table()
        return time.perf_counter() - start


def _job(home: Path, *, trivial: bool) -> float:
    os.environ |= {"FEEDBACK_HOME": str(home), "FEEDBACK_DESK": "year"}
    import dagster as dg

    from assets.support.common import DAYS as PARTITIONS
    from pipelines.definitions import defs
    from pipelines.runs.day_ranges import range_tags

    @dg.asset(partitions_def=PARTITIONS, backfill_policy=dg.BackfillPolicy.single_run())
    def nothing(context: dg.AssetExecutionContext) -> None:
        for key in context.partition_keys:
            context.add_asset_metadata({"dagster/partition_row_count": DRAFTS_A_DAY}, partition_key=key)

    alone = dg.Definitions(assets=[nothing], jobs=[dg.define_asset_job("alone", partitions_def=PARTITIONS)])
    job = alone.resolve_job_def("alone") if trivial else defs.resolve_job_def("relabel")
    with tempfile.TemporaryDirectory() as folder, dg.DagsterInstance.local_temp(folder) as instance:
        tags = range_tags(FIRST_DAY, FIRST_DAY + timedelta(days=DAYS - 1))
        start = time.perf_counter()
        assert job.execute_in_process(instance=instance, tags=tags).success
        return time.perf_counter() - start


def contestants() -> Iterator[str]:
    """Yield the names that `main` takes, in the order of the report."""
    yield from ("bare", "dagster", "relabel")


def main() -> None:
    """Print the seconds of one of the three."""
    name, home = sys.argv[1], Path(sys.argv[2])
    print(_bare(home) if name == "bare" else _job(home, trivial=name == "dagster"))


if __name__ == "__main__":
    main()
