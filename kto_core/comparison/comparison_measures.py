"""Measures of a comparison: held-out rows and pairs, and their figures with intervals over tickets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kto_core.base.config import EvaluationConfig
from kto_core.base.figures import FIGURES
from kto_core.base.progress import Report
from kto_core.data.datasets import CORPUS, Rows, TrainingSet
from kto_core.data.preferences import Pairs, read_pairs
from kto_core.data.ranking_scores import prior_scores
from kto_core.evaluation.bootstrap import DRAWS, Statistic, bootstrap, interval, mean_of
from kto_core.evaluation.heldout import draw_rows, score_rows, unseen
from kto_core.evaluation.measured_rows import FEWEST, MeasuredRows

MEASURES: Final = tuple(name for name, figure in FIGURES.items() if figure.compared)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Held-out data of a comparison: N distinct texts, and R rows and P pairs of them.

    Attributes:
        texts: the prompts and completions, [N].
        row: place of each row among the texts, [R].
        rows: labels, categories, tickets and choice sets of the rows.
        chosen: place of each pair's preferred text, [P].
        rejected: place of its rejected text, [P].
        pair_tickets: ticket of each pair, [P].
    """

    texts: Rows
    row: np.ndarray
    rows: MeasuredRows
    chosen: np.ndarray
    rejected: np.ndarray
    pair_tickets: np.ndarray

    def counts(self) -> dict[str, int]:
        """Count the rows, the pairs, the choice sets, and the tickets of all of them."""
        return {
            "rows": len(self.row),
            "pairs": len(self.chosen),
            "choice_sets": len(self.rows.sets),
            "tickets": len({*self.rows.tickets.tolist(), *self.pair_tickets.tolist()}),
        }


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A contestant's scores of the N held-out texts, and its rewards: log-ratios in nats, None where it has none."""

    score: np.ndarray
    reward: np.ndarray | None
    by: str


def held_out(data: TrainingSet, train: Rows, pairs: Pairs, config: EvaluationConfig) -> Held:
    """Return held-out rows and pairs, without any text that training has for the same prompt."""
    heldout = data.rows("heldout")
    prompts = heldout.prompt_keys()
    drawn = draw_rows(heldout, prompts, unseen(heldout, prompts, train), max_rows=config.max_rows, seed=config.seed)
    rows = Rows(table=heldout.table.take(pa.array(drawn)), refused={})

    seen = set(zip(train.prompt_keys(), train.table["completion"].to_pylist(), strict=True))
    seen |= {(key, text) for key, *both in pairs.texts() for text in both}
    heldout_pairs = read_pairs(data, "heldout", rows)
    fresh = [i for i, (key, *both) in enumerate(heldout_pairs.texts()) if not any((key, text) in seen for text in both)]
    heldout_pairs = heldout_pairs.take(_at_most(fresh, heldout_pairs.preferred, config))

    columns = [
        rows.table.select(CORPUS.names),
        heldout_pairs.side("chosen").table,
        heldout_pairs.side("rejected").table,
    ]
    table = pa.concat_tables(columns)
    places: dict[tuple[bytes, str], int] = {}
    first: list[int] = []
    text_places: list[int] = []
    keyed_texts = zip(Rows(table=table, refused={}).prompt_keys(), table["completion"].to_pylist(), strict=True)
    for number, text in enumerate(keyed_texts):
        if text not in places:
            places[text] = len(first)
            first.append(number)
        text_places.append(places[text])
    row, chosen, rejected = np.split(np.array(text_places, dtype=np.int64), [len(rows), len(rows) + len(heldout_pairs)])
    return Held(
        texts=Rows(table=table.take(pa.array(first, pa.int64())), refused={}),
        row=row,
        rows=MeasuredRows.of(rows),
        chosen=chosen,
        rejected=rejected,
        pair_tickets=np.array([str(ticket) for ticket in heldout_pairs.table["ticket_id"].to_pylist()]),
    )


def _at_most(places: Sequence[int], preferred: int, config: EvaluationConfig) -> list[int]:
    """Keep at most `config.max_rows` places of `preferences/`; the rows of choice sets were drawn earlier."""
    stated = [place for place in places if place < preferred]
    if config.max_rows is not None and len(stated) > config.max_rows:
        drawn = np.random.default_rng(config.seed).choice(len(stated), size=config.max_rows, replace=False)
        stated = [stated[i] for i in sorted(drawn)]
    return stated + [place for place in places if place >= preferred]


