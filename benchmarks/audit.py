"""Measure how long it takes to draw an audit sample, beside scripts written by hand.

    python -m benchmarks.audit [--labels 10000000] [--rounds 3] [--json] [--keep FOLDER]

The lake has labels with texts of 100 days in 200 files. `write_audit_sample` draws 400 rows and writes them to the lake
with their texts. Scripts in Polars and pandas draw as many rows of the same strata and fetch their texts, without
permanent numbers, earlier verdicts or probabilities. All take turns in one run, each in a process of its own; figures
are medians. pandas must be installed; the project itself does not require it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from feedback.audits.sample import write_audit_sample
from feedback.lake.delta import Lake
from feedback.lake.tables import LABELS
from label_policy import load_policy, shipped_policies
from label_policy.audits.allocation import Stratum, allocate

ROOT = Path(__file__).resolve().parents[1]
FIRST_DAY = date(2026, 1, 1)
DAYS = 100
STRATA = ["label", "tier", "rule", "category"]
_POLICY = load_policy(shipped_policies()["harbor-support.v1"])
# 3 of 10 labels are undesirable; 2 classes × 8 rules of one tier each × 6 categories.
_LABELS = """
SELECT 'HS-' || lpad(i::TEXT, 10, '0') AS draft_id, 'T-' || (i // 2) AS ticket_id,
    CASE WHEN hash(i) % 10 < 3 THEN 'undesirable' ELSE 'desirable' END AS label,
    ['critical', 'explicit', 'strong', 'weak'][1 + (hash(i, 1) % 4)::INT] AS tier,
    'rule_' || (hash(i, 1) % 8) AS rule,
    ['refund', 'bill', 'sla', 'password', 'cancellation', NULL][1 + (hash(i, 2) % 6)::INT] AS category,
    [{{'role': 'user', 'content': 'Question ' || i || ': ' || md5((i // 3)::TEXT) || ', what can I do?'}}] AS prompt,
    'Reply ' || i || ': ' || md5(i::TEXT) || ', and this is what you can do.' AS completion,
    'final' AS state, 1.0 AS weight, '{digest}' AS policy_digest
FROM range({first}, {last}) AS t(i)
"""


def main() -> None:
    """Run every script in turn and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--labels", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it; labels there are used again")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="audit-"))
    try:
        lake = Lake(folder / f"lake-{options.labels}")
        if not lake.exists(LABELS):
            print(f"writing {options.labels:,} labels", file=sys.stderr)
            generate(lake, options.labels)
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in SCRIPTS}
        for number in range(options.rounds):
            for name in SCRIPTS:
                taken[name].append(_child(name, lake.root))
                print(f"round {number + 1}: {name} {taken[name][-1]}", file=sys.stderr)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    medians = {
        name: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in taken.items()
    }
    print(
        json.dumps({"labels": options.labels, "rounds": options.rounds, **medians}) if options.json else _table(medians)
    )


def generate(lake: Lake, labels: int) -> None:
    """Write `labels` labels, spread evenly over the days."""
    days = [FIRST_DAY + timedelta(days=number) for number in range(DAYS)]
    with duckdb.connect() as connection, lake.replacing(LABELS, days) as replacement:
        for number, day in enumerate(days):
            first, last = (labels * place // DAYS for place in (number, number + 1))
            rows = connection.sql(_LABELS.format(first=first, last=last, digest=_POLICY.digest)).to_arrow_table()
            columns = {name: rows[name] for name in rows.column_names}
            columns["shown_date"] = pa.repeat(pa.scalar(day), rows.num_rows)
            columns["as_of"] = pa.repeat(pa.scalar(datetime(2026, 5, 1, tzinfo=UTC)), rows.num_rows)
            for field in LABELS.schema:
                columns.setdefault(field.name, pa.nulls(rows.num_rows, field.type))
            replacement.write(pa.table(columns))


def _by_us(lake: Lake) -> int:
    return len(write_audit_sample(lake, _POLICY, seed=0))


def _by_polars(lake: Lake) -> int:
    import polars as pl

    labels = pl.scan_parquet(lake.path(LABELS) / "**/*.parquet", hive_partitioning=True)
    keys = (
        labels.filter((pl.col("state") == "final") & pl.col("label").is_in(["desirable", "undesirable"]))
        .select("draft_id", *(pl.col(name).fill_null("") for name in STRATA))
        .collect(engine="streaming")
    )
    sizes = keys.group_by(STRATA).len()
    wanted = sizes.with_columns(drawn=pl.Series(_sizes(sizes.rows())))
    place = pl.int_range(pl.len()).shuffle(seed=0).over(STRATA)
    drawn = keys.join(wanted, on=STRATA).filter(place < pl.col("drawn"))
    return labels.join(drawn.select("draft_id").lazy(), on="draft_id", how="semi").collect(engine="streaming").height


def _by_pandas(lake: Lake) -> int:
    import pandas as pd  # type: ignore[import-untyped]

    files = sorted(lake.path(LABELS).glob("**/*.parquet"))
    wanted = [("state", "=", "final"), ("label", "in", ["desirable", "undesirable"])]
    columns = ["draft_id", *STRATA]
    keys = pd.read_parquet(lake.path(LABELS), columns=columns, filters=wanted, dtype_backend="pyarrow")
    keys[STRATA] = keys[STRATA].astype("string").fillna("").astype("category")
    groups = keys.groupby(STRATA, observed=True)
    sizes = groups.size()
    drawn_of = dict(zip(sizes.index, _sizes([(*key, size) for key, size in sizes.items()]), strict=True))
    ids = [one.sample(drawn_of[key], random_state=0)["draft_id"] for key, one in groups]
    ids = pd.concat(ids)
    return sum(len(pd.read_parquet(file, filters=[("draft_id", "in", set(ids))])) for file in files)


SCRIPTS: dict[str, Callable[[Lake], int]] = {"us": _by_us, "polars": _by_polars, "pandas": _by_pandas}


def _sizes(strata: list[tuple[Any, ...]]) -> list[int]:
    """Return how many rows to draw of each stratum, in the order of `strata`: tuples of its values and its size."""
    named = [Stratum(name="|".join(values), label=values[0], size=size) for *values, size in strata]
    drawn = allocate(named, per_class=_POLICY.audit.per_class, floor=_POLICY.audit.floor)
    return [drawn[stratum.name] for stratum in named]


def _child(name: str, lake: Path) -> dict[str, float]:
    code = (
        "import sys; from pathlib import Path; from benchmarks.audit import work; work(sys.argv[1], Path(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, name, str(lake)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def work(name: str, lake: Path) -> None:
    """Draw in this process and print seconds, processor seconds, peak MiB and rows as JSON."""
    start = time.perf_counter()
    rows = SCRIPTS[name](Lake(lake))
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "seconds": round(seconds, 2),
        "processor": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024),
        "rows": rows,
    }
    print(json.dumps(figures))


def _table(medians: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':<8}{'seconds':>9}{'ratio':>7}{'processor':>11}{'peak MiB':>10}{'rows':>7}"]
    for name, took in medians.items():
        ratio = took["seconds"] / medians["us"]["seconds"]
        lines.append(
            f"{name:<8}{took['seconds']:>9.2f}{ratio:>7.2f}{took['processor']:>11.2f}{took['peak_mib']:>10,.0f}"
            f"{took['rows']:>7,.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
