"""Run a sweep: KTO from one reference on one training set, at several β, λ_U and learning rates.

The reference's log-probabilities do not depend on these settings, so after the first trial none is computed again
(`reference_computed` of each trial shows it). Every trial is measured on the same held-out rows by `kto_core.evaluate`,
and by the desk's own task if it has one. The goal is quality at a small distance from the reference: trials that no
other beats in both are marked `pareto`, and those that held-out tickets cannot distinguish from the best `as_good`.

A sweep has one folder, `sweep-<id>`, named by a hash of everything its figures depend on, so that sweeps over other
data or settings never mix with it:

    sweep.sqlite              the Optuna study: settings, state and figures of every trial
    sweep.json, sweep.png     the result, and its figure
    trials/<settings>/        training.json, metrics.parquet, curve.png and scores.npy (held-out rows) of each trial
    trials/<settings>/<objective>-*
                              the candidate: only that of the best trial is kept
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from accelerate import PartialState
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from kto_core.base.config import EvaluationConfig, KTOConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.figures import DECIDING_FIGURE, SWEEP_FIGURES
from kto_core.base.objective_registry import OBJECTIVES
from kto_core.base.progress import Report, silent, under
from kto_core.base.store import digest, read_json, write_json
from kto_core.data.datasets import TrainingSet
from kto_core.evaluation.heldout import evaluate
from kto_core.models.model_folders import model_hash
from kto_core.sweep.equal_trials import HeldOutScores
from kto_core.sweep.ranking import compared, ranked
from kto_core.sweep.space import Space, cells, checked
from kto_core.sweep.study import ERROR, distributions, finished, open_study, recover, waiting
from kto_core.sweep.sweep_chart import draw_sweep
from kto_core.training.kto import train_kto

FORMAT: Final = 1  # raise it when the same inputs would give other figures
DRAWN: Final = 20  # default number of trials of a sweep that draws
RECORDS: Final = ("training.json", "metrics.parquet", "curve.png")
SCORES: Final = "scores.npy"
Sampler = Literal["grid", "tpe"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """A desk's own measures of a model besides held-out rows.

    Attributes:
        name: name of the task; figures of tasks with different names are never mixed.
        kpis: its figures, and whether higher is better for each.
        measure: computes the figures of a model folder.
    """

    name: str
    kpis: Mapping[str, bool]
    measure: Callable[[Path, Report], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """Inputs that all trials share."""

    reference: Path
    training_set: Path
    base: KTOConfig
    evaluation: EvaluationConfig
    held: HeldOutScores
    cache: Path
    task: Task | None
    folder: Path
    report: Report

    def home(self, settings: Mapping[str, float]) -> Path:
        """Return the folder of the trial with these settings, the same in every process."""
        return self.folder / "trials" / digest(dict(settings))[:12]

    def train(self, settings: Mapping[str, float], report: Report) -> Path:
        """Train the candidate of these settings; reuses a finished one and resumes a started one."""
        return train_kto(
            reference=self.reference,
            training_set=self.training_set,
            config=self.base.replace(**settings),
            store=self.home(settings),
            cache=self.cache,
            report=report,
        )

    def evaluate(self, candidate: Path, report: Report) -> dict[str, Any]:
        """Return held-out figures of a model, with the reference's and the prior's."""
        return evaluate(
            reference=self.reference,
            candidate=candidate,
            training_set=self.training_set,
            config=self.evaluation,
            cache=self.cache,
            report=report,
        )


def run_sweep(
    *,
    reference: Path,
    training_set: Path,
    config: KTOConfig,
    space: Space,
    sampler: Sampler = "grid",
    trials: int | None = None,
    objective: str = DECIDING_FIGURE,
    evaluation: EvaluationConfig,
    task: Task | None = None,
    cache: Path,
    out: Path,
    keep_all: bool = False,
    report: Report = silent,
) -> dict[str, Any]:
    """Train and measure a candidate at each setting; a second run resumes the first.

    Args:
        reference: the model folder that all trials start from.
        training_set: a training-set folder.
        config: the settings that the sweep does not vary.
        space: values of `beta`, `undesirable_weight` and `learning_rate`; see `kto_core.sweep.space`.
        sampler: `grid` tries every combination, `tpe` draws between the smallest and the largest value of each, where
            earlier trials promise most (Bergstra et al. 2011).
        trials: total number of trials; by default all cells of the grid, or 20 draws.
        objective: the figure that decides which is best: one of `SWEEP_FIGURES`, or a KPI of the task.
        evaluation: which held-out rows, and how they are scored.
        task: the desk's own measures.
        cache: folder of the log-probability cache.
        out: folder of sweeps.
        keep_all: keep every trial's candidate, not only the best one's.
        report: called with the stages of every trial, `sweep` (trials; figures of the last one) and `bootstrap`.

    Returns:
        The content of sweep.json, and `folder`: `trials`, best first, each with its settings and figures; `failed`;
        `best`, and `nearest`, the one nearest to the reference of the trials as good; `reference` and `prior`,
        figures on the same rows; `distance`, the figure that `pareto` and `nearest` use.

    Raises:
        TrainingError: if the space or the objective is not valid, several processes were launched for the sweep,
            another process works on it, or every trial failed.
    """
    if (processes := PartialState().num_processes) > 1:  # one process holds the study and chooses the next trial
        raise TrainingError(f"a sweep works in one process, not in {processes}; start it without a launcher")
    space = checked(space, config)
    higher = {**dict.fromkeys(SWEEP_FIGURES, True), **(task.kpis if task else {})}
    if objective not in higher:
        raise TrainingError(f"a sweep cannot rank by {objective!r} here; it ranks by one of {', '.join(higher)}")
    if not config.kl_prompts and not OBJECTIVES[config.objective].z0:
        raise TrainingError(
            f"a sweep by {config.objective} needs KTOConfig.kl_prompts above 0: it has no z0 to measure how far a "
            "candidate has moved from the reference"
        )
    data = TrainingSet.open(Path(training_set))
    inputs = {
        "reference": model_hash(Path(reference)),
        "training_set": data.version,
        "config": {name: value for name, value in config.to_dict().items() if name not in space},
        "space": {name: list(values) for name, values in space.items()},
        "evaluation": evaluation.to_dict(),
        "task": task.name if task else None,
        # Draws depend on the objective; a grid does not.
        "sampler": [sampler, objective] if sampler == "tpe" else [sampler],
    }
    shared = _Sweep(
        reference=Path(reference),
        training_set=data.folder,
        base=config,
        evaluation=evaluation,
        held=HeldOutScores(data, evaluation),
        cache=Path(cache),
        task=task,
        folder=Path(out) / f"sweep-{digest({'format': FORMAT, **inputs})[:16]}",
        report=report,
    )
    wanted = cells(space) if sampler == "grid" else []
    total = min(trials or len(wanted), len(wanted)) if wanted else trials or DRAWN
    with open_study(shared.folder, higher=higher[objective], seed=config.seed) as study:
        baseline = _baseline(study, shared)
        if baseline["reference"][objective] is None:
            raise TrainingError(
                f"the held-out rows of {data.folder} cannot measure {objective}, because no rows that it compares "
                "differ in label; rank by another objective"
            )
        recover(study, space, wanted)
        while len(finished(study)) < total and (waiting(study) or not wanted):
            _try(study, study.ask(distributions(space)), shared, objective, total)
            _prune(study, shared, objective, higher[objective], keep_all)
        best_first = ranked(finished(study), objective, higher[objective])
        if not best_first:
            failed = finished(study)
            raise TrainingError(
                f"all trials of the sweep failed ({len(failed)}), the last one with: {failed[-1].user_attrs[ERROR]}"
            )
        _prune(study, shared, objective, higher[objective], keep_all)  # candidates that another objective kept
        best = shared.home(best_first[0].params) / best_first[0].user_attrs["candidate"]
        if not best.is_dir():  # another objective had another best, or someone removed it
            best = shared.train(best_first[0].params, under(report, "best"))
        result = {
            "training_set": data.version,
            "reference_id": Path(reference).name,
            "space": inputs["space"],
            "sampler": sampler,
            "objective": {"name": objective, "higher": higher[objective]},
            "kpis": dict(task.kpis) if task else {},
            **baseline,
            **compared(best_first, _draws(best_first, shared, objective), config, objective, higher[objective]),
            "failed": [
                {"trial": trial.number, "settings": trial.params, "error": trial.user_attrs[ERROR]}
                for trial in finished(study)
                if ERROR in trial.user_attrs
            ],
            "best": {"settings": best_first[0].params, "candidate": str(best)},
        }
    write_json(shared.folder / "sweep.json", result)
    draw_sweep(result, shared.folder / "sweep.png")
    return {**result, "folder": str(shared.folder)}


def _baseline(study: Study, shared: _Sweep) -> dict[str, Any]:
    """Return figures of the reference and the prior on the trials' held-out rows; computed once a study."""
    if "baseline" not in study.user_attrs:
        report = under(shared.report, "reference")
        evaluation = shared.evaluate(shared.reference, report)
        figures = {
            model: {name: evaluation[f"{name}_{model}"] for name in SWEEP_FIGURES} for model in ("before", "prior")
        }
        kpis = dict(shared.task.measure(shared.reference, report)) if shared.task else {}
        counts = {name: evaluation[name] for name in ("rows", "desirable", "undesirable", "choice_sets")}
        study.set_user_attr(
            "baseline", {"reference": {**figures["before"], **kpis}, "prior": figures["prior"], "heldout": counts}
        )
    return dict(study.user_attrs["baseline"])


