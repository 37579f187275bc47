"""What contestants are measured by: held-out rows and pairs, and figures of them with intervals over tickets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from kto_core.base.config import EvaluationConfig
from kto_core.base.progress import Report
from kto_core.data.datasets import CORPUS, Rows, TrainingSet
from kto_core.data.preferences import Pairs, read_pairs
from kto_core.data.ranking_scores import prior_scores
from kto_core.evaluation.bootstrap import DRAWS, Statistic, bootstrap, interval, mean_of
from kto_core.evaluation.heldout import draw_rows, score_rows, unseen
from kto_core.evaluation.measured_rows import FEWEST, MeasuredRows

MEASURES: Final = (
    "auc_within", "accuracy", "preference", "preference_by_reward", "preference_by_score", "choice_accuracy"
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Held:
    """What is measured on: N distinct held-out texts, R rows and P pairs of them.

    Attributes:
        texts: the prompts and completions, [N].
        row: place of each row among the texts, [R].
        rows: what is known of the rows.
        chosen: place of each pair's preferred text, [P].
        rejected: place of the other, [P].
        pair_tickets: of each pair.
    """

    texts: Rows
    row: np.ndarray
    rows: MeasuredRows
    chosen: np.ndarray
    rejected: np.ndarray
    pair_tickets: np.ndarray

    def counts(self) -> dict[str, int]:
        """Rows, pairs, choice sets, and tickets of all of them."""
        return {
            "rows": len(self.row),
            "pairs": len(self.chosen),
            "choice_sets": len(self.rows.sets),
            "tickets": len({*self.rows.tickets.tolist(), *self.pair_tickets.tolist()}),
        }


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A contestant's figures of the N held-out texts; a reward is a log-ratio in nats, None where there is none."""

    score: np.ndarray
    reward: np.ndarray | None
    by: str


def held_out(data: TrainingSet, train: Rows, pairs: Pairs, config: EvaluationConfig) -> Held:
    """Held-out rows and pairs, without any text that training has for the same prompt."""
    heldout = data.rows("heldout")
    prompts = heldout.prompt_keys()
    drawn = draw_rows(heldout, prompts, unseen(heldout, prompts, train), max_rows=config.max_rows, seed=config.seed)
    rows = Rows(table=heldout.table.take(pa.array(drawn)), refused={})

    seen = set(zip(train.prompt_keys(), train.table["completion"].to_pylist(), strict=True))
    seen |= {(key, text) for key, *both in pairs.texts() for text in both}
    found = read_pairs(data, "heldout", rows)
    fresh = [i for i, (key, *both) in enumerate(found.texts()) if not any((key, text) in seen for text in both)]
    found = found.take(_at_most(fresh, found.preferred, config))

    columns = [rows.table.select(CORPUS.names), found.side("chosen").table, found.side("rejected").table]
    table = pa.concat_tables(columns)
    places: dict[tuple[bytes, str], int] = {}
    first: list[int] = []
    at: list[int] = []
    whose = zip(Rows(table=table, refused={}).prompt_keys(), table["completion"].to_pylist(), strict=True)
    for number, text in enumerate(whose):
        if text not in places:
            places[text] = len(first)
            first.append(number)
        at.append(places[text])
    row, chosen, rejected = np.split(np.array(at, dtype=np.int64), [len(rows), len(rows) + len(found)])
    return Held(
        texts=Rows(table=table.take(pa.array(first, pa.int64())), refused={}),
        row=row,
        rows=MeasuredRows.of(rows),
        chosen=chosen,
        rejected=rejected,
        pair_tickets=np.array([str(ticket) for ticket in found.table["ticket_id"].to_pylist()]),
    )


def _at_most(places: Sequence[int], preferred: int, config: EvaluationConfig) -> list[int]:
    """`places`, with at most `config.max_rows` from `preferences/`; rows of choice sets have been drawn before."""
    stated = [place for place in places if place < preferred]
    if config.max_rows is not None and len(stated) > config.max_rows:
        drawn = np.random.default_rng(config.seed).choice(len(stated), size=config.max_rows, replace=False)
        stated = [stated[i] for i in sorted(drawn)]
    return stated + [place for place in places if place >= preferred]


def score_model(
    folder: Path, held: Held, *, reference: Path, by: str, config: EvaluationConfig, cache: Path, report: Report
) -> Scored:
    """Score the held-out texts under a model, and reward them against the reference, which has no reward itself."""
    every = np.arange(len(held.texts))
    logps, lengths = score_rows(folder, held.texts, every, config, cache, "score", report)
    if folder == reference:
        return Scored(score=logps / lengths, reward=None, by=by)
    known, _ = score_rows(reference, held.texts, every, config, cache, "score reference", report)
    return Scored(score=logps / lengths, reward=logps - known, by=by)


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
    """Every measure of every contestant, and those in `against` minus each other one, with intervals.

    Args:
        held: what is measured on.
        scored: of each contestant, a figure set a training seed; those without seeds have one.
        against: whose differences are wanted.
        seed: of the resamples.
        report: called with the stage `bootstrap` (figures).

    Returns:
        By contestant and measure, and by contestant in `against`, other contestant and measure: `value`, `low`, `high`
        and `by_seed`, or None where it cannot be measured, or on too little.
    """
    values: dict[str, dict[str, Any]] = {name: {} for name in scored}
    differences: dict[str, dict[str, Any]] = {one: {other: {} for other in scored if other != one} for one in against}
    total = len(MEASURES) * len(scored)
    for done, name in enumerate(MEASURES):
        points: dict[str, np.ndarray] = {}
        draws: dict[str, np.ndarray] = {}
        for place, (arm, figures) in enumerate(scored.items()):
            parts = [found for figure in figures if (found := _statistic(name, held, figure)) is not None]
            values[arm][name] = None
            if parts:
                points[arm] = np.array([float(of(np.ones((1, len(tickets))))[0]) for of, tickets in parts])
                draws[arm] = np.mean([bootstrap(of, tickets, draws=DRAWS, seed=seed) for of, tickets in parts], axis=0)
                values[arm][name] = _figure(points[arm], draws[arm])
            report("bootstrap", done * len(scored) + place + 1, total, "figures")
        for one, others in differences.items():
            for other in others:
                both = one in points and other in points
                differences[one][other][name] = (
                    _figure(points[one] - points[other], draws[one] - draws[other]) if both else None
                )
    return values, differences


def _figure(points: np.ndarray, draws: np.ndarray) -> dict[str, Any] | None:
    """A figure of one value a seed, and its interval; None where the rows cannot tell."""
    found = interval(draws)
    if found is None or np.isnan(points).any():
        return None
    return {"value": float(points.mean()), "low": found.low, "high": found.high, "by_seed": points.tolist()}


def _statistic(name: str, held: Held, of: Scored) -> tuple[Statistic, np.ndarray] | None:
    """A measure as a function of how often each row, pair or set counts, and whose ticket each is."""
    if not name.startswith("preference"):
        return held.rows.statistic(name, of.score[held.row])
    by = of.by if name == "preference" else name.removeprefix("preference_by_")
    rank = of.reward if by == "reward" else of.score
    if rank is None or len(held.chosen) < FEWEST:
        return None
    chosen, rejected = rank[held.chosen], rank[held.rejected]
    return mean_of((chosen > rejected) + 0.5 * (chosen == rejected)), held.pair_tickets
