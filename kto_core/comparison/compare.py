"""Compare KTO on all rows with other objectives, on rows or pairs: same reference, budget and held-out tickets.

**Budget.** Every contestant makes the number of optimizer steps that KTO's settings give, with the same number of
completions a step: n rows are n/2 pairs. Learning rate, its schedule, lengths, precision and adapters are KTO's too,
unless an objective has settings of its own. KTO's extra pass without gradient over mismatched completions is not
counted in completions; it shows in seconds.

**Contestants.** `kto` learns from every row. `kto on pairs` learns from the completions of the pairs alone, as single
rows: this separates the effect of the objective from that of the other rows. Another objective on single rows, such as
APO-zero, learns from every row too; one on pairs learns from the pairs. The reference is measured as well, and the
prior, which knows how often a text was liked in training and reads no prompt.

**Figures** come for every contestant and for KTO minus each, with an interval over resampled tickets
(`kto_core.evaluation.bootstrap`). Over all held-out rows: AUC within categories and balanced accuracy by a row's
score, its mean token log-probability, as in `kto_core.evaluation.heldout`. On the paired slice: choice accuracy by
score, and the share of pairs in order, ties as half. Pairs are ranked by *reward*, the log-ratio to the reference,
which objectives with a reference use; by *score*, which SimPO and ORPO use; and by each contestant's own measure.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from kto_core.base.config import EvaluationConfig, KTOConfig, PairConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import COMPARED, OBJECTIVES
from kto_core.base.progress import Paced, Report, silent, under
from kto_core.base.store import digest, publish, read_json, write_json
from kto_core.comparison.comparison_chart import draw_comparison
from kto_core.comparison.comparison_measures import held_out, measure, score_model, score_prior
from kto_core.data.datasets import CLASSES, LABELLED, Rows, TrainingSet
from kto_core.data.preferences import Pairs, read_pairs
from kto_core.evaluation.bootstrap import DRAWS
from kto_core.training.kto import plan, train_kto
from kto_core.training.pairs import train_pairs

FORMAT: Final = 1  # raise it when the same inputs would give other figures
KTO, KTO_ON_PAIRS, REFERENCE, PRIOR = "kto", "kto on pairs", "reference", "prior"


_BUDGET = frozenset({"steps", "max_steps", "epochs", "batch_pairs", "batch_groups", "group_rows"})  # the same for all


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One side of the comparison: an objective, its settings and its data.

    Attributes:
        name: as tables show it.
        train: `train_kto` or `train_pairs`.
        config: what `train` takes, with the seed of the first training.
        training_set: folder of the training set that it learns from.
        completions: how many distinct completions it learns from.
    """

    name: str
    train: Callable[..., Path]
    config: KTOConfig | PairConfig
    training_set: Path
    completions: int


