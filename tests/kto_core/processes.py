"""Processes for tests that kill one or need several, forked from one that has loaded torch and computed nothing."""

import base64
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.forks import forked_python

FAILED, LEFT = 3, 4  # exit codes of a process that fails, and of one that notices that another has
PATIENCE = 120  # seconds; a process that takes longer hangs


def start(target: Callable[..., None], *given: object) -> subprocess.Popen[bytes]:
    """Start a process that calls a function of this module."""
    task = base64.b64encode(pickle.dumps((target.__name__, given))).decode()
    return subprocess.Popen(forked_python("tests.kto_core.processes", task))


def ended(*processes: subprocess.Popen[bytes]) -> list[int]:
    """Return exit codes, negative for processes ended by a signal. Raises TimeoutExpired if one hangs."""
    return [process.wait(PATIENCE) for process in processes]


def open_cache(folder: Path, meet: Path, count: int) -> None:
    """Open a cache of log-probabilities at the same time as the other processes."""
    from kto_core.reference.logp_cache import LogpCache

    (meet / str(os.getpid())).touch()
    deadline = time.monotonic() + PATIENCE
    while len(list(meet.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.001)
    with LogpCache(folder, weights="w", precision="float32"):
        pass


def train_until_killed(places: dict[str, Path], settings: dict[str, Any], after: int) -> None:
    """Train KTO with a checkpoint every step, and be killed when step `after` has been reported."""
    import kto_core.training.kto

    kto_core.training.kto.Paced = lambda report: report  # every step is reported
    _prepare()
    config = kto_core.KTOConfig(**settings)
    kto_core.train_kto(**places, config=config, checkpoint_seconds=0, report=_kill_at("kto", after))


def train_side_by_side(rank: int, meet: Path, places: dict[str, Path], settings: dict[str, Any], after: int) -> None:
    """Train KTO as one of two processes, of which the second fails after a step, and end with FAILED or LEFT."""
    import torch.distributed

    import kto_core.training.kto

    kto_core.training.kto.Paced = lambda report: report
    _prepare()
    os.environ |= {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=2)

    def fail(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        if rank == 1 and (stage, done) == ("kto", after):
            sys.exit(FAILED)

    try:
        kto_core.train_kto(**places, config=kto_core.KTOConfig(**settings), checkpoint_seconds=0, report=fail)
    except RuntimeError:  # gloo's: the connection was closed
        sys.exit(LEFT)


def sweep_until_killed(places: dict[str, Path], settings: dict[str, Any], space: dict[str, Any], stage: str) -> None:
    """Sweep, and be killed at the end of a stage."""
    import kto_core

    _prepare()
    kto_core.run_sweep(
        **places,
        config=kto_core.KTOConfig(**settings),
        space=space,
        evaluation=kto_core.EvaluationConfig(),
        report=_kill_at(stage, None),
    )


def _prepare() -> None:
    import torch

    from tests.kto_core.toy import without_figures

    torch.set_num_threads(1)
    without_figures().__enter__()


def _kill_at(at_stage: str, after: int | None) -> Callable[..., None]:
    def kill(stage: str, done: int, total: int, unit: str, **figures: float) -> None:
        if stage == at_stage and done == (after or total):
            os.kill(os.getpid(), signal.SIGKILL)

    return kill


if __name__ == "__main__":
    name, values = pickle.loads(base64.b64decode(sys.argv[1]))
    globals()[name](*values)
