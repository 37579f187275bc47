"""The settings of SFT, KTO, training on pairs, and evaluation, checked on construction.

They are in a module without torch, because the orchestrator builds them and must never load torch. Settings of several
configs are declared once, in a base class or in a type with its help text. Help and `to_dict` list the settings of the
last base first and a class's own ones last: read bases from right to left.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from kto_core.base.config_base import Config, Count, Natural, NotNegative, Positive, Share, added
from kto_core.base.exceptions import TrainingError
from kto_core.base.objective_registry import OBJECTIVES, PairObjectiveName, SingleObjectiveName

Precision = Literal["float32", "bfloat16", "float16"]
Schedule = Annotated[
    Literal["cosine", "linear", "constant"], Field(description="how the learning rate falls after the warm-up")
]
Warmup = Annotated[Share, Field(description="share of the steps that the learning rate rises for")]
WeightDecay = Annotated[NotNegative, Field(description="AdamW weight decay on matrices")]
PaddedTokens = Annotated[Count, Field(description="padded tokens a forward pass; 2048 suits a CPU, a GPU takes more")]


class TinyConfig(Config):
    """The shape of the `tiny` preset: a Llama of about 3.4 million parameters with tied embeddings."""

    layers: Count = Field(default=6, description="transformer blocks")
    width: int = Field(default=192, ge=8, description="hidden width; a multiple of 2 × heads")
    heads: Count = Field(default=4, description="attention heads")
    vocabulary: int = Field(
        default=4096, ge=300, description="largest size of the BPE vocabulary learned from the rows"
    )

    @model_validator(mode="after")
    def _rotary(self) -> Self:
        if self.width % (2 * self.heads):
            raise TrainingError(
                f"TinyConfig.width must be a multiple of 2 × heads = {2 * self.heads} for rotary positions, "
                f"not {self.width}"
            )
        return self


class Optimization(Config):
    """Settings of the optimizer."""

    learning_rate: Positive | None = Field(
        default=None,
        description="peak learning rate; none means 1e-4 with LoRA or a model under 10M parameters, and 1e-6 otherwise",
    )
    warmup: Warmup = 0.1
    schedule: Schedule = "linear"
    weight_decay: WeightDecay = 0.0
    max_grad_norm: Positive = Field(default=1.0, description="gradients are clipped to this norm")


class Lengths(Config):
    """Maximum lengths of a row."""

    max_prompt_tokens: Count = Field(default=512, description="a longer prompt loses its beginning")
    max_completion_tokens: Count = Field(default=256, description="a longer completion loses its end")


class Weights(Config):
    """Which weights are trained, in which precision and memory."""

    lora_rank: Natural = Field(
        default=0, description="rank of LoRA adapters on every linear layer; 0 trains all weights"
    )
    lora_alpha: Count = Field(default=32, description="LoRA scale: adapters are multiplied by alpha / rank")
    precision: Precision = Field(default="float32", description="precision of the forward pass; weights stay float32")
    gradient_checkpointing: bool = Field(
        default=False, description="recompute activations in the backward pass: less memory, a third more time"
    )


class Run(Config):
    """Seed and tracker of a run."""

    seed: Natural = Field(default=0, description="decides the order of rows, and adapters")
    tracker: str | None = Field(
        default=None, description="an accelerate tracker to log to as well: tensorboard, mlflow, wandb"
    )


class SFTSteps(Config):
    """Number of SFT steps, and rows of each."""

    steps: Natural | None = Field(
        default=None, description="optimizer steps; 0 takes the model unchanged, none uses epochs"
    )
    epochs: Positive = Field(default=1.0, description="passes over the rows, when steps is not set")
    batch_rows: Count = Field(default=32, description="rows an optimizer step")


class SFTPasses(Config):
    """Size of an SFT forward pass."""

    batch_tokens: PaddedTokens = 2048


class SFTConfig(Run, Weights, Lengths, SFTPasses, Optimization, SFTSteps):
    """Supervised fine-tuning of the reference model on completions worth imitating."""

    learning_rate: Positive | None = Field(
        default=None,
        description="peak learning rate; none means 2e-3 for tiny, which starts from random weights, and 2e-5 "
        "otherwise",
    )
    warmup: Warmup = 0.05
    schedule: Schedule = "cosine"
    weight_decay: WeightDecay = 0.01
    seed: Natural = Field(default=0, description="decides initial weights and the order of rows")
    tiny: TinyConfig = Field(default=TinyConfig(), description="the shape of the tiny preset")


class KTOSteps(Config):
    """The loss of a row, and how rows make groups and steps."""

    objective: SingleObjectiveName = added("kto", "the loss of a row")
    beta: Positive = Field(
        default=0.1,
        description="1/β is the summed log-ratio at which a row counts as learned; keep β × completion tokens around "
        "10",
    )
    desirable_weight: NotNegative = Field(default=1.0, description="λ_D, the weight of desirable rows")
    undesirable_weight: NotNegative = Field(default=1.8, description="λ_U, the weight of undesirable rows")
    noise_correction: Literal["none", "weight", "unbiased"] = Field(
        default="none",
        description="use of the audit's precision in the loss: none, row weights of 2p − 1, or λ of the unbiased "
        "estimator",
    )
    balance: Literal["oversample", "lambda", "none"] = Field(
        default="oversample",
        description="unequal classes: repeat rows of the smaller one, scale λ by class counts, or leave them unchanged",
    )
    group_rows: int = Field(
        default=8, ge=2, description="rows a group: z0 is estimated, and completions are mismatched, within a group"
    )
    batch_groups: Count = Field(default=4, description="groups an optimizer step")
    batch_tokens: Count = Field(
        default=4096, description="tokens a forward pass, in whole groups; 4096 suits a CPU, a GPU takes more"
    )
    epochs: Positive = Field(default=1.0, description="passes over the groups")
    max_steps: Count | None = Field(default=None, description="stop after this many optimizer steps")


class KTOWatch(Config):
    """Measurements of a KTO run, and the reaction to bad ones."""

    class_gradients_every: Natural = Field(
        default=50, description="steps between measurements of each class's gradient, which cost two steps; 0 never"
    )
    kl_prompts: Natural = Field(
        default=64, description="held-out prompts on which the KL to the reference is measured every epoch; 0 never"
    )
    stop_when_unhealthy: bool = Field(
        default=False,
        description="end training when KL saturates, one class dominates or both rewards fall; otherwise only warn",
    )


class KTOConfig(Run, KTOWatch, Weights, Lengths, Optimization, KTOSteps):
    """KTO (Ethayarajh et al. 2024, arXiv 2402.01306) from a reference model, on a training set.

    **Choosing beta.** The loss of a row moves with the sigmoid of β·(r − z0), where r is the log-ratio to the reference
    summed over the completion's tokens. So 1/β is the log-ratio at which a row counts as learned. A reply of n
    tokens reaches r = n·δ when each token moves by δ nats: at 150 tokens, β 0.1 saturates once tokens have moved by
    about 0.1 nats; at 10 tokens it would take a nat each, which ruins a small model first (format tokens are pushed
    down together with the wrong ones). Keep β·n around 10: β 0.05–0.1 for replies of 100–200 tokens, β 1 for about
    10. For short replies with `tiny`, β 1.0 with undesirable_weight 0.5 and learning rate 1e-4 worked.

    **Choosing the weights.** With class-balanced groups (`balance` oversample, the default) the weights apply
    unchanged; with `none`, keep λ_D·n_D / (λ_U·n_U) between 1 and 3/2 (section 4.2 of the paper).

    **Choosing the objective.** APO-zero (`apo_zero`; D'Oosterlinck et al. 2024, arXiv 2408.06266) is KTO with
    its reference point z0 fixed at 0: desirable rows are pushed above the reference and undesirable ones below it,
    however far the policy has moved. It computes no mismatched completions. All other settings mean the same.

    **Choosing noise_correction.** KTO's loss is symmetric and tolerates labels that are wrong by chance: with 40 % of
    Harbor's accepts wrong it keeps most of its gain, and no correction recovered more (docs/noise.md), so `none` is
    the default. `weight` is for rules of very different precision, `unbiased` for doubtful labels where λ
    cannot be swept.
    """

    seed: Natural = Field(default=0, description="decides groups, their order and adapters")

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.balance == "oversample" and self.group_rows % 2:
            raise TrainingError(
                f"KTOConfig.group_rows must be even with balance 'oversample', half a class each, not {self.group_rows}"
            )
        if self.precision == "float16" and self.class_gradients_every:
            raise TrainingError(
                "KTOConfig.class_gradients_every must be 0 with precision 'float16', whose loss scale belongs to one "
                "gradient a step; or train in bfloat16"
            )
        return self


class PairSteps(Config):
    """The loss of a pair, and how pairs make steps."""

    objective: PairObjectiveName = Field(default="dpo", description="the loss of a pair")
    beta: Positive | None = Field(
        default=None, description="dpo and ipo: 1/β is a log-ratio, as in KTO [0.1]; simpo: scale of rewards [2.0]"
    )
    gamma: NotNegative | None = Field(default=None, description="simpo: the target margin between rewards [1.0]")
    odds_weight: NotNegative | None = Field(
        default=None, description="orpo: λ, the weight of the odds ratio relative to SFT's loss [0.1]"
    )
    batch_pairs: Count = Field(default=16, description="pairs an optimizer step")
    batch_tokens: Count = Field(
        default=4096, description="tokens a forward pass, in whole pairs; 4096 suits a CPU, a GPU takes more"
    )
    steps: Count | None = Field(default=None, description="optimizer steps; none uses epochs")
    epochs: Positive = Field(default=1.0, description="passes over the pairs, when steps is not set")


class PairConfig(Run, Weights, Lengths, Optimization, PairSteps):
    """DPO, IPO, ORPO or SimPO from a reference model, on pairs of which one completion was preferred.

    Settings shared with KTO mean the same here. Unset `beta`, `gamma` and `odds_weight` are filled in from `OBJECTIVES`
    where the objective reads them.
    """

    seed: Natural = Field(default=0, description="decides the order of pairs, and adapters")

    @model_validator(mode="after")
    def _of_the_objective(self) -> Self:
        read = OBJECTIVES[self.objective].settings
        for name in _OF_PAIRS:
            value = getattr(self, name)
            if value is not None and name not in read:
                raise TrainingError(
                    f"PairConfig.{name} has no effect on {self.objective}, which reads {' and '.join(read)}"
                )
            object.__setattr__(self, name, read.get(name) if value is None else value)  # once, during construction
        return self

    @classmethod
    def like(cls, kto: KTOConfig, /, *, steps: int, **settings: object) -> Self:
        """Build settings for pairs with as many completions a step as a KTO run, in `steps` steps.

        DPO and IPO take KTO's β too, because it scales the same log-ratio. `settings` override everything.
        """
        names = set(cls.model_fields) - {"objective", "beta", "epochs"}
        shared = {name: value for name, value in kto.to_dict().items() if name in names}
        objective = OBJECTIVES.get(str(settings.get("objective", "dpo")))
        if objective is not None and objective.reference and "beta" in objective.settings:
            shared["beta"] = kto.beta
        batch_pairs = kto.batch_groups * kto.group_rows // 2
        return cls.from_dict({**shared, "batch_pairs": batch_pairs, "steps": steps, **settings})


# The settings that a pair's loss may read.
_OF_PAIRS: Final = tuple({name: None for objective in OBJECTIVES.values() for name in objective.settings})
TrainingConfig = SFTConfig | KTOConfig | PairConfig


class HeldOutRows(Config):
    """Which held-out rows are scored."""

    max_rows: Annotated[int, Field(ge=2)] | None = Field(
        default=4000, description="score at most this many held-out rows, drawn by prompt; none scores all"
    )
    beta: Positive | None = Field(
        default=None, description="β of the reward margin; none means the β of the candidate's training"
    )


class EvaluationConfig(Lengths, HeldOutRows):
    """Reference against candidate on held-out rows."""

    precision: Precision = Field(default="float32", description="precision of the forward pass")
    batch_tokens: PaddedTokens = 2048
    prior_smoothing: Positive = Field(
        default=1.0, description="pseudo-counts of the prior baseline, spread by the base rate"
    )
    seed: Natural = Field(default=0, description="decides which rows are drawn")
