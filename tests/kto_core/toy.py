"""A toy desk: greetings are good, grunts are bad, and a model of two layers learns it in seconds."""

import json
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from kto_core import TinyConfig
from kto_core.comparison import comparison_chart
from kto_core.sweep import sweep_chart
from kto_core.training import curves

TOY = TinyConfig(layers=2, width=32, heads=2, vocabulary=400)
TOPICS = ("refund", "invoice", "password", "delivery", "contract")
GOOD = ("hello, your {} is on its way", "hello, I have looked into your {}", "hello, the {} team will call you today")
BAD = ("no", "go away with your {}", "not my {} not my problem")
FIGURES = {
    "training.kto.draw_kto_curve": curves.draw_kto_curve,
    "training.pairs.draw_pair_curve": curves.draw_pair_curve,
    "training.sft.draw_sft_curve": curves.draw_sft_curve,
    "comparison.compare.draw_comparison": comparison_chart.draw_comparison,
    "sweep.trials.draw_sweep": sweep_chart.draw_sweep,
}
SYSTEM = {"role": "system", "content": "You answer for Harbor."}


def prompt(topic: str, number: int) -> list[dict[str, str]]:
    return [SYSTEM, {"role": "user", "content": f"case {number}: I need help with my {topic}, please"}]


def toy_rows(count: int, seed: int = 0) -> list[dict]:
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        good = rng.random() < 0.4
        topic = rng.choice(TOPICS)
        rows.append(
            {
                "prompt": prompt(topic, number // 2),  # two rows a prompt: some prompts become choice sets
                "completion": rng.choice(GOOD if good else BAD).format(topic),
                "label": good,
                "weight": rng.choice((0.5, 1.0)),
                "tier": "strong",
                "rule": "toy",
                "category": topic if number % 3 else None,
                "ticket_id": f"t{number // 2}",
                "shown_date": "2026-11-01",
                "row_id": f"r{number}",
            }
        )
    for first, second in zip(rows[::2], rows[1::2], strict=False):
        second["prompt"] = first["prompt"]
    return rows


def write_training_set(folder: Path, train: list[dict], heldout: list[dict], version: str = "0123456789abcdef") -> Path:
    for split, rows in (("train", train), ("heldout", heldout)):
        for side in (True, False):
            part = [row for row in rows if row["label"] is side]
            place = folder / ("desirable" if side else "undesirable")
            place.mkdir(parents=True, exist_ok=True)
            if part:
                pq.write_table(pa.Table.from_pylist(part), place / f"{split}-0.parquet")
    manifest = {
        "version": version,
        "policy": {"name": "toy", "version": 3, "digest": "d" * 64},
        "counts": {"train": len(train)},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@contextmanager
def without_figures() -> Iterator[None]:
    """Make figures empty files, because drawing one takes longer than toy steps."""
    with ExitStack() as stack:
        for name in FIGURES:
            stack.enter_context(mock.patch(f"kto_core.{name}", lambda _, path, **__: path.touch()))
        yield


@contextmanager
def with_figures() -> Iterator[None]:
    """Draw figures, although toy tests otherwise do not."""
    with ExitStack() as stack:
        for name, draw in FIGURES.items():
            stack.enter_context(mock.patch(f"kto_core.{name}", draw))
        yield
