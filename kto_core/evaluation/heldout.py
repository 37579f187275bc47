"""Evaluation on held-out rows: reference against candidate, with a prior of popular replies beside them.

A row's score is its mean token log-probability, log π(y|x)/|y|, under each model. A held-out (prompt, completion)
that is also in training is left out: it would measure memory.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kto_core.base.config import EvaluationConfig, KTOConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Paced, Report, silent
from kto_core.base.store import read_json
from kto_core.data.datasets import Rows, TrainingSet
from kto_core.data.ranking_scores import auc, balanced_accuracy, choice_accuracy, choice_sets, prior_scores
from kto_core.data.tokenization import Encoder
from kto_core.evaluation.bootstrap import auc_of, bootstrap, interval
from kto_core.models.logps import Batch, CompletionLogps, token_batches
from kto_core.models.model_folders import check_context, load, load_tokenizer, weights_hash
from kto_core.models.optimization import make_accelerator
from kto_core.reference.logp_cache import LogpCache


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Held-out rows with their scores, [rows] each.

    Attributes:
        scores: `before`, `after` and `prior`; the higher, the more desirable.
        rewards: β·(log π − log π_ref).
        desirable: bool.
        prompts: key of each row's prompt.
        folds: 0 or 1, by ticket.
        categories: category of each row.
    """

    scores: Mapping[str, np.ndarray]
    rewards: np.ndarray
    desirable: np.ndarray
    prompts: Sequence[bytes]
    folds: np.ndarray
    categories: Sequence[str]

    def at(self, places: np.ndarray) -> "HeldOut":
        """Return the rows at `places`."""
        return HeldOut(
            scores={name: scores[places] for name, scores in self.scores.items()},
            rewards=self.rewards[places],
            desirable=self.desirable[places],
            prompts=[self.prompts[i] for i in places],
            folds=self.folds[places],
            categories=[self.categories[i] for i in places],
        )


def evaluate(
    *,
    reference: Path,
    candidate: Path,
    training_set: Path,
    config: EvaluationConfig,
    cache: Path,
    scores: Path | None = None,
    report: Report = silent,
) -> dict[str, object]:
    """Score held-out rows under both models.

    Args:
        reference: the model before.
        candidate: the model after.
        training_set: a training-set folder; its held-out rows are scored, its training rows give the prior.
        config: number of rows, lengths and precision.
        cache: folder of the log-probability cache; rows cached for a model's weights are not computed again.
        scores: a Parquet file to write, one row for each held-out row scored: `row_id`, `ticket_id`, `category`,
            `desirable`, `tokens` of its completion, and `before` and `after`, its summed log-probabilities.
        report: called with the stages `score before` and `score after` (rows).

    Returns:
        JSON values: `rows`, `rows_held_out`, `rows_seen_in_training` (left out), `training_set`, `weights` (hashes),
        `desirable`, `undesirable`, `choice_sets`; `auc_*`, `auc_within_*` (its mean over categories), `accuracy_*`
        (balanced, cross-fitted) and `choice_accuracy_*` for `before`, `after` and `prior`, with
        `choice_accuracy_random`; `auc_within_gain`, the 95 % interval (low, high), over tickets, of the rise of AUC
        within categories from before to after; `reward_desirable`, `reward_undesirable`, `reward_margin`, `beta`; and
        the same figures under `categories`. A figure that these rows cannot give is None.

    Raises:
        TrainingError: if the models or the training set cannot be read.
    """
    report = Paced(report)
    data = TrainingSet.open(Path(training_set))
    held, train = data.rows("heldout"), data.rows("train")
    prompts = held.prompt_keys()
    fresh = unseen(held, prompts, train)
    drawn = draw_rows(held, prompts, fresh, max_rows=config.max_rows, seed=config.seed)
    before, lengths = score_rows(Path(reference), held, drawn, config, cache, "score before", report)
    after, _ = score_rows(Path(candidate), held, drawn, config, cache, "score after", report)
    if scores is not None:
        _write_scores(scores, held, drawn, tokens=lengths, before=before, after=after)
    beta = config.beta or _beta(Path(candidate))
    texts = held.table["completion"].to_pylist()
    prior = prior_scores(
        [texts[i] for i in drawn],
        trained=train.table["completion"].to_pylist(),
        trained_desirable=train.desirable(),
        smoothing=config.prior_smoothing,
    )
    tickets, categories = held.table["ticket_id"].to_pylist(), held.table["category"].to_pylist()
    rows = HeldOut(
        scores={"before": before / lengths, "after": after / lengths, "prior": prior},
        rewards=beta * (after - before),
        desirable=held.desirable()[drawn],
        prompts=[prompts[i] for i in drawn],
        folds=np.array([fold_of(str(tickets[i])) for i in drawn]),
        categories=[categories[i] or "none" for i in drawn],
    )
    by_category: dict[str, list[int]] = defaultdict(list)
    for place, category in enumerate(rows.categories):
        by_category[category].append(place)
    categories_measured = {name: measure(rows.at(np.array(places))) for name, places in sorted(by_category.items())}
    gains = [
        bootstrap(auc_of(rows.scores[name], rows.desirable, rows.categories), [str(tickets[i]) for i in drawn])
        for name in ("before", "after")
    ]
    gain = interval(gains[1] - gains[0])
    return {
        "rows_held_out": len(held),
        "rows_seen_in_training": len(held) - len(fresh),
        "beta": beta,
        "training_set": data.version,
        "weights": {"reference": weights_hash(Path(reference)), "candidate": weights_hash(Path(candidate))},
        **measure(rows),
        **{f"auc_within_{name}": auc_within(categories_measured.values(), name) for name in rows.scores},
        "auc_within_gain": list(gain) if gain else None,
        "categories": categories_measured,
    }