def score_model(
    folder: Path, held: Held, *, reference: Path, by: str, config: EvaluationConfig, cache: Path, report: Report
) -> Scored:
    """Score the held-out texts under a model, with rewards against the reference; the reference itself has none."""
    all_texts = np.arange(len(held.texts))
    logps, lengths = score_rows(folder, held.texts, all_texts, config, cache, "score", report)
    if folder == reference:
        return Scored(score=logps / lengths, reward=None, by=by)
    reference_logps, _ = score_rows(reference, held.texts, all_texts, config, cache, "score reference", report)
    return Scored(score=logps / lengths, reward=logps - reference_logps, by=by)


def score_prior(held: Held, train: Rows, config: EvaluationConfig) -> Scored:
    """Score the held-out texts by how often each was liked in training, whatever the prompt."""
    scores = prior_scores(
        held.texts.table["completion"].to_pylist(),
        trained=train.table["completion"].to_pylist(),
        trained_desirable=train.desirable(),
        smoothing=config.prior_smoothing,
    )
    return Scored(score=scores, reward=None, by="score")


def measure(
    held: Held, scored: Mapping[str, Sequence[Scored]], *, against: Sequence[str], seed: int, report: Report
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure every contestant, and each in `against` minus every other one, with intervals.

    Args:
        held: the held-out rows and pairs.
        scored: scores of each contestant, one entry a training seed; a contestant without seeds has one.
        against: contestants whose differences from the others are returned.
        seed: seed of the resamples.
        report: called with the stage `bootstrap` (figures).

    Returns:
        By contestant and measure, and by contestant in `against`, other contestant and measure: `value`, `low`, `high`
        and `by_seed`, or None where the measure has no value or too few rows.
    """
    values: dict[str, dict[str, Any]] = {name: {} for name in scored}
    differences: dict[str, dict[str, Any]] = {
        contestant: {other: {} for other in scored if other != contestant} for contestant in against
    }
    total = len(MEASURES) * len(scored)
    for measured, name in enumerate(MEASURES):
        points: dict[str, np.ndarray] = {}
        draws: dict[str, np.ndarray] = {}
        for place, (arm, figures) in enumerate(scored.items()):
            statistics = [statistic for figure in figures if (statistic := _statistic(name, held, figure)) is not None]
            values[arm][name] = None
            if statistics:
                points[arm] = np.array([float(of(np.ones((1, len(tickets))))[0]) for of, tickets in statistics])
                draws[arm] = np.mean(
                    [bootstrap(of, tickets, draws=DRAWS, seed=seed) for of, tickets in statistics], axis=0
                )
                values[arm][name] = _figure(points[arm], draws[arm])
            report("bootstrap", measured * len(scored) + place + 1, total, "figures")
        for contestant, others in differences.items():
            for other in others:
                both = contestant in points and other in points
                differences[contestant][other][name] = (
                    _figure(points[contestant] - points[other], draws[contestant] - draws[other]) if both else None
                )
    return values, differences


def _figure(points: np.ndarray, draws: np.ndarray) -> dict[str, Any] | None:
    """Return the mean of one value a seed, with its interval; None where a value or the interval is missing."""
    estimate = interval(draws)
    if estimate is None or np.isnan(points).any():
        return None
    return {"value": float(points.mean()), "low": estimate.low, "high": estimate.high, "by_seed": points.tolist()}


def _statistic(name: str, held: Held, scored: Scored) -> tuple[Statistic, np.ndarray] | None:
    """Return a measure as a function of how often each row, pair or set counts, and the ticket of each."""
    if not name.startswith("preference"):
        return held.rows.statistic(name, scored.score[held.row])
    by = scored.by if name == "preference" else name.removeprefix("preference_by_")
    rank = scored.reward if by == "reward" else scored.score
    if rank is None or len(held.chosen) < FEWEST:
        return None
    chosen, rejected = rank[held.chosen], rank[held.rejected]
    return mean_of((chosen > rejected) + 0.5 * (chosen == rejected)), held.pair_tickets
