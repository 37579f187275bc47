"""How long drawing an audit sample takes, beside what one would write by hand.

    python -m benchmarks.audit [--labels 10000000] [--rounds 3] [--json] [--keep FOLDER]

A lake of labels with texts, 100 days in 200 files, is drawn from by `write_audit_sample` (400 rows, written to the lake
with their texts) and by scripts in Polars and pandas that draw as many rows of the same strata and fetch their texts,
without permanent numbers, earlier verdicts or probabilities. Interleaved in one run, each in a process of its own;
medians. pandas must be installed; it is not one of the project's own requirements.
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
    """Draw by everybody in turn and print what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--labels", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it; labels there are used again")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="audit-"))
    try:
        lake = Lake(folder / f"lake-{given.labels}")
        if not lake.exists(LABELS):
            print(f"writing {given.labels:,} labels", file=sys.stderr)
            generate(lake, given.labels)
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in SCRIPTS}
        for number in range(given.rounds):
            for name in SCRIPTS:
                taken[name].append(_child(name, lake.root))
                print(f"round {number + 1}: {name} {taken[name][-1]}", file=sys.stderr)
    finally:
        if given.keep is None:
            shutil.rmtree(folder)
    found = {
        name: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in taken.items()
    }
    print(json.dumps({"labels": given.labels, "rounds": given.rounds, **found}) if given.json else _table(found))


def generate(lake: Lake, labels: int) -> None:
    """Write that many labels, as many a day."""
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
    """The rows to draw of each stratum, in their order; each comes as its values and its size."""
    made = [Stratum(name="|".join(values), label=values[0], size=size) for *values, size in strata]
    drawn = allocate(made, per_class=_POLICY.audit.per_class, floor=_POLICY.audit.floor)
    return [drawn[stratum.name] for stratum in made]


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
    """Draw in this process and print what it took."""
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


def _table(found: dict[str, dict[str, float]]) -> str:
    lines = [f"{'':<8}{'seconds':>9}{'ratio':>7}{'processor':>11}{'peak MiB':>10}{'rows':>7}"]
    for name, took in found.items():
        ratio = took["seconds"] / found["us"]["seconds"]
        lines.append(
            f"{name:<8}{took['seconds']:>9.2f}{ratio:>7.2f}{took['processor']:>11.2f}{took['peak_mib']:>10,.0f}"
            f"{took['rows']:>7,.0f}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