def compare(
    *,
    reference: Path,
    training_set: Path,
    kto: KTOConfig,
    objectives: Sequence[str] = COMPARED,
    seeds: int = 1,
    evaluation: EvaluationConfig,
    store: Path,
    cache: Path,
    out: Path,
    report: Report = silent,
) -> dict[str, Any]:
    """Train every contestant and measure them on held-out tickets.

    Args:
        reference: the model folder that every contestant starts from.
        training_set: a training-set folder with pairs; see `kto_core.data.preferences`.
        kto: KTO's settings; they give the budget. Their `objective` is not read: each contestant has its own.
        objectives: names in `kto_core.base.objective_registry`, each with settings of its own if wanted:
            `dpo:beta=0.1`; `kto` needs settings of its own, since plain KTO always takes part.
        seeds: trainings of each contestant; figures are means over them, intervals are over tickets alone.
        evaluation: which held-out rows, and how they are scored.
        store: folder of model folders; a model that is there already is not trained again.
        cache: folder of the log-probability cache.
        out: folder for `compare-<id>`, which gets comparison.json and comparison.png.
        report: called with the stages of every training and scoring, and `bootstrap` (figures).

    Returns:
        comparison.json as a dict, and `folder`: budget, data, held-out counts, `contestants` and `differences` with
        value, low, high and by_seed of each measure; None on fewer than 30 pairs, choice sets or rows of a class.

    Raises:
        TrainingError: if there are no pairs, an objective is unknown, or a training or scoring fails.
    """
    data = TrainingSet.open(Path(training_set))
    train_rows = data.rows("train")
    pairs = read_pairs(data, "train", train_rows)
    pairs.require(data.folder)
    kto = kto.replace(objective=KTO)
    groups, steps = plan(train_rows, kto)
    contestants = _contestants(data, train_rows, pairs, kto, objectives, len(steps), Path(cache) / "slices")
    held = held_out(data, train_rows, pairs, evaluation)
    folders = {
        contestant.name: [
            contestant.train(
                reference=Path(reference),
                training_set=contestant.training_set,
                config=contestant.config.replace(seed=contestant.config.seed + seed),
                store=Path(store),
                cache=Path(cache),
                report=under(report, _named(contestant.name, seed, seeds)),
            )
            for seed in range(seeds)
        ]
        for contestant in contestants
    }
    budget = {
        "steps": len(steps),
        "completions": sum(len(groups[group]) for step in steps for group in step),
        "seeds": seeds,
    }
    inputs = {
        "training_set": data.version,
        "reference": Path(reference).name,
        "budget": budget,
        "rows": {"train": len(train_rows), "of_pairs": contestants[1].completions},
        "pairs": _pair_counts(pairs),
        "heldout": held.counts(),
        "evaluation": evaluation.to_dict(),
        "bootstrap": {"draws": DRAWS, "level": 0.95, "resampled": "tickets"},
    }
    models = {name: [folder.name for folder in trained] for name, trained in folders.items()}
    place = Path(out) / f"compare-{digest({'format': FORMAT, 'models': models, **inputs})[:16]}"
    if not place.is_dir():
        scored = {PRIOR: [score_prior(held, train_rows, evaluation)]}
        ranked_by = {contestant.name: OBJECTIVES[contestant.config.objective].ranked_by for contestant in contestants}
        for name, trained in {**folders, REFERENCE: [Path(reference)]}.items():
            reports = [under(report, _named(name, seed, len(trained))) for seed in range(len(trained))]
            scored[name] = [
                score_model(
                    folder,
                    held,
                    reference=Path(reference),
                    by=ranked_by.get(name, "score"),
                    config=evaluation,
                    cache=Path(cache),
                    report=stage_report,
                )
                for folder, stage_report in zip(trained, reports, strict=True)
            ]
        values, differences = measure(
            held, scored, against=(KTO, KTO_ON_PAIRS), seed=evaluation.seed, report=Paced(report)
        )
        trainings: dict[str, dict[str, Any]] = {
            contestant.name: _training_summary(folders[contestant.name], contestant.completions)
            for contestant in contestants
        }
        result = {
            **inputs,
            "contestants": {
                name: {**trainings.get(name, {}), "ranked_by": scored[name][0].by, "measures": values[name]}
                for name in (*folders, REFERENCE, PRIOR)
            },
            "differences": differences,
        }
        with publish(place) as scratch:
            write_json(scratch / "comparison.json", result)
            draw_comparison(result, scratch / "comparison.png")
    return {**read_json(place / "comparison.json"), "folder": str(place)}


def _contestants(
    data: TrainingSet,
    rows: Rows,
    pairs: Pairs,
    kto: KTOConfig,
    objectives: Sequence[str],
    steps: int,
    slices: Path,
) -> list[Contestant]:
    """Return KTO, KTO on pairs, and a contestant for each objective; nothing is trained yet."""
    configs = {text: _parsed(text, kto, steps) for text in objectives}
    sliced, of_pairs = _slice(data, rows, pairs, slices)
    # The fewer rows need more epochs to make the same number of steps.
    epochs = float(math.ceil(steps * kto.batch_groups / len(plan(of_pairs, kto)[0])))
    contestants = [
        Contestant(name=KTO, train=train_kto, config=kto, training_set=data.folder, completions=len(rows)),
        Contestant(
            name=KTO_ON_PAIRS,
            train=train_kto,
            config=kto.replace(max_steps=steps, epochs=epochs),
            training_set=sliced,
            completions=len(of_pairs),
        ),
    ]
    for text, config in configs.items():
        single = OBJECTIVES[config.objective].rows == "singles"
        contestants.append(
            Contestant(
                name=text,
                train=train_kto if single else train_pairs,
                config=config,
                training_set=data.folder,
                completions=len(rows) if single else len(of_pairs),
            )
        )
    return contestants


def _pair_counts(pairs: Pairs) -> dict[str, Any]:
    return {
        "train": len(pairs),
        "from_preferences": pairs.preferred,
        "from_choice_sets": len(pairs) - pairs.preferred,
        "refused": pairs.refused,
        "tickets": len(set(pairs.table["ticket_id"].to_pylist())),
    }


