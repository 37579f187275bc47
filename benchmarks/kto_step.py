"""Measure how fast KTO steps are, beside TRL's `KTOTrainer` and a loop written by hand.

    python -m benchmarks.kto_step [--shape a|b|c] [--model tiny|smollm2|1b] [--lora] [--json]

All train the same weights on the same token ids in the same precision. Each has a process of its own, and they take
turns step by step in one run. Rates are rows a second by the median step after the first epoch: from then on, trainers
that keep reference log-probabilities know them all. The seconds of the first epoch and of the whole run are printed
too. TRL must be installed: `pip install -e '.[benchmark]'`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.training.turns import Child
from benchmarks.training.workload import MODELS, SHAPES, write_model, write_rows

US, ONLINE, PRECOMPUTED, LOOP = "feedback-kto", "TRL online", "TRL precomputed", "four forwards"
CONTESTANTS: dict[str, tuple[str, dict[str, bool]]] = {
    US: ("benchmarks.training.by_us", {}),
    ONLINE: ("benchmarks.training.by_trl", {"precompute": False}),
    PRECOMPUTED: ("benchmarks.training.by_trl", {"precompute": True}),
    LOOP: ("benchmarks.training.by_loop", {}),
}
AIMS = {
    "a": {ONLINE: 12, PRECOMPUTED: 8, LOOP: 5},
    "b": {ONLINE: 7, PRECOMPUTED: 5, LOOP: 3},
    "c": {ONLINE: 7, LOOP: 2.5},
}


def main() -> None:
    """Run one comparison and print its figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="a")
    parser.add_argument("--model", choices=MODELS, default="tiny")
    parser.add_argument("--lora", action="store_true", help="adapters of rank 16 on every linear layer")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--accumulate", type=int, default=1, help="batches an optimizer step")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--contestants", nargs="+", choices=CONTESTANTS, default=list(CONTESTANTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.rows % (options.batch * options.accumulate):
        parser.error(f"--rows must be a multiple of batch × accumulate = {options.batch * options.accumulate}")
    with tempfile.TemporaryDirectory(prefix="kto-step-") as folder:
        result = compare(Path(folder), options)
    print(json.dumps(result) if options.json else _table(result))


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Let the contestants take turns; return the figures of each and the machine's matmul ceiling."""
    torch.set_num_threads(options.threads)
    write_model(folder / "model", options.model)
    write_rows(folder / "set", SHAPES[options.shape], rows=options.rows, vocabulary=MODELS[options.model]["vocab_size"])
    epoch_steps = options.rows // (options.batch * options.accumulate)
    steps = epoch_steps * options.epochs
    arguments = {
        "folder": str(folder),
        "steps": steps,
        "epochs": options.epochs,
        "batch": options.batch,
        "accumulate": options.accumulate,
        "precision": options.precision,
        "lora_rank": 16 if options.lora else 0,
        "learning_rate": 1e-4,
    }
    with ExitStack() as stack:
        setups, children = {}, {}
        for name in options.contestants:
            module, flags = CONTESTANTS[name]
            children[name] = stack.enter_context(Child(module, arguments | flags, threads=options.threads))
            setups[name] = children[name].hear()["setup"]
            _say(f"{name}: ready after {setups[name]:.1f} s")
        taken: dict[str, list[float]] = {name: [] for name in children}
        ceiling = []
        for number in range(steps):
            ceiling.append(matmul_rate(MODELS[options.model]["hidden_size"]))
            for name, child in children.items():
                taken[name].append(child.step()["seconds"])
            times = "  ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in taken.items())
            _say(f"step {number + 1} of {steps}: {times}")
        ends = {name: child.hear() for name, child in children.items()}
    useful = (
        useful_flops(folder / "set" / "rows.parquet", options.model, steps=epoch_steps, lora=options.lora)
        / options.rows
    )
    return {
        **{
            name: getattr(options, name) for name in ("shape", "model", "lora", "rows", "epochs", "batch", "accumulate")
        },
        "precision": options.precision,
        "threads": options.threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "ceiling_gflops": statistics.median(ceiling) / 1e9,
        "useful_gflop_a_row": useful / 1e9,
        "contestants": {
            name: _figures(seconds, setups[name], ends[name], epoch_steps, options, useful / statistics.median(ceiling))
            for name, seconds in taken.items()
        },
    }


def _figures(
    seconds: list[float], setup: float, end: dict[str, Any], epoch_steps: int, options: argparse.Namespace, ideal: float
) -> dict[str, Any]:
    warm = seconds[epoch_steps:] or seconds
    step = statistics.median(warm)
    rate = options.batch * options.accumulate / step
    return {
        "step_seconds": step,
        "rows_per_second": rate,
        "share_of_ceiling": rate * ideal,
        "setup_seconds": setup,
        "first_epoch_seconds": setup + sum(seconds[:epoch_steps]),
        "total_seconds": setup + sum(seconds),
        **end,
    }


def matmul_rate(width: int, tokens: int = 2048) -> float:
    """Floating-point operations a second of the model's kind of matmul, the best of a few: [tokens, w] × [w, 4w]."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    a = torch.randn(tokens, width, device=device, dtype=kind)
    b = torch.randn(width, 4 * width, device=device, dtype=kind)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * tokens * width * 4 * width / best


def useful_flops(rows: Path, model: str, *, steps: int, lora: bool) -> float:
    """Return the operations that an epoch of `steps` needs when log π_ref is known and nothing is computed twice.

    They are matrix products only, without padding: causal attention, the head on completions, and the beginning that
    all prompts share once a step. (x, y) needs a forward pass and twice that backward, or once with LoRA, whose frozen
    weights need no gradient. y' needs a forward pass.
    """
    shape = MODELS[model]
    width, layers = shape["hidden_size"], shape["num_hidden_layers"]
    kv = width * shape.get("num_key_value_heads", shape["num_attention_heads"]) // shape["num_attention_heads"]
    block = 2 * layers * (2 * width * width + 2 * width * kv + 3 * width * shape["intermediate_size"])
    head = 2 * width * shape["vocab_size"]
    pair = 4 * layers * width  # of one query with one key
    table = pq.read_table(rows)
    prompts = [text.split() for text in table["prompt"].to_pylist()]
    replies = [len(text.split()) + 1 for text in table["completion"].to_pylist()]
    shared = int(np.cumprod([len(set(words)) == 1 for words in zip(*prompts, strict=False)]).sum())
    learned = 2.0 if lora else 3.0
    total = steps * learned * (block * shared + pair * shared**2 / 2)
    for words, reply in zip(prompts, replies, strict=True):
        own = len(words) - shared + reply
        total += learned * (block * own + head * reply + pair * (own * shared + own**2 / 2))
        total += block * reply + head * reply + pair * (reply * len(words) + reply**2 / 2)
    return total


def _table(result: dict[str, Any]) -> str:
    what = f"shape {result['shape']}, {result['model']}, {'LoRA' if result['lora'] else 'full'}, {result['precision']}"
    lines = [
        f"{what}: {result['rows']} rows, {result['epochs']} epochs, {result['accumulate']} × {result['batch']} rows a "
        f"step, {result['device']}, {result['threads']} threads",
        f"bare matmul {result['ceiling_gflops']:.0f} GFLOP/s; a row needs {result['useful_gflop_a_row']:.1f} GFLOP",
        f"{'':<17}{'step':>9}{'rows/s':>9}{'of ceiling':>12}{'ours ×':>9}{'aim':>6}{'first epoch':>13}{'total':>9}"
        f"{'peak':>11}",
    ]
    ours = result["contestants"].get(US)
    for name, run in result["contestants"].items():
        ratio = f"{ours['rows_per_second'] / run['rows_per_second']:.1f}" if ours and name != US else ""
        aim = AIMS[result["shape"]].get(name, "") if result["model"] == "tiny" and not result["lora"] else ""
        lines.append(
            f"{name:<17}{run['step_seconds']:>7.2f} s{run['rows_per_second']:>9.1f}{run['share_of_ceiling']:>11.0%} "
            f"{ratio:>8} {aim:>5} {run['first_epoch_seconds']:>10.1f} s{run['total_seconds']:>7.1f} s"
            f"{run['peak_mib']:>7,} MiB"
        )
    return "\n".join(lines)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
