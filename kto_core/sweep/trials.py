"""A sweep: KTO again and again from one reference on one training set, at other β, λ_U and learning rates.

The reference's log-probabilities do not depend on any of these, so that after the first trial none is computed again
(`reference_computed` of each trial says so). Every trial is measured on the same held-out rows by `kto_core.evaluate`,
and by the desk's own task where it has one. What is sought is quality at a small distance from the reference: trials
that no other beats in both are marked as `pareto`, and those that the held-out tickets cannot tell from the best one
as `as_good`.

A sweep lies in one folder, `sweep-<id>`, named by all that its figures depend on, so that a sweep over other data or
settings never mixes with it:

    sweep.sqlite              the Optuna study: settings, state and figures of every trial
    sweep.json, sweep.png     the result, and its figure
    trials/<settings>/        training.json, metrics.parquet, curve.png and scores.npy (held-out rows) of each trial
    trials/<settings>/<objective>-*
                              the candidate: only the best one's is kept
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
DRAWN: Final = 20  # trials of a sweep that draws, where nothing is said
MEASURES: Final = ("auc_within", "auc", "accuracy", "choice_accuracy")  # of `evaluate`; all are better high
RECORDS: Final = ("training.json", "metrics.parquet", "curve.png")
SCORES: Final = "scores.npy"
Sampler = Literal["grid", "tpe"]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a desk measures a model by beside held-out rows.

    Attributes:
        name: of the task; figures by one of another name are not mixed with its.
        kpis: its figures, and whether each is better high.
        measure: from a model folder to the figures.
    """

    name: str
    kpis: Mapping[str, bool]
    measure: Callable[[Path, Report], Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class _Sweep:
    """What all trials share."""

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
        """The folder of one trial, of these settings whichever process runs it."""
        return self.folder / "trials" / digest(dict(settings))[:12]

    def train(self, settings: Mapping[str, float], report: Report) -> Path:
        """The candidate of these settings; one that is there, or was begun, is not begun anew."""
        return train_kto(
            reference=self.reference,
            training_set=self.training_set,
            config=self.base.replace(**settings),
            store=self.home(settings),
            cache=self.cache,
            report=report,
        )

    def evaluate(self, candidate: Path, report: Report) -> dict[str, Any]:
        """Held-out figures of a model, beside the reference's and the prior's."""
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
    objective: str = MEASURES[0],
    evaluation: EvaluationConfig,
    task: Task | None = None,
    cache: Path,
    out: Path,
    keep_all: bool = False,
    report: Report = silent,
) -> dict[str, Any]:
    """Train and measure a candidate at each setting; run again, it goes on where it was.

    Args:
        reference: the model folder that all start from.
        training_set: a training-set folder.
        config: the settings that the sweep does not vary.
        space: values of `beta`, `undesirable_weight` and `learning_rate`; see `kto_core.sweep.space`.
        sampler: `grid` tries every combination, `tpe` draws between the smallest and the largest value of each, where
            earlier trials make it hope for most (Bergstra et al. 2011).
        trials: how many there shall be in all; by default all cells of the grid, or 20 draws.
        objective: the figure that decides which is best: one of `MEASURES`, or a KPI of the task.
        evaluation: which held-out rows, and how they are scored.
        task: what else a model is measured by.
        cache: folder of the log-probability cache.
        out: folder of sweeps.
        keep_all: keep every trial's candidate, not only the best one's.
        report: called with the stages of every trial, `sweep` (trials; figures of the last one) and `bootstrap`.

    Returns:
        What sweep.json holds, and `folder`: `trials`, best first, each with its settings and figures; `failed`;
        `best`, and `nearest`, of the trials as good as it the nearest to the reference; `reference` and `prior`,
        figures of the same rows; `distance`, by which figure `pareto` and `nearest` go.

    Raises:
        TrainingError: if the space or the objective makes no sense, several processes were launched for the sweep,
            another process works on it, or every trial failed.
    """
    if (processes := PartialState().num_processes) > 1:  # one process holds the study, and decides what is tried next
        raise TrainingError(f"a sweep works in one process, not in {processes}; start it without a launcher")
    space = checked(space, config)
    higher = {**dict.fromkeys(MEASURES, True), **(task.kpis if task else {})}
    if objective not in higher:
        raise TrainingError(f"a sweep cannot go by {objective!r} here; it goes by one of {', '.join(higher)}")
    if not config.kl_prompts and not OBJECTIVES[config.objective].z0:
        raise TrainingError(
            f"a sweep by {config.objective} needs KTOConfig.kl_prompts above 0: it has no z0 that could say how far a "
            "candidate has gone from the reference"
        )
    data = TrainingSet.open(Path(training_set))
    inputs = {
        "reference": model_hash(Path(reference)),
        "training_set": data.version,
        "config": {name: value for name, value in config.to_dict().items() if name not in space},
        "space": {name: list(values) for name, values in space.items()},
        "evaluation": evaluation.to_dict(),
        "task": task.name if task else None,
        # Draws depend on what was hoped for; a grid does not.
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
                f"the held-out rows of {data.folder} cannot tell {objective}, since none that it compares differ in "
                "label; go by another objective"
            )
        recover(study, space, wanted)
        while len(finished(study)) < total and (waiting(study) or not wanted):
            _try(study, study.ask(distributions(space)), shared, objective, total)
            _prune(study, shared, objective, higher[objective], keep_all)
        best_first = ranked(finished(study), objective, higher[objective])
        if not best_first:
            failed = finished(study)
            raise TrainingError(
                f"all trials of the sweep failed ({len(failed)}), the last one so: {failed[-1].user_attrs[ERROR]}"
            )
        _prune(study, shared, objective, higher[objective], keep_all)  # what another objective has left
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
    """Figures of the reference and of the prior on the rows that trials are measured on; taken once a study."""
    if "baseline" not in study.user_attrs:
        report = under(shared.report, "reference")
        found = shared.evaluate(shared.reference, report)
        figures = {of: {name: found[f"{name}_{of}"] for name in MEASURES} for of in ("before", "prior")}
        kpis = dict(shared.task.measure(shared.reference, report)) if shared.task else {}
        counts = {name: found[name] for name in ("rows", "desirable", "undesirable", "choice_sets")}
        study.set_user_attr(
            "baseline", {"reference": {**figures["before"], **kpis}, "prior": figures["prior"], "heldout": counts}
        )
    return dict(study.user_attrs["baseline"])


