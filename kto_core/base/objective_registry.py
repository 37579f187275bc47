"""Registry of the training objectives, one `Objective` each. The losses need torch and are in another module.

The registry decides the choices of `KTOConfig.objective` and `PairConfig.objective`, which completions a step
computes, the call of the loss, the choices of `compare` with their help, and the measure that ranks pairs. To add an
objective, write `<name>_loss` in `kto_core.training.objectives` and an entry here, and list it in docs/compare.md.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from kto_core.base.config import KTOConfig, PairConfig


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The properties of an objective that training and comparisons read.

    Attributes:
        name: in settings and in names of model folders; the loss is `<name>_loss` of `kto_core.training.objectives`.
        title: in tables and texts.
        rows: what the loss reads: `singles`, rows labelled desirable or undesirable, or `pairs`.
        reference: whether the loss reads log π_ref. If so, rewards are log-ratios to the reference, and pairs are
            ranked by them; otherwise pairs are ranked by score, the mean token log-probability.
        z0: whether the loss reads the reference point z0; a step then computes mismatched completions y' too.
        lengths: whether the loss reads the number of tokens of completions.
        settings: the settings of `PairConfig` that the loss reads, and the paper's values.
    """

    name: str
    title: str
    rows: Literal["singles", "pairs"]
    reference: bool = True
    z0: bool = False
    lengths: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)

    @property
    def config(self) -> "type[KTOConfig | PairConfig]":
        """The class of its settings."""
        from kto_core.base.config import KTOConfig, PairConfig

        return KTOConfig if self.rows == "singles" else PairConfig

    @property
    def ranked_by(self) -> Literal["reward", "score"]:
        """The measure that ranks the completions of a pair under a model trained with it."""
        return "reward" if self.reference else "score"


# DPO's value (arXiv 2305.18290, appendix B), which TRL takes for IPO's τ as well; ORPO's λ for Mistral (2403.07691);
# SimPO's β and γ for Llama-3 Base (2405.14734, table 8).
OBJECTIVES: Final[Mapping[str, Objective]] = MappingProxyType(
    {
        objective.name: objective
        for objective in (
            Objective(name="kto", title="KTO", rows="singles", z0=True),
            Objective(name="apo_zero", title="APO-zero", rows="singles"),
            Objective(name="dpo", title="DPO", rows="pairs", settings={"beta": 0.1}),
            Objective(name="ipo", title="IPO", rows="pairs", settings={"beta": 0.1}),
            Objective(
                name="orpo", title="ORPO", rows="pairs", reference=False, lengths=True, settings={"odds_weight": 0.1}
            ),
            Objective(
                name="simpo",
                title="SimPO",
                rows="pairs",
                reference=False,
                lengths=True,
                settings={"beta": 2.0, "gamma": 1.0},
            ),
        )
    }
)
COMPARED: Final = ("dpo", "orpo", "simpo")  # compared with KTO by default
COMPARED_HELP: Final = (
    f"{', '.join(name for name in OBJECTIVES if name != 'kto')}, or kto, each with its own settings if wanted: "
    "dpo:beta=0.1."
)


def titles(objectives: Iterable[Objective], *more: str, last: str = "and") -> str:
    """List the titles, then `more`, as a text does: `KTO, DPO and IPO`."""
    *names, end = [*(objective.title for objective in objectives), *more]
    return f"{', '.join(names)} {last} {end}" if names else end


if TYPE_CHECKING:
    SingleObjectiveName = str
    PairObjectiveName = str
else:
    SingleObjectiveName = Literal[tuple(name for name, objective in OBJECTIVES.items() if objective.rows == "singles")]
    PairObjectiveName = Literal[tuple(name for name, objective in OBJECTIVES.items() if objective.rows == "pairs")]
