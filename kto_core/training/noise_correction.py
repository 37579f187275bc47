"""What a measured precision does to KTO's loss: labels that are wrong at a known rate, corrected for.

Two corrections (docs/noise.md has the derivations, and what each gives back on Harbor):

- `weight`: a row counts with max(0, 2p − 1), p its precision. KTO's losses of a row and of its opposite add up to λ, so
  that the expectation over a label which is right with probability p moves as (2p − 1) times the loss of that label
  (the symmetry of Ghosh et al. 2015, arXiv 1403.3610): 1 for sure labels, 0 for a coin's, and no further.
- `unbiased`: the estimator of Natarajan et al. 2013 ("Learning with noisy labels", Lemma 1), whose mean over the noise
  is the loss of the true class. With flip rates ρ_s = P(label ≠ s | true class s), g_s = 1 − σ(±β(r − z0)) and
  g_−s = 1 − g_s, it is

      [(1 − ρ_−s)·λ_s·g_s − ρ_s·λ_−s·g_−s] / Δ = λ'_s·g_s − constant,      Δ = 1 − ρ_D − ρ_U,
      λ'_s = [(1 − ρ_−s)·λ_s + ρ_s·λ_−s] / Δ.

  So for KTO the estimator is KTO with other λ. The term with the minus sign, which makes other losses unbounded and
  unstable when they are corrected, only adds to λ' here: every gradient keeps its sign, and a row costs at most λ'.
  What grows as Δ falls is the variance. The constant moves no gradient and is left out of the figures of a run.

z0 reads no label, so that neither correction touches it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from kto_core.base.config import KTOConfig
from kto_core.base.exceptions import TrainingError
from kto_core.data.datasets import CLASSES, Rows

_AUDIT: Final = (
    "have people read more of the audit sample (`feedback-kto audit status` says how many) and build the training set "
    "again, or set noise_correction to 'none'"
)


class FlipRates(NamedTuple):
    """How often a label is the wrong one, by true class: ρ_D = P(undesirable | truly desirable), ρ_U the other way."""

    desirable: float
    undesirable: float

    @property
    def kept(self) -> float:
        """Δ = 1 − ρ_D − ρ_U: what the labels still say, 1 if they are sure and 0 if they say nothing."""
        return 1.0 - self.desirable - self.undesirable


@dataclass(frozen=True, kw_only=True)
class Correction:
    """How a run's rows and classes count.

    Attributes:
        rows: the training rows, as they weigh.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.
        record: what was done, as JSON values, for training.json.
    """

    rows: Rows
    desirable_weight: float
    undesirable_weight: float
    record: dict[str, Any]


def correct(rows: Rows, config: KTOConfig, measured: Mapping[str, float]) -> Correction:
    """The correction that `config.noise_correction` asks for.

    Args:
        rows: the training rows, with their weights and, where it was measured, their precision.
        config: λ_D, λ_U, how classes are balanced, and the correction.
        measured: precision by class, as `measured_precision` reads it; a class that is not in it was not measured.

    Raises:
        TrainingError: if nothing was measured that the correction needs, or the labels say nothing.
    """
    if config.noise_correction == "weight":
        return _by_weight(rows, config)
    if config.noise_correction == "unbiased":
        return _unbiased(rows, config, measured)
    return Correction(
        rows=rows,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
        record={"correction": "none"},
    )


def measured_precision(manifest: Mapping[str, Any]) -> dict[str, float]:
    """The audit's precision by class from a training set's manifest; a class without a figure is left out.

    Raises:
        TrainingError: if a figure is not between 0 and 1.
    """
    audit = manifest.get("audit")
    by_class = audit.get("precision") if isinstance(audit, Mapping) else None
    found: dict[str, float] = {}
    for name in CLASSES:
        figures = by_class.get(name) if isinstance(by_class, Mapping) else None
        value = figures.get("precision") if isinstance(figures, Mapping) else None
        if value is None:
            continue
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise TrainingError(
                f"the manifest's audit.precision.{name} is {value!r}, not a share; build the training set again"
            )
        found[name] = float(value)
    return found


def gains(precision: np.ndarray) -> np.ndarray:
    """What `weight` multiplies rows by, [rows]: max(0, 2p − 1), and 1 where p is NaN, not measured."""
    return np.asarray(np.where(np.isnan(precision), 1.0, np.maximum(0.0, 2.0 * precision - 1.0)))


def flip_rates(desirable: float, undesirable: float, *, share: float) -> FlipRates:
    """Flip rates from what an audit measures, by Bayes' rule.

    Args:
        desirable: precision of the label desirable: P(truly desirable | labelled so).
        undesirable: that of the label undesirable.
        share: P(labelled desirable) among the rows as training meets and weighs them, above 0 and below 1.

    Raises:
        TrainingError: if the two precisions add up to 1 or less: labels drawn by lot would be as good.
    """
    # Δ = share·(1 − share)·(desirable + undesirable − 1) / (P(truly desirable)·P(truly undesirable)).
    if desirable + undesirable <= 1:
        raise TrainingError(
            f"the audit found {desirable:.0%} of the desirable and {undesirable:.0%} of the undesirable labels right, "
            "no better than labels drawn by lot, which no correction can learn from; mend the policy's rules"
        )
    good = {"desirable": share * desirable, "undesirable": (1 - share) * (1 - undesirable)}
    bad = {"desirable": share * (1 - desirable), "undesirable": (1 - share) * undesirable}
    return FlipRates(good["undesirable"] / sum(good.values()), bad["desirable"] / sum(bad.values()))


def unbiased_weights(desirable_weight: float, undesirable_weight: float, rates: FlipRates) -> tuple[float, float]:
    """λ'_D and λ'_U, with which KTO's loss of noisy labels is, up to a constant, that of the true ones in the mean.

    Args:
        desirable_weight: λ_D, of rows that are truly desirable.
        undesirable_weight: λ_U, of those that are truly undesirable.
        rates: how often labels are wrong; what they keep is above 0.
    """
    desirable = (1 - rates.undesirable) * desirable_weight + rates.desirable * undesirable_weight
    undesirable = (1 - rates.desirable) * undesirable_weight + rates.undesirable * desirable_weight
    return desirable / rates.kept, undesirable / rates.kept


def _by_weight(rows: Rows, config: KTOConfig) -> Correction:
    weights, precision, good = rows.weights(), rows.precision(), rows.desirable()
    if np.isnan(precision).all():
        raise TrainingError(f"noise_correction 'weight' needs rows whose precision was measured, and none is; {_AUDIT}")
    weighed = weights * gains(precision)
    for name, of in zip(CLASSES, (good, ~good), strict=True):
        if weights[of].sum() > 0 and not weighed[of].sum() > 0:
            raise TrainingError(
                f"no {name} row has a label that is right more often than not, so that noise_correction 'weight' "
                "leaves none; mend the policy's rules, or set noise_correction to 'none'"
            )
    return Correction(
        rows=rows.weighed(weighed),
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
        record={
            "correction": "weight",
            "rows_measured": int((~np.isnan(precision)).sum()),
            "weight_kept": {
                name: float(weighed[of].sum() / weights[of].sum()) if weights[of].sum() else None
                for name, of in zip(CLASSES, (good, ~good), strict=True)
            },
        },
    )


def _unbiased(rows: Rows, config: KTOConfig, measured: Mapping[str, float]) -> Correction:
    if lacking := [name for name in CLASSES if name not in measured]:
        raise TrainingError(
            f"noise_correction 'unbiased' needs the precision of both classes, and that of {' and '.join(lacking)} "
            f"labels was not measured; {_AUDIT}"
        )
    weights, found, good = rows.weights(), rows.precision(), rows.desirable()
    precision, mass = {}, {}
    for name, of in zip(CLASSES, (good, ~good), strict=True):
        # As training weighs them: rules that count less than others are often those that are wrong more often.
        own = np.where(np.isnan(found[of]), measured[name], found[of])
        total = float(weights[of].sum())
        precision[name] = float(np.average(own, weights=weights[of])) if total else measured[name]
        # Classes are balanced by rows, whatever these weigh.
        mass[name] = total if config.balance == "none" else total / max(1, int(of.sum()))
    if not all(mass.values()):
        raise TrainingError(
            "noise_correction 'unbiased' needs rows of both classes with a weight above 0; check the policy's weights"
        )
    share = mass["desirable"] / sum(mass.values())
    rates = flip_rates(precision["desirable"], precision["undesirable"], share=share)
    desirable, undesirable = unbiased_weights(config.desirable_weight, config.undesirable_weight, rates)
    return Correction(
        rows=rows,
        desirable_weight=desirable,
        undesirable_weight=undesirable,
        record={
            "correction": "unbiased",
            "precision": precision,
            "share_desirable": share,
            "flip_rates": rates._asdict(),
            "kept": rates.kept,
        },
    )