def _parsed(text: str, kto: KTOConfig, steps: int) -> KTOConfig | PairConfig:
    """Parse `objective` or `objective:setting=value:…` into a config."""
    name, *parts = text.split(":")
    objective = OBJECTIVES.get(name)
    if objective is None:
        raise TrainingError(f"there is no objective {name!r}; choose from {', '.join(OBJECTIVES)}")
    settings: dict[str, object] = {}
    for part in parts:
        setting, equals, value = part.partition("=")
        if not equals:
            raise TrainingError(f"objective {text!r} has {part!r}, which is no setting=value; write it as dpo:beta=0.1")
        if setting == "objective":
            raise TrainingError(f"objective {text!r} sets its objective, which its name gives already; leave it out")
        if setting in _BUDGET:
            raise TrainingError(
                f"objective {text!r} sets {setting}, but all make the same number of steps with the same number of "
                "completions; leave it out, and set max_steps or batch_groups of KTO to change it for all"
            )
        try:
            settings[setting] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise TrainingError(
                f"objective {text!r} has {part!r}, whose value is not valid YAML ({' '.join(str(error).split())}); "
                "write it as dpo:beta=0.1"
            ) from error
    if objective.rows == "pairs":
        return PairConfig.like(kto, steps=steps, objective=name, **settings)
    if name == KTO and not settings:
        raise TrainingError("kto always takes part; name it only with settings of its own, as kto:beta=0.3")
    return kto.replace(objective=name, max_steps=steps, **settings)


def _named(name: str, seed: int, seeds: int) -> str:
    """Name one training of a contestant, for progress reports."""
    return f"{name}, seed {seed + 1} of {seeds}" if seeds > 1 else name


def _slice(data: TrainingSet, rows: Rows, pairs: Pairs, folder: Path) -> tuple[Path, Rows]:
    """Write a training set of the pairs' completions alone, and return its folder and rows.

    Each (prompt, completion, label) is one row, with its weight in `rows`, or 1.
    """
    keys, texts = rows.prompt_keys(), rows.table["completion"].to_pylist()
    weighed = zip(rows.weights().tolist(), rows.table["precision"].to_pylist(), strict=True)
    weight_of = dict(zip(zip(keys, texts, rows.desirable().tolist(), strict=True), weighed, strict=True))
    prompts, tickets = pairs.table["prompt"].to_pylist(), pairs.table["ticket_id"].to_pylist()
    categories = pairs.table["category"].to_pylist()
    sliced: dict[tuple[bytes, str, bool], dict[str, object]] = {}
    for place, (key, chosen, rejected) in enumerate(pairs.texts()):
        for text, label in ((chosen, True), (rejected, False)):
            weight, precision = weight_of.get((key, text, label), (1.0, None))
            sliced.setdefault(
                (key, text, label),
                {
                    "prompt": prompts[place],
                    "completion": text,
                    "label": label,
                    "weight": weight,
                    "precision": precision,
                    "category": categories[place],
                    "ticket_id": tickets[place],
                    "row_id": f"{len(sliced)}",
                },
            )
    table = pa.Table.from_pylist(list(sliced.values()), schema=LABELLED)
    version = f"{data.version}-pairs-{Rows(table=table, refused={}).content_hash()[:8]}"
    if not (folder / version).is_dir():
        with publish(folder / version) as scratch:
            for side, label in zip(CLASSES, (True, False), strict=True):
                (scratch / side).mkdir()
                part = table.filter(pa.array(table["label"].to_numpy() == label))
                pq.write_table(part, scratch / side / "train-0.parquet")
            write_json(scratch / "manifest.json", {**data.manifest, "version": version})
    return folder / version, Rows(table=table, refused={})


def _training_summary(trained: Sequence[Path], rows: int) -> dict[str, Any]:
    """Return how a contestant was trained: settings, models, and passes over its data.

    Args:
        trained: folder of its model of each seed.
        rows: distinct completions in its data.
    """
    records: list[dict[str, Any]] = [read_json(folder / "training.json") for folder in trained]
    config, steps = records[0]["config"], records[0]["metrics"]["steps"]
    completions_a_step = (
        2 * config["batch_pairs"] if "batch_pairs" in config else config["batch_groups"] * config["group_rows"]
    )
    return {
        "models": [folder.name for folder in trained],
        "config": config,
        "steps": steps,
        "completions": steps * completions_a_step,
        "passes": steps * completions_a_step / rows,
        "step_seconds": [record["metrics"]["step_seconds"] for record in records],
    }
