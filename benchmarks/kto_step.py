"""How fast KTO steps are, beside TRL's `KTOTrainer` and a loop written by hand.

    python -m benchmarks.kto_step [--shape a|b|c] [--model tiny|smollm2|1b] [--lora] [--json]

Everybody trains the same weights on the same token ids in the same precision, each in a process of its own, taking
turns a step at a time in one run. Rates are rows a second by the median step after the first epoch, when every
reference log-probability is known to those who keep them; what the first epoch and the whole run took is printed too.
TRL must be installed: `pip install -e '.[benchmark]'`.
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
    """Run the comparison that was asked for and print what it took."""
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
    given = parser.parse_args()
    if given.rows % (given.batch * given.accumulate):
        parser.error(f"--rows must be a multiple of batch × accumulate = {given.batch * given.accumulate}")
    with tempfile.TemporaryDirectory(prefix="kto-step-") as folder:
        found = compare(Path(folder), given)
    print(json.dumps(found) if given.json else _table(found))


def compare(folder: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Let the contestants take turns; what each took, and what the machine could have done."""
    torch.set_num_threads(given.threads)
    write_model(folder / "model", given.model)
    write_rows(folder / "set", SHAPES[given.shape], rows=given.rows, vocabulary=MODELS[given.model]["vocab_size"])
    epoch_steps = given.rows // (given.batch * given.accumulate)
    steps = epoch_steps * given.epochs
    arguments = {
        "folder": str(folder),
        "steps": steps,
        "epochs": given.epochs,
        "batch": given.batch,
        "accumulate": given.accumulate,
        "precision": given.precision,
        "lora_rank": 16 if given.lora else 0,
        "learning_rate": 1e-4,
    }
    with ExitStack() as stack:
        setups, children = {}, {}
        for name in given.contestants:
            module, options = CONTESTANTS[name]
            children[name] = stack.enter_context(Child(module, arguments | options, threads=given.threads))
            setups[name] = children[name].hear()["setup"]
            _say(f"{name}: ready after {setups[name]:.1f} s")
        taken: dict[str, list[float]] = {name: [] for name in children}
        ceiling = []
        for number in range(steps):
            ceiling.append(matmul_rate(MODELS[given.model]["hidden_size"]))
            for name, child in children.items():
                taken[name].append(child.step()["seconds"])
            times = "  ".join(f"{name} {seconds[-1]:.2f} s" for name, seconds in taken.items())
            _say(f"step {number + 1} of {steps}: {times}")
        ends = {name: child.hear() for name, child in children.items()}
    useful = useful_flops(folder / "set" / "rows.parquet", given.model, steps=epoch_steps, lora=given.lora) / given.rows
    return {
        **{name: getattr(given, name) for name in ("shape", "model", "lora", "rows", "epochs", "batch", "accumulate")},
        "precision": given.precision,
        "threads": given.threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "ceiling_gflops": statistics.median(ceiling) / 1e9,
        "useful_gflop_a_row": useful / 1e9,
        "contestants": {
            name: _figures(seconds, setups[name], ends[name], epoch_steps, given, useful / statistics.median(ceiling))
            for name, seconds in taken.items()
        },
    }


def _figures(
    seconds: list[float], setup: float, end: dict[str, Any], epoch_steps: int, given: argparse.Namespace, ideal: float
) -> dict[str, Any]:
    warm = seconds[epoch_steps:] or seconds
    step = statistics.median(warm)
    rate = given.batch * given.accumulate / step
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
    """Operations of an epoch of `steps` that cannot be left out when log π_ref is known and nothing is computed twice.

    Matrix products only; what all prompts begin with once a step, no padding, causal attention, the head on
    completions; forward and twice that backward (once with LoRA, whose frozen weights need no gradient) for (x, y),
    forward for y'.
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


def _table(found: dict[str, Any]) -> str:
    what = f"shape {found['shape']}, {found['model']}, {'LoRA' if found['lora'] else 'full'}, {found['precision']}"
    lines = [
        f"{what}: {found['rows']} rows, {found['epochs']} epochs, {found['accumulate']} × {found['batch']} rows a "
        f"step, {found['device']}, {found['threads']} threads",
        f"bare matmul {found['ceiling_gflops']:.0f} GFLOP/s; a row needs {found['useful_gflop_a_row']:.1f} GFLOP",
        f"{'':<17}{'step':>9}{'rows/s':>9}{'of ceiling':>12}{'ours ×':>9}{'aim':>6}{'first epoch':>13}{'total':>9}"
        f"{'peak':>11}",
    ]
    ours = found["contestants"].get(US)
    for name, run in found["contestants"].items():
        ratio = f"{ours['rows_per_second'] / run['rows_per_second']:.1f}" if ours and name != US else ""
        aim = AIMS[found["shape"]].get(name, "") if found["model"] == "tiny" and not found["lora"] else ""
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