def _write_scores(path: Path, held: Rows, drawn: np.ndarray, **columns: np.ndarray) -> None:
    table = held.table.select(["row_id", "ticket_id", "category", "label"]).take(pa.array(drawn))
    table = table.rename_columns(["row_id", "ticket_id", "category", "desirable"])
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.float64()))
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    pq.write_table(table, scratch)
    scratch.rename(path)


def fold_of(ticket: str) -> int:
    """Return the fold, 0 or 1, of a ticket's rows; balanced accuracy is cross-fitted on the two."""
    return _hashed(ticket.encode(), 0) % 2


def auc_within(categories: Iterable[Mapping[str, Any]], name: str) -> float | None:
    """Return AUC over pairs within a category, or None where no category has both classes.

    Where categories differ in how often drafts are liked, pooled AUC rewards knowing the category alone. This AUC
    does not: it is the mean of the categories' AUCs, weighted by how many (desirable, undesirable) pairs each has.
    """
    pairs = [(c["desirable"] * c["undesirable"], c[f"auc_{name}"]) for c in categories if c[f"auc_{name}"] is not None]
    total = sum(weight for weight, _ in pairs)
    return sum(weight * value for weight, value in pairs) / total if total else None


def measure(rows: HeldOut) -> dict[str, float | int | None]:
    """Compute every figure on these rows; None where the rows do not suffice."""
    good = rows.desirable
    sets = choice_sets(rows.prompts, good)
    figures: dict[str, float | int | None] = {
        "rows": len(good),
        "desirable": int(good.sum()),
        "undesirable": int((~good).sum()),
        "choice_sets": len(sets),
    }
    for name, scores in rows.scores.items():
        figures[f"auc_{name}"] = auc(scores, good)
        figures[f"accuracy_{name}"] = balanced_accuracy(scores, good, rows.folds)
        figures[f"choice_accuracy_{name}"] = choice_accuracy(scores, good, sets)
    figures["choice_accuracy_random"] = choice_accuracy(np.zeros(len(good)), good, sets)
    rewards = {side: float(rows.rewards[of].mean()) if of.any() else None for side, of in (("d", good), ("u", ~good))}
    figures["reward_desirable"], figures["reward_undesirable"] = rewards["d"], rewards["u"]
    both = rewards["d"] is not None and rewards["u"] is not None
    figures["reward_margin"] = (rewards["d"] or 0.0) - (rewards["u"] or 0.0) if both else None
    return figures


