"""The settings of SFT, KTO, training on pairs, and evaluation, checked when they are made.

They stand together, and apart from the code that reads them, because the orchestrator builds them and must never load
torch. Each setting carries its own sentence of help, which is also what the command line prints.
"""

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Self

from kto_core.base.exceptions import TrainingError


def _about(
    help: str, *, above: float | None = None, least: float | None = None, most: float | None = None
) -> dict[str, str | float | None]:
    """What a field's metadata says: its sentence of help and the bounds of its value."""
    return {"help": help, "above": above, "least": least, "most": most}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Shared by the configs below: reading from and writing to plain JSON values, checking types and bounds."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for setting in dataclasses.fields(self):
            where = f"{type(self).__name__}.{setting.name}"
            value = _typed(getattr(self, setting.name), hints[setting.name], where)
            object.__setattr__(self, setting.name, value)
            if isinstance(value, int | float):
                _check_bounds(value, setting.metadata, where)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """Build from JSON or YAML values.

        Raises:
            TrainingError: naming a setting that does not exist, has the wrong type or is out of bounds.

        """
        known = {setting.name for setting in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            raise TrainingError(
                f"{cls.__name__} has no setting {', '.join(map(repr, unknown))}; it knows {', '.join(sorted(known))}"
            )
        return cls(**typing.cast("dict[str, Any]", dict(values)))

    def to_dict(self) -> dict[str, Any]:
        """Every setting as plain JSON values; `from_dict` takes them back."""
        return dataclasses.asdict(self)


def _typed(value: object, hint: Any, where: str) -> object:  # noqa: ANN401 - a type hint is any object
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if value in options:
            return value
        raise TrainingError(f"{where} must be one of {', '.join(map(repr, options))}, not {value!r}")
    if isinstance(hint, type) and issubclass(hint, Config) and isinstance(value, Mapping):
        return hint.from_dict(value)
    accepted = options if origin is not None else (hint,)
    if float in accepted and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if float in accepted and str not in accepted and isinstance(value, str):
        value = _number(value)
    if (isinstance(value, bool) != (bool in accepted) and isinstance(value, bool)) or not isinstance(value, accepted):
        names = " or ".join("nothing" if kind is type(None) else kind.__name__ for kind in accepted)
        raise TrainingError(f"{where} must be of type {names}, not {value!r}")
    return value


def _number(text: str) -> float | str:
    """The number that a text is, or the text: YAML reads 1e-4 as one, for want of a point."""
    try:
        return float(text)
    except ValueError:
        return text


def _check_bounds(value: float, bounds: Mapping[str, Any], where: str) -> None:
    above, least, most = bounds.get("above"), bounds.get("least"), bounds.get("most")
    if not math.isfinite(value):
        raise TrainingError(f"{where} must be a finite number, not {value}")
    if above is not None and value <= above:
        raise TrainingError(f"{where} must be above {above}, not {value}")
    if least is not None and value < least:
        raise TrainingError(f"{where} must be at least {least}, not {value}")
    if most is not None and value > most:
        raise TrainingError(f"{where} must be at most {most}, not {value}")


Precision = Literal["float32", "bfloat16", "float16"]
Schedule = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True, kw_only=True)
class TinyConfig(Config):
    """The shape of the `tiny` preset: a Llama of about 3.4 million parameters with tied embeddings."""

    layers: int = field(default=6, metadata=_about("transformer blocks", least=1))
    width: int = field(default=192, metadata=_about("hidden width; a multiple of 2 × heads", least=8))
    heads: int = field(default=4, metadata=_about("attention heads", least=1))
    vocabulary: int = field(
        default=4096, metadata=_about("largest size of the BPE vocabulary learned from the rows", least=300)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % (2 * self.heads):
            raise TrainingError(
                f"TinyConfig.width must be a multiple of 2 × heads = {2 * self.heads} for rotary positions, "
                f"not {self.width}"
            )


@dataclass(frozen=True, kw_only=True)
class SFTConfig(Config):
    """Supervised fine-tuning of the reference model on completions worth imitating."""

    steps: int | None = field(
        default=None, metadata=_about("optimizer steps; 0 takes the model as it is, none goes by epochs", least=0)
    )
    epochs: float = field(default=1.0, metadata=_about("passes over the rows, when steps is not set", above=0))
    batch_rows: int = field(default=32, metadata=_about("rows an optimizer step", least=1))
    learning_rate: float | None = field(
        default=None,
        metadata=_about(
            "peak learning rate; none means 2e-3 for tiny, which starts from random weights, and 2e-5 otherwise",
            above=0,
        ),
    )
    warmup: float = field(
        default=0.05, metadata=_about("share of the steps that the learning rate rises for", least=0, most=1)
    )
    schedule: Schedule = field(default="cosine", metadata=_about("how the learning rate falls after the warm-up"))
    weight_decay: float = field(default=0.01, metadata=_about("AdamW weight decay on matrices", least=0))
    max_grad_norm: float = field(default=1.0, metadata=_about("gradients are clipped to this norm", above=0))
    batch_tokens: int = field(
        default=2048,
        metadata=_about("padded tokens a forward pass; 2048 suits a CPU, a GPU takes more", least=1),
    )
    max_prompt_tokens: int = field(default=512, metadata=_about("a longer prompt loses its beginning", least=1))
    max_completion_tokens: int = field(default=256, metadata=_about("a longer completion loses its end", least=1))
    lora_rank: int = field(
        default=0, metadata=_about("rank of LoRA adapters on every linear layer; 0 trains all weights", least=0)
    )
    lora_alpha: int = field(default=32, metadata=_about("LoRA scale: adapters are multiplied by alpha / rank", least=1))
    precision: Precision = field(
        default="float32", metadata=_about("what the forward pass computes in; weights stay float32")
    )
    gradient_checkpointing: bool = field(
        default=False, metadata=_about("compute activations again on the way back: less memory, a third more time")
    )
    seed: int = field(default=0, metadata=_about("decides initial weights and the order of rows", least=0))
    tracker: str | None = field(
        default=None, metadata=_about("an accelerate tracker to log to as well: tensorboard, mlflow, wandb")
    )
    tiny: TinyConfig = field(default=TinyConfig(), metadata=_about("the shape of the tiny preset"))


@dataclass(frozen=True, kw_only=True)
class KTOConfig(Config):
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306) from a reference model, on a training set.

    **Choosing beta.** The loss of a row moves with the sigmoid of β·(r − z0), where r is the log-ratio to the reference
    summed over the completion's tokens, so that 1/β is the log-ratio at which a row counts as learned. A reply of n
    tokens reaches r = n·δ when each token moves by δ nats: at 150 tokens, β 0.1 saturates once tokens have moved by
    about 0.1 nats; at 10 tokens it would take a nat each, which ruins a small model first (format tokens are pushed
    down together with the wrong ones). Keep β·n around 10: β 0.05–0.1 for replies of 100–200 tokens, β 1 for about
    10. For short replies with `tiny`, β 1.0 with undesirable_weight 0.5 and learning rate 1e-4 is what worked.

    **Choosing the weights.** With class-balanced groups (`balance` oversample, the default) the weights apply as they
    are; with `none`, keep λ_D·n_D / (λ_U·n_U) between 1 and 3/2 (section 4.2 of the paper).

    **Choosing noise_correction.** KTO's loss is symmetric and bears labels that are wrong by chance: with 40 % of
    Harbor's accepts wrong it keeps most of what it gains, and no correction gave more back (docs/noise.md), so that
    `none` is the default. `weight` is for rules of very different precision, `unbiased` for doubtful labels where λ
    cannot be swept.
    """

    beta: float = field(
        default=0.1,
        metadata=_about(
            "1/β is the summed log-ratio at which a row counts as learned; keep β × completion tokens around 10",
            above=0,
        ),
    )
    desirable_weight: float = field(default=1.0, metadata=_about("λ_D, the weight of desirable rows", least=0))
    undesirable_weight: float = field(default=1.8, metadata=_about("λ_U, the weight of undesirable rows", least=0))
    noise_correction: Literal["none", "weight", "unbiased"] = field(
        default="none",
        metadata=_about(
            "what the audit's precision does to the loss: nothing, rows weigh 2p − 1, or λ of the unbiased estimator"
        ),
    )
    balance: Literal["oversample", "lambda", "none"] = field(
        default="oversample",
        metadata=_about(
            "unequal classes: repeat rows of the smaller one, scale λ by class counts, or leave them as they are"
        ),
    )
    group_rows: int = field(
        default=8,
        metadata=_about("rows a group: z0 is estimated, and completions are mismatched, within a group", least=2),
    )
    batch_groups: int = field(default=4, metadata=_about("groups an optimizer step", least=1))
    batch_tokens: int = field(
        default=4096,
        metadata=_about("tokens a forward pass, in whole groups; 4096 suits a CPU, a GPU takes more", least=1),
    )
    epochs: float = field(default=1.0, metadata=_about("passes over the groups", above=0))
    max_steps: int | None = field(default=None, metadata=_about("stop after this many optimizer steps", least=1))
    learning_rate: float | None = field(
        default=None,
        metadata=_about(
            "peak learning rate; none means 1e-4 with LoRA or a model under 10M parameters, and 1e-6 otherwise", above=0
        ),
    )
    warmup: float = field(
        default=0.1, metadata=_about("share of the steps that the learning rate rises for", least=0, most=1)
    )
    schedule: Schedule = field(default="linear", metadata=_about("how the learning rate falls after the warm-up"))
    weight_decay: float = field(default=0.0, metadata=_about("AdamW weight decay on matrices", least=0))
    max_grad_norm: float = field(default=1.0, metadata=_about("gradients are clipped to this norm", above=0))
    max_prompt_tokens: int = field(default=512, metadata=_about("a longer prompt loses its beginning", least=1))
    max_completion_tokens: int = field(default=256, metadata=_about("a longer completion loses its end", least=1))
    lora_rank: int = field(
        default=0, metadata=_about("rank of LoRA adapters on every linear layer; 0 trains all weights", least=0)
    )
    lora_alpha: int = field(default=32, metadata=_about("LoRA scale: adapters are multiplied by alpha / rank", least=1))
    precision: Precision = field(
        default="float32", metadata=_about("what the forward pass computes in; weights stay float32")
    )
    gradient_checkpointing: bool = field(
        default=False, metadata=_about("compute activations again on the way back: less memory, a third more time")
    )
    class_gradients_every: int = field(
        default=50,
        metadata=_about("steps between measurements of each class's gradient, which cost two steps; 0 never", least=0),
    )
    kl_prompts: int = field(
        default=64,
        metadata=_about("held-out prompts on which the KL to the reference is measured every epoch; 0 never", least=0),
    )
    stop_when_unhealthy: bool = field(
        default=False,
        metadata=_about("end training when KL saturates, one class dominates or both rewards fall, not only say so"),
    )
    seed: int = field(default=0, metadata=_about("decides groups, their order and adapters", least=0))
    tracker: str | None = field(
        default=None, metadata=_about("an accelerate tracker to log to as well: tensorboard, mlflow, wandb")
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.balance == "oversample" and self.group_rows % 2:
            raise TrainingError(
                f"KTOConfig.group_rows must be even with balance 'oversample', half a class each, not {self.group_rows}"
            )
        if self.precision == "float16" and self.class_gradients_every:
            raise TrainingError(
                "KTOConfig.class_gradients_every must be 0 with precision 'float16', whose loss scale belongs to one "
                "gradient a step; or train in bfloat16"
            )


PairLoss = Literal["dpo", "ipo", "orpo", "simpo"]
# What each objective reads, and its value: DPO's default (arXiv 2305.18290, appendix B), which TRL takes for IPO's τ as
# well; ORPO's λ for Mistral (2403.07691); SimPO's β and γ for Llama-3 Base (2405.14734, table 8).
PAIR_SETTINGS: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "dpo": {"beta": 0.1},
        "ipo": {"beta": 0.1},
        "orpo": {"odds_weight": 0.1},
        "simpo": {"beta": 2.0, "gamma": 1.0},
    }
)


_IN_KTO: Final = KTOConfig.__dataclass_fields__


@dataclass(frozen=True, kw_only=True)
class PairConfig(Config):
    """DPO, IPO, ORPO or SimPO from a reference model, on pairs of which one completion was preferred.

    What KTO has as well means the same here. `beta`, `gamma` and `odds_weight` are filled in from `PAIR_SETTINGS` where
    the objective reads them and they are not given.
    """

    objective: PairLoss = field(default="dpo", metadata=_about("what is learned from a pair"))
    beta: float | None = field(
        default=None,
        metadata=_about("dpo and ipo: 1/β is a log-ratio, as in KTO [0.1]; simpo: scale of rewards [2.0]", above=0),
    )
    gamma: float | None = field(
        default=None, metadata=_about("simpo: the margin between rewards that is aimed at [1.0]", least=0)
    )
    odds_weight: float | None = field(
        default=None, metadata=_about("orpo: λ, the weight of the odds ratio beside SFT's loss [0.1]", least=0)
    )
    batch_pairs: int = field(default=16, metadata=_about("pairs an optimizer step", least=1))
    batch_tokens: int = field(
        default=4096,
        metadata=_about("tokens a forward pass, in whole pairs; 4096 suits a CPU, a GPU takes more", least=1),
    )
    steps: int | None = field(default=None, metadata=_about("optimizer steps; none goes by epochs", least=1))
    epochs: float = field(default=1.0, metadata=_about("passes over the pairs, when steps is not set", above=0))
    learning_rate: float | None = field(default=KTOConfig.learning_rate, metadata=_IN_KTO["learning_rate"].metadata)
    warmup: float = field(default=KTOConfig.warmup, metadata=_IN_KTO["warmup"].metadata)
    schedule: Schedule = field(default=KTOConfig.schedule, metadata=_IN_KTO["schedule"].metadata)
    weight_decay: float = field(default=KTOConfig.weight_decay, metadata=_IN_KTO["weight_decay"].metadata)
    max_grad_norm: float = field(default=KTOConfig.max_grad_norm, metadata=_IN_KTO["max_grad_norm"].metadata)
    max_prompt_tokens: int = field(default=KTOConfig.max_prompt_tokens, metadata=_IN_KTO["max_prompt_tokens"].metadata)
    max_completion_tokens: int = field(
        default=KTOConfig.max_completion_tokens, metadata=_IN_KTO["max_completion_tokens"].metadata
    )
    lora_rank: int = field(default=KTOConfig.lora_rank, metadata=_IN_KTO["lora_rank"].metadata)
    lora_alpha: int = field(default=KTOConfig.lora_alpha, metadata=_IN_KTO["lora_alpha"].metadata)
    precision: Precision = field(default=KTOConfig.precision, metadata=_IN_KTO["precision"].metadata)
    gradient_checkpointing: bool = field(
        default=KTOConfig.gradient_checkpointing, metadata=_IN_KTO["gradient_checkpointing"].metadata
    )
    seed: int = field(default=0, metadata=_about("decides the order of pairs, and adapters", least=0))
    tracker: str | None = field(default=KTOConfig.tracker, metadata=_IN_KTO["tracker"].metadata)

    def __post_init__(self) -> None:
        super().__post_init__()
        read = PAIR_SETTINGS[self.objective]
        for name in ("beta", "gamma", "odds_weight"):
            given = getattr(self, name)
            if given is not None and name not in read:
                raise TrainingError(
                    f"PairConfig.{name} says nothing to {self.objective}, which reads {' and '.join(read)}"
                )
            object.__setattr__(self, name, read.get(name) if given is None else given)

    @classmethod
    def like(cls, kto: KTOConfig, *, steps: int, **settings: object) -> Self:
        """Settings for pairs that see as many completions a step as a KTO run does, in `steps` steps.

        DPO and IPO take KTO's β too, since it scales the same log-ratio. `settings` go before all.
        """
        names = {setting.name for setting in dataclasses.fields(cls)} - {"beta", "epochs"}
        shared = {name: value for name, value in kto.to_dict().items() if name in names}
        if settings.get("objective", "dpo") in ("dpo", "ipo"):
            shared["beta"] = kto.beta
        batch_pairs = kto.batch_groups * kto.group_rows // 2
        return cls.from_dict({**shared, "batch_pairs": batch_pairs, "steps": steps, **settings})


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Config):
    """Reference against candidate on held-out rows."""

    max_rows: int | None = field(
        default=4000,
        metadata=_about("score at most this many held-out rows, drawn by prompt; none scores all", least=2),
    )
    beta: float | None = field(
        default=None,
        metadata=_about("β of the reward margin; none means the one the candidate was trained with", above=0),
    )
    max_prompt_tokens: int = field(default=512, metadata=_about("a longer prompt loses its beginning", least=1))
    max_completion_tokens: int = field(default=256, metadata=_about("a longer completion loses its end", least=1))
    precision: Precision = field(default="float32", metadata=_about("what the forward pass computes in"))
    batch_tokens: int = field(
        default=2048,
        metadata=_about("padded tokens a forward pass; 2048 suits a CPU, a GPU takes more", least=1),
    )
    prior_smoothing: float = field(
        default=1.0, metadata=_about("pseudo-counts of the prior baseline, spread by the base rate", above=0)
    )
    seed: int = field(default=0, metadata=_about("decides which rows are drawn", least=0))