def _try(study: Study, trial: Trial, shared: _Sweep, objective: str, total: int) -> None:
    """Run one trial and tell the study; a TrainingError is recorded as the trial's failure."""
    number = len(finished(study)) + 1
    try:
        figures = _measure(trial.params, shared, under(shared.report, f"trial {number} of {total}"))
    except TrainingError as error:
        trial.set_user_attr(ERROR, str(error))
        study.tell(trial, state=TrialState.FAIL)
        shared.report("sweep", number, total, "trials")
        return
    for name, value in figures.items():
        trial.set_user_attr(name, value)
    study.tell(trial, figures[objective])
    shared.report("sweep", number, total, "trials", **trial.params, **{objective: figures[objective]})


def _measure(settings: Mapping[str, float], shared: _Sweep, report: Report) -> dict[str, Any]:
    """Train at these settings, and return every figure of the candidate."""
    candidate = shared.train(settings, report)
    record: dict[str, Any] = read_json(candidate / "training.json")
    heldout = shared.evaluate(candidate, report)
    for name in RECORDS:
        shutil.copyfile(candidate / name, candidate.parent / name)
    np.save(candidate.parent / SCORES, shared.held.of(candidate, cache=shared.cache, report=silent))
    trained, cache_use = record["metrics"], record["reference_cache"]
    return {
        "candidate": candidate.name,
        **{name: heldout[f"{name}_after"] for name in SWEEP_FIGURES},
        **(dict(shared.task.measure(candidate, report)) if shared.task else {}),
        **{name: heldout[name] for name in ("reward_desirable", "reward_undesirable", "reward_margin")},
        **{f"train_{name}": trained[name] for name in ("reward_desirable", "reward_undesirable")},
        **{name: trained.get(name) for name in ("kl", "z0", "z0_raw", "loss_last", "steps", "seconds")},
        "troubles": sorted(record.get("troubles", {})),
        "reference_computed": cache_use["computed"],
        "reference_reused": cache_use["reused"],
    }


def _prune(study: Study, shared: _Sweep, objective: str, higher: bool, keep_all: bool) -> None:
    """Remove all candidates but the best, and checkpoints of failed trials; records stay."""
    best = [trial.number for trial in ranked(finished(study), objective, higher)[:1]]
    for trial in finished(study):
        home = shared.home(trial.params)
        removed = list(home.glob(f".{shared.base.objective}-*"))
        if trial.number not in best and not keep_all:
            removed += home.glob(f"{shared.base.objective}-*")
        for folder in removed:
            shutil.rmtree(folder)


def _draws(trials: Sequence[FrozenTrial], shared: _Sweep, objective: str) -> list[np.ndarray | None]:
    """Return the objective of each trial over resampled tickets; None for a KPI, whose tickets are unknown here."""
    if objective not in SWEEP_FIGURES:
        return [None] * len(trials)
    draws = []
    for measured, trial in enumerate(trials, start=1):
        draws.append(shared.held.draws(objective, np.load(shared.home(trial.params) / SCORES)))
        shared.report("bootstrap", measured, len(trials), "trials")
    return draws
