"""A sweep's trials, kept by Optuna in an SQLite file, so that a sweep that was killed goes on where it was.

A trial's settings are fixed before it runs (a grid's cells wait in the study from the beginning), and it is told to the
study only when all of it is done. One that was under way when its process died is marked as failed, and its settings
wait again. A trial that failed by what it was asked to do has the sentence that says so as its `error`.
"""

import fcntl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from kto_core.base.exceptions import TrainingError
from kto_core.sweep.space import Space

FILE: Final = "sweep.sqlite"
ERROR: Final = "error"


@contextmanager
def open_study(folder: Path, *, higher: bool, seed: int) -> Iterator[Study]:
    """Open the study in `folder`, named like it, or begin it; no other process has it while the block runs.

    Args:
        folder: made if missing.
        higher: whether the value of a trial is to be high, or low.
        seed: of the draws; those of another process that goes on with the study are others.

    Raises:
        TrainingError: if another process has it, or its file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    with (folder / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrainingError(
                f"another process works on the sweep in {folder}; wait for it, then run this again"
            ) from None
        try:
            try:
                storage = RDBStorage(f"sqlite:///{folder.resolve() / FILE}")
                study = optuna.create_study(
                    storage=storage,
                    study_name=folder.name,
                    direction="maximize" if higher else "minimize",
                    load_if_exists=True,
                )
                study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
            except (SQLAlchemyError, RuntimeError) as error:
                raise TrainingError(
                    f"{folder / FILE} cannot be used ({' '.join(str(error).split())[:200]}); remove {folder}, and the "
                    "sweep begins anew"
                ) from error
            yield study
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()
            optuna.logging.set_verbosity(verbosity)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What each setting is drawn from: between its smallest and largest value, by ratio where all are above 0."""
    return {name: FloatDistribution(values[0], values[-1], log=values[0] > 0) for name, values in space.items()}


def recover(study: Study, space: Space, wanted: Iterable[Mapping[str, float]]) -> None:
    """Let what is still to be tried wait in the study: of `wanted`, and of the trials whose process died.

    Only for the process that holds the study: all trials that are under way are taken for dead.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    killed = [trial for trial in trials if trial.state is TrialState.FAIL and ERROR not in trial.user_attrs]
    there = {_settings(trial, space) for trial in trials if trial not in killed}
    again = [*(_settings(trial, space) for trial in killed), *(_values(settings, space) for settings in wanted)]
    for settings in dict.fromkeys(again):
        if settings not in there and None not in settings:
            study.enqueue_trial(dict(zip(space, settings, strict=True)))


def finished(study: Study) -> list[FrozenTrial]:
    """Trials that gave figures or an error, as they were begun."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state is TrialState.COMPLETE or ERROR in trial.user_attrs]


def waiting(study: Study) -> int:
    """How many trials wait to be run with settings that are fixed."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _settings(trial: FrozenTrial, space: Space) -> tuple[Any, ...]:
    """The trial's settings in the space's order; None where a process died before one was drawn."""
    return _values({**trial.params, **trial.system_attrs.get("fixed_params", {})}, space)


def _values(settings: Mapping[str, float], space: Space) -> tuple[Any, ...]:
    return tuple(settings.get(name) for name in space)
