"""Correct KTO's loss for labels that are wrong at a measured rate.

Two corrections (docs/noise.md has the derivations, and what each recovers on Harbor):

- `weight`: a row counts max(0, 2p − 1), where p is its precision. KTO's losses of a label and its opposite add up to λ.
  So the expectation over a label which is right with probability p moves as (2p − 1) times the loss of that label
  (the symmetry of Ghosh et al. 2015, arXiv 1403.3610): 1 for sure labels, 0 for a coin's, never below.
- `unbiased`: the estimator of Natarajan et al. 2013 ("Learning with noisy labels", Lemma 1), whose mean over the noise
  is the loss of the true class. With flip rates ρ_s = P(label ≠ s | true class s), g_s = 1 − σ(±β(r − z0)) and
  g_−s = 1 − g_s, it is

      [(1 − ρ_−s)·λ_s·g_s − ρ_s·λ_−s·g_−s] / Δ = λ'_s·g_s − constant,      Δ = 1 − ρ_D − ρ_U,
      λ'_s = [(1 − ρ_−s)·λ_s + ρ_s·λ_−s] / Δ.

  So for KTO the estimator is KTO with other λ. The term with the minus sign makes other corrected losses unbounded and
  unstable; here it only adds to λ': every gradient keeps its sign, and a row costs at most λ'. The variance grows as Δ
  falls. The constant moves no gradient and is left out of the figures of a run.

z0 reads no label, so neither correction changes it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from kto_core.base.config import KTOConfig
from kto_core.base.exceptions import TrainingError
from kto_core.data.datasets import CLASSES, Rows

_AUDIT: Final = (
    "let people read more of the audit sample (`feedback-kto audit status` gives the number) and build the training "
    "set again, or set noise_correction to 'none'"
)


class FlipRates(NamedTuple):
    """Share of wrong labels by true class: ρ_D = P(undesirable | truly desirable), ρ_U the other way."""

    desirable: float
    undesirable: float

    @property
    def kept(self) -> float:
        """Δ = 1 − ρ_D − ρ_U: the information left in the labels, 1 if they are sure and 0 if there is none."""
        return 1.0 - self.desirable - self.undesirable


@dataclass(frozen=True, kw_only=True)
class Correction:
    """The weights of a run's rows and classes after the correction.

    Attributes:
        rows: the training rows, with corrected weights.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.
        record: the correction and its figures, as JSON values, for training.json.
    """

    rows: Rows
    desirable_weight: float
    undesirable_weight: float
    record: dict[str, Any]


def correct(rows: Rows, config: KTOConfig, measured: Mapping[str, float]) -> Correction:
    """Apply the correction named by `config.noise_correction`.

    Args:
        rows: the training rows, with their weights and their precision, where measured.
        config: λ_D, λ_U, how classes are balanced, and the correction.
        measured: precision by class, as `measured_precision` reads it; a class without an entry was not measured.

    Raises:
        TrainingError: if a precision that the correction needs was not measured, or labels are no better than chance.
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
    """Read the audit's precision by class from a training set's manifest; a class without a figure is left out.

    Raises:
        TrainingError: if a figure is not between 0 and 1.
    """
    audit = manifest.get("audit")
    by_class = audit.get("precision") if isinstance(audit, Mapping) else None
    measured: dict[str, float] = {}
    for name in CLASSES:
        figures = by_class.get(name) if isinstance(by_class, Mapping) else None
        value = figures.get("precision") if isinstance(figures, Mapping) else None
        if value is None:
            continue
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise TrainingError(
                f"the manifest's audit.precision.{name} is {value!r}, not a share; build the training set again"
            )
        measured[name] = float(value)
    return measured


def gains(precision: np.ndarray) -> np.ndarray:
    """Return the factor of `weight` for each row, [rows]: max(0, 2p − 1), and 1 where p is NaN, not measured."""
    return np.asarray(np.where(np.isnan(precision), 1.0, np.maximum(0.0, 2.0 * precision - 1.0)))


