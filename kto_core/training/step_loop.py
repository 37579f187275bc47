"""The training loop of SFT, KTO and pairs: one optimizer step after another, from the last checkpoint on."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from accelerate import Accelerator, DistributedType

from kto_core.base.config import TrainingConfig
from kto_core.base.exceptions import TrainingError
from kto_core.base.progress import Report
from kto_core.models.logps import CompletionLogps
from kto_core.models.optimization import make_optimizer, make_schedule
from kto_core.models.packing import causal
from kto_core.training.checkpoints import Checkpoints, Trained
from kto_core.training.step_figures import Figures

Step = TypeVar("Step")


@dataclass(frozen=True, kw_only=True)
class StepTask(Generic[Step]):
    """The work of one step, as the loop calls it.

    Attributes:
        name: of the stage, in progress and errors.
        accumulate: takes the prepared network and a step, adds the gradients of the step's loss and returns its
            figures, `loss` and `tokens` among them. Every process calls it.
        shown: figures that progress shows.
        before: takes the state of the run, the step's number (from 1) and the step; returns figures from before it.
        after: takes the prepared network and the step's number; returns figures from after it.
        goes_on: takes all figures so far, before each step; returns whether to make another step.
    """

    name: str
    accumulate: Callable[[Any, Step], Figures]
    shown: tuple[str, ...]
    before: Callable[[Trained, int, Step], Figures] = lambda *_: {}
    after: Callable[[Any, int], Figures] = lambda *_: {}
    goes_on: Callable[[Sequence[Figures]], bool] = lambda _: True


def run_steps(
    network: CompletionLogps,
    steps: Sequence[Step],
    task: StepTask[Step],
    *,
    learning_rate: float,
    config: TrainingConfig,
    accelerator: Accelerator,
    checkpoints: Checkpoints,
    report: Report,
) -> tuple[list[Figures], Any]:
    """Train; return figures of every step, an earlier process's included, and the network as accelerate prepared it.

    Raises:
        TrainingError: if a figure is not finite; with precision float16 the gradient may overflow: its scale is
            lowered and the step skipped.
    """
    if config.gradient_checkpointing:
        causal(network.model).activation_checkpointing_enable()
    if accelerator.distributed_type is DistributedType.FSDP:
        # Autocast alone, as without FSDP: FSDP's own policy would round the sums of log-probabilities to the precision,
        # and pass copies of the layout to layers, so keys and values kept for the next pass would be lost.
        accelerator.state.fsdp_plugin.mixed_precision_policy = None
    optimizer = make_optimizer(network, learning_rate=learning_rate, weight_decay=config.weight_decay)
    schedule = make_schedule(optimizer, steps=len(steps), warmup=config.warmup, schedule=config.schedule)
    prepared, optimizer = accelerator.prepare(network, optimizer)
    prepared.train()
    if config.tracker:
        accelerator.init_trackers("feedback-kto", config={k: v for k, v in config.to_dict().items() if v is not None})
    trained = Trained(network=prepared, optimizer=optimizer, schedule=schedule)
    metrics = checkpoints.resume(trained)
    for number, step in enumerate(steps[len(metrics) :], start=len(metrics) + 1):
        if not task.goes_on(metrics):
            break
        figures_before = task.before(trained, number, step)
        step_started = time.perf_counter()
        figures = task.accumulate(prepared, step)
        grad_norm: float | None = float(accelerator.clip_grad_norm_(prepared.parameters(), config.max_grad_norm))
        if config.precision == "float16" and grad_norm is not None and not math.isfinite(grad_norm):
            grad_norm = None
        optimizer.step()
        optimizer.zero_grad()
        learning_rate_now = float(schedule.get_last_lr()[0])
        schedule.step()
        seconds = time.perf_counter() - step_started
        figures |= figures_before | task.after(prepared, number)
        figures |= {
            "step": number,
            "grad_norm": grad_norm,
            "learning_rate": learning_rate_now,
            "seconds": seconds,
            "tokens_per_second": (figures["tokens"] or 0.0) / seconds,
        }
        numbers = _finite(figures, number, task.name)
        metrics.append(figures)
        accelerator.log(numbers, step=number)
        report(task.name, number, len(steps), "steps", **{k: numbers[k] for k in task.shown if k in numbers})
        checkpoints.save(trained, metrics)
    return metrics, prepared


def _finite(figures: Mapping[str, float | None], number: int, name: str) -> dict[str, float]:
    """Return the figures that have a value; raises if one is not finite."""
    numbers = {figure: value for figure, value in figures.items() if value is not None}
    broken = [figure for figure, value in numbers.items() if not math.isfinite(value)]
    if broken:
        raise TrainingError(
            f"the {broken[0]} of {name} is not finite at step {number}; lower learning_rate, or use float32"
        )
    return numbers
