"""KTO on all rows against other objectives on rows or pairs: same reference, same budget, same held-out tickets.

**Budget.** Every contestant makes as many optimizer steps as KTO's settings give, of as many completions each: n rows
are n/2 pairs. Learning rate, its schedule, lengths, precision and adapters are KTO's too, unless
an objective is given its own. What KTO adds, a pass without gradient over mismatched completions, is not counted in
completions, and shows in seconds.

**Contestants.** `kto` learns from every row; `kto on pairs` from the completions of the pairs alone, as single rows, so
that what the objective does and what the other rows add can be told apart. Another objective on single rows, such as
APO-zero, learns from every row too, and one on pairs from the pairs. Beside them stand the reference, and the prior,
which knows how often a text was liked in training and reads no prompt.

**Figures**, each with an interval over resampled tickets (`kto_core.evaluation.bootstrap`), for every contestant and
for KTO minus each. Over all held-out rows: AUC within categories and balanced accuracy by a row's score, its mean
token log-probability, as `kto_core.evaluation.heldout` has them. On the paired slice: choice accuracy by score, and
the share of pairs in order, ties as half: by *reward*, the log-ratio to the reference, by which objectives rank that
read one; by *score*, by which SimPO and ORPO do; and each by its own.
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
    """Who is compared.

    Attributes:
        name: as in tables.
        train: `train_kto` or `train_pairs`.
        config: what `train` takes, with the seed of the first training.
        training_set: what it learns from.
        completions: how many distinct ones that has for it.
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
        reference: the model folder that all start from.
        training_set: a training-set folder with pairs; see `kto_core.data.preferences`.
        kto: KTO's settings; they give the budget. Their `objective` is not read: each contestant has its own.
        objectives: names in `kto_core.base.objective_registry`, each with settings of its own if wanted:
            `dpo:beta=0.1`; `kto` needs some, since KTO is compared with anyway.
        seeds: how many trainings of each; figures are means over them, and intervals are over tickets alone.
        evaluation: which held-out rows, and how they are scored.
        store: folder of model folders; what is there already is not trained again.
        cache: folder of the log-probability cache.
        out: folder that `compare-<id>` with comparison.json and comparison.png is written to.
        report: called with the stages of every training and scoring, and `bootstrap` (figures).

    Returns:
        What comparison.json holds, and `folder`: budget, data, held-out counts, `contestants` and `differences` with
        value, low, high and by_seed of each measure, None on fewer than 30 pairs, choice sets or rows of a class.

    Raises:
        TrainingError: if there are no pairs, an objective is none, or a training or scoring cannot be done.
    """
    data = TrainingSet.open(Path(training_set))
    rows = data.rows("train")
    pairs = read_pairs(data, "train", rows)
    pairs.require(data.folder)
    kto = kto.replace(objective=KTO)
    groups, steps = plan(rows, kto)
    contestants = _contestants(data, rows, pairs, kto, objectives, len(steps), Path(cache) / "slices")
    held = held_out(data, rows, pairs, evaluation)
    folders = {
        one.name: [
            one.train(
                reference=Path(reference),
                training_set=one.training_set,
                config=one.config.replace(seed=one.config.seed + seed),
                store=Path(store),
                cache=Path(cache),
                report=under(report, _named(one.name, seed, seeds)),
            )
            for seed in range(seeds)
        ]
        for one in contestants
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
        "rows": {"train": len(rows), "of_pairs": contestants[1].completions},
        "pairs": _counted(pairs),
        "heldout": held.counts(),
        "evaluation": evaluation.to_dict(),
        "bootstrap": {"draws": DRAWS, "level": 0.95, "resampled": "tickets"},
    }
    models = {name: [folder.name for folder in trained] for name, trained in folders.items()}
    place = Path(out) / f"compare-{digest({'format': FORMAT, 'models': models, **inputs})[:16]}"
    if not place.is_dir():
        scored = {PRIOR: [score_prior(held, rows, evaluation)]}
        ranked_by = {one.name: OBJECTIVES[one.config.objective].ranked_by for one in contestants}
        for name, trained in {**folders, REFERENCE: [Path(reference)]}.items():
            says = [under(report, _named(name, seed, len(trained))) for seed in range(len(trained))]
            scored[name] = [
                score_model(
                    folder,
                    held,
                    reference=Path(reference),
                    by=ranked_by.get(name, "score"),
                    config=evaluation,
                    cache=Path(cache),
                    report=say,
                )
                for folder, say in zip(trained, says, strict=True)
            ]
        values, differences = measure(
            held, scored, against=(KTO, KTO_ON_PAIRS), seed=evaluation.seed, report=Paced(report)
        )
        told: dict[str, dict[str, Any]] = {one.name: _told(folders[one.name], one.completions) for one in contestants}
        result = {
            **inputs,
            "contestants": {
                name: {**told.get(name, {}), "ranked_by": scored[name][0].by, "measures": values[name]}
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
    """KTO, KTO on pairs, and one for each objective; nothing is trained yet."""
    configs = {text: _parsed(text, kto, steps) for text in objectives}
    sliced, of_pairs = _slice(data, rows, pairs, slices)
    # As many epochs of the fewer rows as it takes to make the same steps.
    epochs = float(math.ceil(steps * kto.batch_groups / len(plan(of_pairs, kto)[0])))
    found = [
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
        found.append(
            Contestant(
                name=text,
                train=train_kto if single else train_pairs,
                config=config,
                training_set=data.folder,
                completions=len(rows) if single else len(of_pairs),
            )
        )
    return found


def _counted(pairs: Pairs) -> dict[str, Any]:
    return {
        "train": len(pairs),
        "from_preferences": pairs.preferred,
        "from_choice_sets": len(pairs) - pairs.preferred,
        "refused": pairs.refused,
        "tickets": len(set(pairs.table["ticket_id"].to_pylist())),
    }


def _parsed(text: str, kto: KTOConfig, steps: int) -> KTOConfig | PairConfig:
    """The config of `objective` or `objective:setting=value:…`."""
    name, *given = text.split(":")
    objective = OBJECTIVES.get(name)
    if objective is None:
        raise TrainingError(f"there is no objective {name!r}; choose from {', '.join(OBJECTIVES)}")
    settings: dict[str, object] = {}
    for part in given:
        setting, equals, value = part.partition("=")
        if not equals:
            raise TrainingError(f"objective {text!r} has {part!r}, which sets nothing; write it as dpo:beta=0.1")
        if setting == "objective":
            raise TrainingError(f"objective {text!r} sets its objective, which is what it begins with; leave it out")
        if setting in _BUDGET:
            raise TrainingError(
                f"objective {text!r} sets {setting}, but all are given the same number of steps and completions; leave "
                "it out, and set max_steps or batch_groups of KTO to change it for all"
            )
        try:
            settings[setting] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise TrainingError(
                f"objective {text!r} has {part!r}, whose value is no YAML ({' '.join(str(error).split())}); write it "
                "as dpo:beta=0.1"
            ) from error
    if objective.rows == "pairs":
        return PairConfig.like(kto, steps=steps, objective=name, **settings)
    if name == KTO and not settings:
        raise TrainingError("kto is compared with anyway; name it only with settings of its own, as kto:beta=0.3")
    return kto.replace(objective=name, max_steps=steps, **settings)


def _named(name: str, seed: int, seeds: int) -> str:
    """One training of a contestant, as reports name it."""
    return f"{name}, seed {seed + 1} of {seeds}" if seeds > 1 else name


def _slice(data: TrainingSet, rows: Rows, pairs: Pairs, folder: Path) -> tuple[Path, Rows]:
    """A training set, and its rows, of the pairs' completions alone: each (prompt, completion, label) is one row.

    It has the weight that it has in `rows`, or 1.
    """
    keys, texts = rows.prompt_keys(), rows.table["completion"].to_pylist()
    known = zip(rows.weights().tolist(), rows.table["precision"].to_pylist(), strict=True)
    told = dict(zip(zip(keys, texts, rows.desirable().tolist(), strict=True), known, strict=True))
    prompts, tickets = pairs.table["prompt"].to_pylist(), pairs.table["ticket_id"].to_pylist()
    categories = pairs.table["category"].to_pylist()
    found: dict[tuple[bytes, str, bool], dict[str, object]] = {}
    for place, (key, chosen, rejected) in enumerate(pairs.texts()):
        for text, label in ((chosen, True), (rejected, False)):
            weight, precision = told.get((key, text, label), (1.0, None))
            found.setdefault(
                (key, text, label),
                {
                    "prompt": prompts[place],
                    "completion": text,
                    "label": label,
                    "weight": weight,
                    "precision": precision,
                    "category": categories[place],
                    "ticket_id": tickets[place],
                    "row_id": f"{len(found)}",
                },
            )
    table = pa.Table.from_pylist(list(found.values()), schema=LABELLED)
    version = f"{data.version}-pairs-{Rows(table=table, refused={}).content_hash()[:8]}"
    if not (folder / version).is_dir():
        with publish(folder / version) as scratch:
            for side, label in zip(CLASSES, (True, False), strict=True):
                (scratch / side).mkdir()
                part = table.filter(pa.array(table["label"].to_numpy() == label))
                pq.write_table(part, scratch / side / "train-0.parquet")
            write_json(scratch / "manifest.json", {**data.manifest, "version": version})
    return folder / version, Rows(table=table, refused={})


def _told(trained: Sequence[Path], rows: int) -> dict[str, Any]:
    """How a contestant was trained: its settings and models, and how often it met what it learned from.

    Args:
        trained: its model of each seed.
        rows: distinct completions that were there to learn from.
    """
    records: list[dict[str, Any]] = [read_json(folder / "training.json") for folder in trained]
    config, steps = records[0]["config"], records[0]["metrics"]["steps"]
    a_step = 2 * config["batch_pairs"] if "batch_pairs" in config else config["batch_groups"] * config["group_rows"]
    return {
        "models": [folder.name for folder in trained],
        "config": config,
        "steps": steps,
        "completions": steps * a_step,
        "passes": steps * a_step / rows,
        "step_seconds": [record["metrics"]["step_seconds"] for record in records],
    }
