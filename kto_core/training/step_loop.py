"""The loop that SFT, KTO and pairs share: one optimizer step after another, from where the checkpoints say."""

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
    """What is done in a step, as the loop sees it.

    Attributes:
        name: of the stage that progress and errors are told under.
        accumulate: given the prepared network and a step, adds the gradients of the step's loss and returns its
            figures, `loss` and `tokens` among them. Every process calls it.
        shown: figures that progress shows.
        before: given what is trained, the step's number (from 1) and the step, figures to be taken before it.
        after: given the prepared network and the step's number, figures to be taken after it.
        goes_on: given all figures so far, before each step: whether there is to be another.
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
    """Train: figures of every step, an earlier process's included, and the network as accelerate prepared it.

    Raises:
        TrainingError: if a figure is not finite; with precision float16 the gradient may be so, whose scale is then
            lowered and the step left out.
    """
    if config.gradient_checkpointing:
        causal(network.model).activation_checkpointing_enable()
    if accelerator.distributed_type is DistributedType.FSDP:
        # Autocast alone, as without FSDP: its own policy would round the sums of log-probabilities to the precision,
        # and hand layers copies of the layout, so that what one pass keeps for the next would be lost.
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
        beside = task.before(trained, number, step)
        began = time.perf_counter()
        figures = task.accumulate(prepared, step)
        norm: float | None = float(accelerator.clip_grad_norm_(prepared.parameters(), config.max_grad_norm))
        if config.precision == "float16" and norm is not None and not math.isfinite(norm):
            norm = None
        optimizer.step()
        optimizer.zero_grad()
        rate = float(schedule.get_last_lr()[0])
        schedule.step()
        seconds = time.perf_counter() - began
        figures |= beside | task.after(prepared, number)
        figures |= {
            "step": number,
            "grad_norm": norm,
            "learning_rate": rate,
            "seconds": seconds,
            "tokens_per_second": (figures["tokens"] or 0.0) / seconds,
        }
        known = _finite(figures, number, task.name)
        metrics.append(figures)
        accelerator.log(known, step=number)
        report(task.name, number, len(steps), "steps", **{k: known[k] for k in task.shown if k in known})
        checkpoints.save(trained, metrics)
    return metrics, prepared


def _finite(figures: Mapping[str, float | None], number: int, name: str) -> dict[str, float]:
    """The figures that there are."""
    known = {figure: value for figure, value in figures.items() if value is not None}
    broken = [figure for figure, value in known.items() if not math.isfinite(value)]
    if broken:
        raise TrainingError(
            f"the {broken[0]} of {name} is not finite at step {number}; lower learning_rate, or use float32"
        )
    return known
