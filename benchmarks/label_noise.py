"""Measure what each `noise_correction` recovers where accepts are wrong: KTO on Harbor.

    nice -n 10 env OMP_NUM_THREADS=1 python -m benchmarks.label_noise --out FOLDER [--seeds 3] [--minutes 60]

0, 10, 20, 30 and 40 % of the accepts are wrong; `benchmarks.noise.sets` says how. KTO trains on each set with `none`,
`weight` and `unbiased`, from one reference. Candidates are measured on tickets that were never logged, and on held-out
drafts labelled by the truth. FOLDER keeps each run's figures and no run is repeated, so the same command goes on after
a stop. Prints a table and draws FOLDER/label_noise.png.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.noise.sets import Desk
from harbor import DEMO_KTO
from harbor import evaluate as evaluate_desk
from kto_core import EvaluationConfig, KTOConfig, evaluate, train_kto
from kto_core.base.store import read_json, write_json

WRONG = (0.0, 0.1, 0.2, 0.3, 0.4)
CORRECTIONS = ("none", "weight", "unbiased")
FIGURES = {"resolution": "first-contact resolution", "invented": "invented policy", "auc": "held-out AUC"}
COLORS = {"none": "#767676", "weight": "#0072b2", "unbiased": "#d55e00"}  # Okabe & Ito's, for colour-blind readers too
# The demo's settings and steps: twice the epochs, of sets half as large. Measures that no figure here needs are off.
KTO = {**DEMO_KTO, "epochs": 3.0, "kl_prompts": 0, "class_gradients_every": 0}

Run = dict[str, Any]


def main() -> None:
    """Do the missing runs, then print and draw the figures of all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the desk, the sets, the models and the figures"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tickets", type=int, default=600, help="tickets that a model answers")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after so long")
    options = parser.parse_args()
    until = time.monotonic() + 60 * options.minutes
    torch.set_num_threads(1)
    desk = Desk(options.out)
    # Seeds outermost, so that when time is up, all levels of fewer seeds are complete.
    wanted = [(seed, wrong, name) for seed in range(options.seeds) for wrong in WRONG for name in CORRECTIONS]
    runs: list[Run] = []
    for number, (seed, wrong, name) in enumerate(wanted, start=1):
        file = options.out / "results" / f"{wrong:.0%}-{name}-{seed}.json"
        if not file.exists():
            if time.monotonic() > until:
                _say(f"time is up: {len(runs)} of {len(wanted)} runs are done; run the same command again to go on")
                break
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, run(options.out, desk, seed=seed, wrong=wrong, correction=name, tickets=options.tickets))
        runs.append(read_json(file))
        shown = ", ".join(f"{title} {runs[-1][key]:.3f}" for key, title in FIGURES.items())
        _say(
            f"{number} of {len(wanted)}: {wrong:.0%} wrong, {name}, seed {seed}: {shown} ({runs[-1]['seconds']:.0f} s)"
        )
    if not runs:
        raise SystemExit("no run is done yet; set more --minutes")
    print(table(runs, before(options.out, desk, tickets=options.tickets)))
    draw(runs, options.out / "label_noise.png")


def run(out: Path, desk: Desk, *, seed: int, wrong: float, correction: str, tickets: int) -> Run:
    """Train on one set with one correction, and return the candidate's figures."""
    began = time.perf_counter()
    training_set = out / "sets" / f"{wrong:.0%}-{seed}"
    manifest = desk.write_set(training_set, wrong=wrong, seed=seed)
    config = KTOConfig.from_dict({**KTO, "noise_correction": correction, "seed": seed})
    candidate = train_kto(
        reference=desk.reference, training_set=training_set, config=config, store=out / "models", cache=out / "cache"
    )
    desk_figures = evaluate_desk(candidate, tickets=tickets)["model"]["kpis"]
    held_out = evaluate(
        reference=desk.reference,
        candidate=candidate,
        training_set=training_set,
        config=EvaluationConfig(max_rows=None),
        cache=out / "cache",
    )
    trained = read_json(candidate / "training.json")
    return {
        "seed": seed,
        "wrong": wrong,
        "correction": correction,
        "resolution": desk_figures["first_contact_resolution"]["share"],
        "invented": desk_figures["invented_policy"]["share"],
        "auc": held_out["auc_within_after"],
        "auc_before": held_out["auc_within_before"],
        "held_out_rows": held_out["rows"],
        "precision": manifest["audit"]["precision"],
        "true_precision": manifest["true_precision"],
        "noise": trained["noise"],
        "steps": trained["metrics"]["steps"],
        "troubles": trained["troubles"],
        "seconds": time.perf_counter() - began,
    }


