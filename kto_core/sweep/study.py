"""Stores a sweep's trials with Optuna in an SQLite file, so that a killed sweep can resume.

A trial's settings are fixed before it runs (a grid's cells wait in the study from the start), and the study gets its
result only when all of it is done. A trial whose process died is marked as failed, and its settings wait again. A trial
that failed because of its settings or inputs has the error message as its `error`.
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
    """Open the study in `folder`, named like it, or create it; locks out other processes while the block runs.

    Args:
        folder: created if missing.
        higher: whether a trial's value is better high or low.
        seed: seed of the draws; a process that resumes the study draws others.

    Raises:
        TrainingError: if another process uses it, or its file cannot be read.
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
                    f"{folder / FILE} cannot be used ({' '.join(str(error).split())[:200]}); remove {folder} to "
                    "start the sweep again"
                ) from error
            yield study
        finally:
            if storage is not None:
                storage.remove_session()
                storage.engine.dispose()
            optuna.logging.set_verbosity(verbosity)


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return each setting's distribution: between its smallest and largest value, log-scaled if all are above 0."""
    return {name: FloatDistribution(values[0], values[-1], log=values[0] > 0) for name, values in space.items()}


def recover(study: Study, space: Space, wanted: Iterable[Mapping[str, float]]) -> None:
    """Enqueue the settings still to be tried: of `wanted`, and of trials whose process died.

    Only for the process that holds the study: all running trials count as dead.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    killed = [trial for trial in trials if trial.state is TrialState.FAIL and ERROR not in trial.user_attrs]
    existing = {_settings(trial, space) for trial in trials if trial not in killed}
    again = [*(_settings(trial, space) for trial in killed), *(_values(settings, space) for settings in wanted)]
    for settings in dict.fromkeys(again):
        if settings not in existing and None not in settings:
            study.enqueue_trial(dict(zip(space, settings, strict=True)))


def finished(study: Study) -> list[FrozenTrial]:
    """Return the trials with figures or an error, in the order of their start."""
    trials = study.get_trials(deepcopy=False)
    return [trial for trial in trials if trial.state is TrialState.COMPLETE or ERROR in trial.user_attrs]


def waiting(study: Study) -> int:
    """Count the trials that wait with fixed settings."""
    return len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))


def _settings(trial: FrozenTrial, space: Space) -> tuple[Any, ...]:
    """Return the trial's settings in the space's order; None where the process died before drawing one."""
    return _values({**trial.params, **trial.system_attrs.get("fixed_params", {})}, space)


def _values(settings: Mapping[str, float], space: Space) -> tuple[Any, ...]:
    return tuple(settings.get(name) for name in space)
