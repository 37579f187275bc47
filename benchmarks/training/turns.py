"""A trainer as a process that takes one step on request, so that several trainers take turns in one run.

The child writes `{"setup": seconds}` once it is ready. It waits for a line before every step, and answers with the
step's seconds. At the end it writes its peak memory. Seconds count from the line to the end of the step: they include
fetching the batch, not waiting.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import torch

ROOT = Path(__file__).resolve().parents[2]


class Turns:
    """The child's side: call `setup_done` once, `step_done` after every step, `finish` at the end.

    What a trainer prints goes to stderr; what the parent reads goes to the descriptor that was stdout.
    """

    def __init__(self) -> None:
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        torch.set_num_threads(int(os.environ["BENCHMARK_THREADS"]))
        self._imported = _peak_mib()
        self._began = time.perf_counter()

    def setup_done(self) -> None:
        """Write the seconds of the setup, and wait for the first turn."""
        self._say(setup=time.perf_counter() - self._began)
        self._wait()

    def step_done(self, *, last: bool, **figures: float) -> None:
        """Write the seconds of the step, and wait for the next turn unless it was the last."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._say(seconds=time.perf_counter() - self._began, **figures)
        if not last:
            self._wait()

    def finish(self, **figures: object) -> None:
        """Write the peak memory: on a GPU the memory allocated there, else the process's memory above its imports."""
        on_gpu = torch.cuda.is_available()
        mib = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else _peak_mib() - self._imported
        self._say(peak_mib=round(mib), **figures)

    def _wait(self) -> None:
        if not sys.stdin.readline():
            sys.exit("the benchmark has ended")
        self._began = time.perf_counter()

    def _say(self, **figures: object) -> None:
        print(json.dumps(figures), file=self._answers, flush=True)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Child:
    """The parent's side: a process of `python -m MODULE ARGUMENT…`; use it as a context manager."""

    def __init__(self, module: str, arguments: dict[str, Any], *, threads: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "BENCHMARK_THREADS": str(threads),
            # A turn has the machine alone, so threads spin while they wait for one another within a step.
            "GOMP_SPINCOUNT": "100000",
            "HF_HUB_OFFLINE": "1",
            "TQDM_DISABLE": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", module, json.dumps(arguments)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if not os.environ.get("BENCHMARK_VERBOSE") else None,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def hear(self) -> dict[str, Any]:
        """Return the child's next answer; wait for it.

        Raises:
            RuntimeError: the child ended early; the message has its stderr.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            errors = self._process.stderr.read() if self._process.stderr else ""
            raise RuntimeError(f"{self._process.args} ended early:\n{errors}")
        return dict(json.loads(line))

    def step(self) -> dict[str, Any]:
        """Let the child take a step and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self.hear()