def draw_rows(
    held: Rows, prompts: Sequence[bytes], fresh: Sequence[int], *, max_rows: int | None, seed: int
) -> np.ndarray:
    """Draw at most `max_rows` of the `fresh` rows, as indices; whole prompts at a time, so choice sets stay whole.

    Prompts are stratified by category and by the classes they have; every stratum gives the same share. The draw
    depends on the rows and the seed alone.
    """
    if max_rows is None or len(fresh) <= max_rows:
        return np.array(sorted(fresh), dtype=np.int64)
    desirable, categories = held.desirable(), held.table["category"].to_pylist()
    members: dict[bytes, list[int]] = defaultdict(list)
    for row in fresh:
        members[prompts[row]].append(row)
    strata: dict[tuple[str, bool, bool], list[bytes]] = defaultdict(list)
    for prompt, rows in members.items():
        good = desirable[rows]
        strata[str(categories[rows[0]]), bool(good.any()), bool(good.all())].append(prompt)
    order: list[tuple[float, int, bytes]] = []
    for stratum in strata.values():
        stratum.sort(key=lambda prompt: _hashed(prompt, seed))
        order.extend(((i + 0.5) / len(stratum), _hashed(p, seed), p) for i, p in enumerate(stratum))
    drawn: list[int] = []
    for *_, prompt in sorted(order):
        if len(drawn) + len(members[prompt]) <= max_rows:
            drawn.extend(members[prompt])
    return np.array(sorted(drawn), dtype=np.int64)


def unseen(held: Rows, prompts: Sequence[bytes], train: Rows) -> list[int]:
    """Return indices of the `held` rows whose (prompt, completion) is not in training; `prompts` are their keys."""
    trained = set(zip(train.prompt_keys(), train.table["completion"].to_pylist(), strict=True))
    pairs = zip(prompts, held.table["completion"].to_pylist(), strict=True)
    return [row for row, pair in enumerate(pairs) if pair not in trained]


@torch.inference_mode()
def score_rows(
    folder: Path, held: Rows, drawn: np.ndarray, config: EvaluationConfig, cache: Path, stage: str, report: Report
) -> tuple[np.ndarray, np.ndarray]:
    """Return summed log-probability and tokens of each drawn completion, float64 [drawn] each.

    The model in `folder` is loaded only if the cache lacks a row.
    """
    encoder = Encoder(
        load_tokenizer(folder),
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
    )
    rows = encoder.encode(held.pairs(drawn.tolist()))
    with LogpCache(Path(cache), weights=weights_hash(folder), precision=config.precision) as logp_cache:
        uncached = [row for row, logp in zip(rows, logp_cache.get(rows), strict=True) if logp is None]
        if uncached:
            accelerator = make_accelerator(config.precision)
            model, _ = load(folder)
            check_context(model, prompt=config.max_prompt_tokens, completion=config.max_completion_tokens)
            network = CompletionLogps(model.to(accelerator.device).eval())
            scored = len(rows) - len(uncached)
            for batch in token_batches(uncached, tokens=config.batch_tokens):
                with accelerator.autocast():
                    logps = network(Batch.collate(batch).to(accelerator.device))
                if not logps.isfinite().all():
                    raise TrainingError(
                        f"{folder} gives log-probabilities that are not finite; it was trained at too high a learning "
                        "rate, or its weights are damaged"
                    )
                logp_cache.put(batch, logps.tolist())
                scored += len(batch)
                report(stage, scored, len(rows), "rows")
        else:
            report(stage, len(rows), len(rows), "rows")
        scores = np.array(logp_cache.get(rows), dtype=np.float64)
    return scores, np.array([row.completion_tokens for row in rows], dtype=np.float64)


def _beta(candidate: Path) -> float:
    """Return the β of the candidate's training, or KTO's default for a model from elsewhere."""
    file = candidate / "training.json"
    config = read_json(file).get("config") if file.is_file() else None
    beta = config.get("beta") if isinstance(config, dict) else None
    return float(beta) if isinstance(beta, int | float) else KTOConfig().beta


def _hashed(key: bytes, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, salt=seed.to_bytes(8, "little")).digest(), "little")