def _try(study: Study, trial: Trial, shared: _Sweep, objective: str, total: int) -> None:
    """Run one trial and tell the study; what it was asked to do may be what makes it fail."""
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
    """Train at these settings, and every figure of what came of it."""
    candidate = shared.train(settings, report)
    record: dict[str, Any] = read_json(candidate / "training.json")
    heldout = shared.evaluate(candidate, report)
    for name in RECORDS:
        shutil.copyfile(candidate / name, candidate.parent / name)
    np.save(candidate.parent / SCORES, shared.held.of(candidate, cache=shared.cache, report=silent))
    trained, asked = record["metrics"], record["reference_cache"]
    return {
        "candidate": candidate.name,
        **{name: heldout[f"{name}_after"] for name in MEASURES},
        **(dict(shared.task.measure(candidate, report)) if shared.task else {}),
        **{name: heldout[name] for name in ("reward_desirable", "reward_undesirable", "reward_margin")},
        **{f"train_{name}": trained[name] for name in ("reward_desirable", "reward_undesirable")},
        **{name: trained.get(name) for name in ("kl", "z0", "z0_raw", "loss_last", "steps", "seconds")},
        "troubles": sorted(record.get("troubles", {})),
        "reference_computed": asked["computed"],
        "reference_reused": asked["reused"],
    }


def _prune(study: Study, shared: _Sweep, objective: str, higher: bool, keep_all: bool) -> None:
    """Remove candidates that are not the best one's, and checkpoints of trials that failed; records stay."""
    best = [trial.number for trial in ranked(finished(study), objective, higher)[:1]]
    for trial in finished(study):
        home = shared.home(trial.params)
        gone = list(home.glob(f".{shared.base.objective}-*"))
        if trial.number not in best and not keep_all:
            gone += home.glob(f"{shared.base.objective}-*")
        for folder in gone:
            shutil.rmtree(folder)


def _draws(trials: Sequence[FrozenTrial], shared: _Sweep, objective: str) -> list[np.ndarray | None]:
    """The objective of each trial over resampled tickets; None of a KPI, whose tickets are not known here."""
    if objective not in MEASURES:
        return [None] * len(trials)
    draws = []
    for done, trial in enumerate(trials, start=1):
        draws.append(shared.held.draws(objective, np.load(shared.home(trial.params) / SCORES)))
        shared.report("bootstrap", done, len(trials), "trials")
    return draws
