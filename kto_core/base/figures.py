"""The figures of quality on held-out rows and pairs, an entry each; all are better the higher they are.

From an entry follow: the rows of the summary and the model card, the columns and charts of sweeps and comparisons, and
the choices of a sweep's objective. `kto_core.evaluation` and `kto_core.comparison.comparison_measures` compute them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure.

    Attributes:
        name: in evaluations, sweeps and comparisons; an evaluation adds `_before`, `_after` and `_prior`.
        title: in tables and charts.
        heading: the title over a narrow column.
        of_pairs: whether it needs preference pairs, so that only comparisons have it.
        compared: whether comparisons have it.
        panel: the title of its panel in a comparison's chart; none has no panel.

    """

    name: str
    title: str
    heading: str
    of_pairs: bool = False
    compared: bool = True
    panel: str | None = None


FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        figure.name: figure
        for figure in (
            Figure(name="auc", title="AUC", heading="AUC", compared=False),
            Figure(
                name="auc_within",
                title="AUC within categories",
                heading="AUC\nwithin",
                panel="AUC within categories",
            ),
            Figure(name="accuracy", title="balanced accuracy", heading="balanced\naccuracy", panel="balanced accuracy"),
            Figure(
                name="preference",
                title="pairs in order",
                heading="pairs in\norder",
                of_pairs=True,
                panel="pairs in order,\neach by its own measure",
            ),
            Figure(name="preference_by_reward", title="… all by reward", heading="by\nreward", of_pairs=True),
            Figure(name="preference_by_score", title="… all by score", heading="by\nscore", of_pairs=True),
            Figure(
                name="choice_accuracy",
                title="choice accuracy",
                heading="choice\naccuracy",
                panel="choice accuracy",
            ),
        )
    }
)
ROW_FIGURES: Final = tuple(name for name, figure in FIGURES.items() if not figure.of_pairs)
"""The figures that every evaluation has."""

DECIDING_FIGURE: Final = "auc_within"
"""The figure that the release gate reads, and that decides sweeps by default."""

SWEEP_FIGURES: Final = (DECIDING_FIGURE, *(name for name in ROW_FIGURES if name != DECIDING_FIGURE))
"""The figures that may decide a sweep, the default first."""