def flip_rates(desirable: float, undesirable: float, *, share: float) -> FlipRates:
    """Compute flip rates from an audit's precision, by Bayes' rule.

    Args:
        desirable: precision of the label desirable: P(truly desirable | labelled so).
        undesirable: that of the label undesirable.
        share: P(labelled desirable) among the rows as training weighs them, above 0 and below 1.

    Raises:
        TrainingError: if the two precisions add up to 1 or less: random labels would be as good.
    """
    # Δ = share·(1 − share)·(desirable + undesirable − 1) / (P(truly desirable)·P(truly undesirable)).
    if desirable + undesirable <= 1:
        raise TrainingError(
            f"the audit found {desirable:.0%} of the desirable and {undesirable:.0%} of the undesirable labels right, "
            "no better than random labels, which no correction can use; fix the policy's rules"
        )
    good = {"desirable": share * desirable, "undesirable": (1 - share) * (1 - undesirable)}
    bad = {"desirable": share * (1 - desirable), "undesirable": (1 - share) * undesirable}
    return FlipRates(good["undesirable"] / sum(good.values()), bad["desirable"] / sum(bad.values()))


def unbiased_weights(desirable_weight: float, undesirable_weight: float, rates: FlipRates) -> tuple[float, float]:
    """Return λ'_D and λ'_U: with them KTO's mean loss of noisy labels equals that of true labels, up to a constant.

    Args:
        desirable_weight: λ_D, of truly desirable rows.
        undesirable_weight: λ_U, of truly undesirable rows.
        rates: how often labels are wrong; `kept` must be above 0.
    """
    desirable = (1 - rates.undesirable) * desirable_weight + rates.desirable * undesirable_weight
    undesirable = (1 - rates.desirable) * undesirable_weight + rates.undesirable * desirable_weight
    return desirable / rates.kept, undesirable / rates.kept


def _by_weight(rows: Rows, config: KTOConfig) -> Correction:
    weights, precision, good = rows.weights(), rows.precision(), rows.desirable()
    if np.isnan(precision).all():
        raise TrainingError(
            f"noise_correction 'weight' needs rows with a measured precision, and no row has one; {_AUDIT}"
        )
    weighed = weights * gains(precision)
    for name, side in zip(CLASSES, (good, ~good), strict=True):
        if weights[side].sum() > 0 and not weighed[side].sum() > 0:
            raise TrainingError(
                f"no {name} row has a label that is right more often than not, so noise_correction 'weight' "
                "leaves none; fix the policy's rules, or set noise_correction to 'none'"
            )
    return Correction(
        rows=rows.weighed(weighed),
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
        record={
            "correction": "weight",
            "rows_measured": int((~np.isnan(precision)).sum()),
            "weight_kept": {
                name: float(weighed[side].sum() / weights[side].sum()) if weights[side].sum() else None
                for name, side in zip(CLASSES, (good, ~good), strict=True)
            },
        },
    )


def _unbiased(rows: Rows, config: KTOConfig, measured: Mapping[str, float]) -> Correction:
    if lacking := [name for name in CLASSES if name not in measured]:
        raise TrainingError(
            f"noise_correction 'unbiased' needs the precision of both classes, but that of {' and '.join(lacking)} "
            f"labels was not measured; {_AUDIT}"
        )
    weights, row_precision, good = rows.weights(), rows.precision(), rows.desirable()
    precision, mass = {}, {}
    for name, side in zip(CLASSES, (good, ~good), strict=True):
        # Weighed as in training: rules with less weight are often those that are wrong more often.
        filled = np.where(np.isnan(row_precision[side]), measured[name], row_precision[side])
        total = float(weights[side].sum())
        precision[name] = float(np.average(filled, weights=weights[side])) if total else measured[name]
        # Classes are balanced by the number of rows, not by their weight.
        mass[name] = total if config.balance == "none" else total / max(1, int(side.sum()))
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
