"""Run the training worker in its own process, so that the orchestrator never loads torch.

The desk's `launcher` is the command that starts it. By default a run's workers are forked from one process that loads
torch once. A cluster takes over by configuration (`srun … python -m training_worker`) wherever the desk's folder is
mounted. The task travels in environment variables, and messages come back through a file in the desk's folder.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import dagster as dg

from desk.desk import Desk
from training_worker.fork_server import ForkServer
from training_worker.message_file import MessageFile

# The steps that run models share this pool; dagster.yaml says how many run at once.
POOL = "training"
# A worker that dies (out of memory, a lost node) is tried once more; a refusal is not, since nothing would change.
RETRY = dg.RetryPolicy(max_retries=1, delay=5)
WORKERS = ForkServer(
    "kto_core.training.sft", "kto_core.training.kto", "kto_core.evaluation.heldout", "harbor.kpis", "sklearn.metrics",
    # Loading looks for a GPU. If it asked CUDA's own library, CUDA could not be used after a fork.
    environment={"PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
)  # fmt: skip
"""The server that forks this process's training workers."""
_WORKER = "training_worker"


def run_worker(context: dg.AssetExecutionContext, desk: Desk, task: Mapping[str, Any]) -> dict[str, Any]:
    """Run one task of `training_worker` and return its outcome; its log lines stream into the run.

    Raises:
        dagster.Failure: the worker refused the task (bad data or configuration), which no retry would change.
        DagsterPipesExecutionError: the process died, which a retry may.

    """
    messages = desk.path / "runs" / context.run.run_id / f"{context.op_execution_context.op.name}.messages"
    client = dg.PipesSubprocessClient(
        context_injector=dg.PipesEnvContextInjector(), message_reader=MessageFile(messages)
    )
    invocation = client.run(
        context=context.op_execution_context,
        command=[*(desk.settings.launcher or default_launcher())],
        extras={"task": dict(task)},
    )
    for message in invocation.get_custom_messages():
        if "refused" in message:
            raise dg.Failure(description=message["refused"], allow_retries=False)
        if "outcome" in message:
            return cast("dict[str, Any]", message["outcome"])
    raise dg.Failure(description="the training worker ended without an outcome; see the run's stderr")


def default_launcher() -> list[str]:
    """Return the command of a training worker where the desk names none: a forked process on Linux, or this Python."""
    return WORKERS.command(_WORKER) if sys.platform == "linux" else [sys.executable, "-m", _WORKER]


def load_worker(desk: Desk) -> None:
    """Load the modules of the default launcher's workers in the background, if the desk uses that launcher."""
    if not desk.settings.launcher and sys.platform == "linux":
        WORKERS.load()


def training_record(model: Path) -> dict[str, Any]:
    """Return a model folder's `training.json`: its inputs, settings, hashes and metrics."""
    return dict(json.loads((model / "training.json").read_text(encoding="utf-8")))
