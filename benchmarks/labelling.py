"""Measure how fast interactions and raw logs are labelled, beside scripts written by hand.

    python -m benchmarks.labelling [--events 5000000] [--rounds 3] [--json] [--only stored raw year] [--keep FOLDER]

It makes three comparisons, each interleaved in one run; figures are medians.

- stored: labelling stored interactions, against the bare CASE query over the same Parquet.
- raw: raw logs to labels, against scripts in DuckDB, Polars and pandas; their labels are asserted equal.
- year: the job `relabel` over a year, against the bare query plus the time of Dagster alone.

All scripts may call `classify_edits`. pandas must be installed; the project itself does not require it.
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
from pathlib import Path
from typing import Any

import duckdb
from deltalake import DeltaTable

from benchmarks.labels import relabel_year
from benchmarks.labels.generate import end_of_logs, generate
from feedback.labels.labels import build_labels
from feedback.lake.delta import Lake
from feedback.lake.tables import INTERACTIONS, LABELS
from label_policy import compile_policy, load_policy, shipped_policies

POLICY = "harbor-support.v1"
SCRIPTS = ("us", "duckdb", "polars", "pandas")
COMPARED = "draft_id, rule, label, tier, weight, matures_at, state"
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the chosen comparisons and print their figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=("raw", "stored", "year"), default=("raw", "stored", "year"))
    parser.add_argument("--scripts", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave it; logs there are used again")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="labelling-"))
    try:
        raw = folder / f"raw-{options.events}"
        if not raw.exists():
            _say(f"generating {options.events:,} events")
            generate(raw, events=options.events)
        results: dict[str, Any] = {"events": options.events, "rounds": options.rounds}
        if "raw" in options.only:
            results["raw"] = compare_raw(raw, folder, options.scripts, options.rounds)
        elif not (folder / "us").exists():
            _child("us", raw, folder)
        if "stored" in options.only:
            results["stored"] = compare_stored(Lake(folder / "us"), raw, max(options.rounds, 5))
        if "year" in options.only:
            results["year"] = compare_year(Lake(folder / "us"), folder, options.rounds)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    print(json.dumps(results) if options.json else _table(results))


def compare_raw(raw: Path, folder: Path, scripts: list[str], rounds: int) -> dict[str, dict[str, float]]:
    """Return wall seconds, processor seconds and peak MiB of each script from raw logs to labels, each in a process."""
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in scripts}
    for number in range(rounds):
        for name in scripts:
            taken[name].append(_child(name, raw, folder))
            _say(f"round {number + 1}: {name} {taken[name][-1]}")
    for name in scripts:
        if name != "us":
            _assert_equal(folder, name)
    return {
        name: {figure: statistics.median(run[figure] for run in runs) for figure in runs[0]}
        for name, runs in taken.items()
    }


def _child(name: str, raw: Path, folder: Path) -> dict[str, float]:
    shutil.rmtree(folder / name, ignore_errors=True)
    code = (
        "import sys; from pathlib import Path; from benchmarks.labelling import work;"
        "work(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, name, str(raw), str(folder / name)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def work(name: str, raw: Path, out: Path) -> None:
    """Run one script in this process and print its figures as JSON, its child processes included."""
    from importlib import import_module

    script, policy = import_module(f"benchmarks.labels.by_{name}"), load_policy(shipped_policies()[POLICY])
    start = time.perf_counter()
    script.run(raw, out, policy, end_of_logs(raw))
    seconds = time.perf_counter() - start
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    processor = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    peak = (own.ru_maxrss + children.ru_maxrss) / 1024
    print(json.dumps({"seconds": round(seconds, 2), "processor": round(processor, 2), "peak_mib": round(peak)}))


def _assert_equal(folder: Path, name: str) -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        ours = DeltaTable(folder / "us" / LABELS.name).file_uris()
        connection.read_parquet(ours, hive_partitioning=True).create_view("ours")
        connection.read_parquet(str(folder / name / "**" / "*.parquet")).create_view("theirs")
        [(missing, extra)] = connection.execute(
            f"""
            SELECT (SELECT count(*) FROM (SELECT {COMPARED} FROM ours EXCEPT ALL SELECT {COMPARED} FROM theirs)),
                (SELECT count(*) FROM (SELECT {COMPARED} FROM theirs EXCEPT ALL SELECT {COMPARED} FROM ours))
            """
        ).fetchall()
    assert (missing, extra) == (0, 0), f"{name} lacks {missing} of our labels and has {extra} others"


def compare_stored(lake: Lake, raw: Path, rounds: int) -> dict[str, float]:
    """Return seconds of `build_labels` and of the bare query over the same Parquet files, both to an Arrow table."""
    policy, as_of = load_policy(shipped_policies()[POLICY]), end_of_logs(raw)
    files = DeltaTable(lake.path(INTERACTIONS)).file_uris()
    ours, bare = [], []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(files, hive_partitioning=True).create_view("interactions")
        days = [day for (day,) in connection.execute("SELECT DISTINCT shown_date FROM interactions").fetchall()]
        query = compile_policy(policy)
        for _ in range(rounds):
            start = time.perf_counter()
            rows = connection.sql(query).to_arrow_table().num_rows
            bare.append(time.perf_counter() - start)
            start = time.perf_counter()
            assert build_labels(lake, policy, days, as_of=as_of).num_rows == rows
            ours.append(time.perf_counter() - start)
    return {"interactions": rows, "ours": statistics.median(ours), "bare": statistics.median(bare)}


def compare_year(lake: Lake, folder: Path, rounds: int) -> dict[str, float]:
    """Return seconds of the bare query, of Dagster alone, and of the job `relabel`, over 365 days of 3,000 drafts."""
    home = folder / "year"
    if not home.exists():
        with lake.sql(INTERACTIONS) as connection:
            sample = connection.sql(f"FROM interactions LIMIT {relabel_year.DRAFTS_A_DAY}").to_arrow_table()
        relabel_year.prepare(home, sample)
    taken: dict[str, list[float]] = {name: [] for name in relabel_year.contestants()}
    for number in range(rounds):
        for name, runs in taken.items():
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", "benchmarks.labels.relabel_year", name, str(home)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                check=True,
                text=True,
            )
            runs.append(float(done.stdout.splitlines()[-1]))
            _say(f"round {number + 1}: {name} {runs[-1]:.2f} s")
    return {name: statistics.median(runs) for name, runs in taken.items()}


def _table(results: dict[str, Any]) -> str:
    lines = []
    if stored := results.get("stored"):
        lines.append(
            f"{stored['interactions']:,} stored interactions labelled: {stored['ours']:.2f} s, bare query "
            f"{stored['bare']:.2f} s: {stored['ours'] / stored['bare']:.2f} × (at most 1.25)"
        )
    if raw := results.get("raw"):
        lines.append(f"{results['events']:,} raw events to labels, median of {results['rounds']} interleaved rounds:")
        for name, run in raw.items():
            ratio = f"{run['seconds'] / raw['us']['seconds']:6.2f} × ours" if "us" in raw else ""
            lines.append(
                f"  {name:<8}{run['seconds']:8.1f} s{run['processor']:8.1f} s of processor"
                f"{run['peak_mib']:8,.0f} MiB  {ratio}"
            )
    if year := results.get("year"):
        parts = year["bare"] + year["dagster"]
        lines.append(
            f"relabel of 365 × 3,000: {year['relabel']:.2f} s; bare query {year['bare']:.2f} s + Dagster alone "
            f"{year['dagster']:.2f} s ({year['dagster'] / relabel_year.DAYS * 1000:.0f} ms a day): "
            f"{year['relabel'] / parts:.2f} × (at most 2)"
        )
    return "\n".join(lines)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
