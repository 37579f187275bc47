"""The training process: `python -m training_worker`, launched by the orchestrator through Dagster Pipes.

It is the only place where learning meets Dagster: what to do comes in as Pipes extras, progress goes back as
log lines into the run, and the result as one custom message. A refusal (a TrainingError: bad data or settings) is an
answer, not a crash: it goes back as a message too and the process exits 0, so that only real crashes are retried.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from dagster_pipes import PipesContext, PipesDefaultContextLoader, PipesEnvVarParamsLoader, open_dagster_pipes

import kto_core
from feedback.progress import Report, silent
from harbor.exceptions import HarborError
from training_worker.progress_lines import log_progress


def _sft(task: dict[str, Any], report: Report) -> dict[str, Any]:
    path = kto_core.train_sft(
        model=task["model"],
        rows=Path(task["rows"]),
        config=kto_core.SFTConfig.from_dict(task["config"]),
        store=Path(task["store"]),
        report=report,
    )
    return {"path": str(path)}


def _kto(task: dict[str, Any], report: Report) -> dict[str, Any]:
    path = kto_core.train_kto(
        reference=Path(task["reference"]),
        training_set=Path(task["training_set"]),
        config=kto_core.KTOConfig.from_dict(task["config"]),
        store=Path(task["store"]),
        cache=Path(task["cache"]),
        report=report,
    )
    return {"path": str(path)}


def _evaluate(task: dict[str, Any], report: Report) -> dict[str, Any]:
    heldout = kto_core.evaluate(
        reference=Path(task["reference"]),
        candidate=Path(task["candidate"]),
        training_set=Path(task["training_set"]),
        config=kto_core.EvaluationConfig.from_dict(task["config"]),
        cache=Path(task["cache"]),
        scores=Path(task["scores"]),
        report=report,
    )
    if task["truth"] is None:
        return {"heldout": heldout, "truth": None}
    import harbor

    truth = harbor.evaluate(model=Path(task["candidate"]), baseline=Path(task["reference"]), report=report)
    return {"heldout": heldout, "truth": truth}


TASKS = {"sft": _sft, "kto": _kto, "evaluate": _evaluate}


def main() -> None:
    """Do the task of the Pipes extras, and leave the group of processes, if a launcher started several."""
    if int(os.environ.get("RANK", "0")):
        _help()
    else:
        _lead()
    kto_core.end_processes()


def _lead() -> None:
    """Do the task, or the first process's share of it, and report its outcome or its refusal."""
    with open_dagster_pipes():
        pipes = PipesContext.get()
        task = pipes.get_extra("task")
        try:
            outcome = TASKS[task["name"]](task, log_progress(pipes.log.info))
        except (kto_core.TrainingError, HarborError) as error:
            pipes.report_custom_message({"refused": str(error)})
        else:
            pipes.report_custom_message({"outcome": outcome})


def _help() -> None:
    """Do this process's share of a task that a launcher (torchrun) started several processes for."""
    loader = PipesEnvVarParamsLoader()  # type: ignore[no-untyped-call]
    with PipesDefaultContextLoader().load_context(loader.load_context_params()) as data:
        task = (data.get("extras") or {})["task"]
    with suppress(kto_core.TrainingError, HarborError):  # the first process is refused as well, and says so
        TASKS[task["name"]](task, silent)


if __name__ == "__main__":
    main()