def before(out: Path, desk: Desk, *, tickets: int) -> dict[str, float]:
    """Return the reference's figures on the same tickets; every run has its AUC."""
    file = out / "results" / "reference.json"
    if not file.exists():
        kpis = evaluate_desk(desk.reference, tickets=tickets)["model"]["kpis"]
        write_json(
            file,
            {"resolution": kpis["first_contact_resolution"]["share"], "invented": kpis["invented_policy"]["share"]},
        )
    return read_json(file)


def table(runs: list[Run], reference: dict[str, float]) -> str:
    """Return Markdown tables: means over seeds, and differences to `none` with 95 % t-intervals over seeds, in %."""
    seeds = sorted({run["seed"] for run in runs})
    lines = [
        f"{len(runs)} runs, {len(seeds)} seeds; the reference: first-contact resolution "
        f"{100 * reference['resolution']:.1f} %, invented policy {100 * reference['invented']:.1f} %, "
        f"held-out AUC {runs[0]['auc_before']:.3f}"
    ]
    for key, title in FIGURES.items():
        lines += [
            "",
            f"| {title}, % | none | weight | unbiased | weight − none | unbiased − none |",
            "|---|---|---|---|---|---|",
        ]
        for wrong in (*WRONG, None):
            values = {name: _values(runs, key, wrong, name) for name in CORRECTIONS}
            cells = [_mean(values[name]) for name in CORRECTIONS]
            cells += [_difference(values[name], values["none"]) for name in CORRECTIONS[1:]]
            lines.append(f"| {'all levels' if wrong is None else f'{wrong:.0%} wrong'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _values(runs: list[Run], key: str, wrong: float | None, correction: str) -> dict[int, float]:
    """Return by seed the figure at one level; without a level, its mean over levels, for seeds that have them all."""
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        if run["correction"] == correction and wrong in (None, run["wrong"]):
            by_seed.setdefault(run["seed"], []).append(100 * run[key])
    whole = len(WRONG) if wrong is None else 1
    return {seed: float(np.mean(values)) for seed, values in by_seed.items() if len(values) == whole}


def _mean(values: dict[int, float]) -> str:
    return f"{np.mean(list(values.values())):.1f}" if values else "–"


def interval(values: list[float]) -> tuple[float, float, float]:
    """Return the mean and the ends of its 95 % t-interval, which are infinite with a single value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _difference(one: dict[int, float], other: dict[int, float]) -> str:
    both = [one[seed] - other[seed] for seed in one if seed in other]
    if not both:
        return "–"
    mean, low, high = interval(both)
    return f"{mean:+.1f} [{low:+.1f}, {high:+.1f}]"


def draw(runs: list[Run], file: Path) -> None:
    """Draw each figure against the share of wrong accepts: a dot for every run, a line through the means."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(FIGURES), figsize=(12, 3.8), layout="constrained")
    for panel, (key, title) in zip(panels, FIGURES.items(), strict=True):
        for shift, name in zip((-0.8, 0.0, 0.8), CORRECTIONS, strict=True):
            mine = [run for run in runs if run["correction"] == name]
            panel.plot(
                [100 * r["wrong"] + shift for r in mine],
                [100 * r[key] for r in mine],
                ".",
                color=COLORS[name],
                alpha=0.5,
            )
            levels = [w for w in WRONG if _values(runs, key, w, name)]
            means = [float(np.mean(list(_values(runs, key, w, name).values()))) for w in levels]
            panel.plot([100 * w + shift for w in levels], means, color=COLORS[name], label=name)
        panel.set(title=f"{title}, %", xlabel="accepts that are wrong, %", xticks=[100 * w for w in WRONG])
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].legend(title="noise_correction", frameon=False)
    figure.savefig(file, dpi=140)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
