"""Accelerator, AdamW and learning-rate schedule of a run."""

import math

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.tracking import get_available_trackers
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from kto_core.base.config import Precision, Schedule
from kto_core.base.exceptions import TrainingError

SMALL = 10_000_000  # parameters; full fine-tuning of fewer works at LoRA's learning rate
MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def make_accelerator(
    precision: Precision, *, tracker: str | None = None, project_dir: str | None = None
) -> Accelerator:
    """Create the accelerator of this process; devices and process count come from its launch.

    Raises:
        TrainingError: if the device cannot compute in `precision`, or the tracker is unknown or not installed.

    """
    mixed = MIXED[precision]
    if AcceleratorState._shared_state.get("_mixed_precision", mixed) != mixed:
        AcceleratorState._reset_state()  # one process may train in one precision and evaluate in another
    if tracker is not None and tracker not in {str(name) for name in get_available_trackers()}:
        raise TrainingError(f"tracker {tracker!r} is unknown to accelerate or not installed; install it first")
    try:
        accelerator = Accelerator(mixed_precision=mixed, log_with=tracker, project_dir=project_dir)
    except ValueError as error:
        raise TrainingError(f"training in {precision} cannot start on this device: {error}") from error
    if precision == "float16" and not accelerator.native_amp:
        raise TrainingError(
            f"float16 is not supported on {accelerator.device.type}; set precision to bfloat16 or float32"
        )
    return accelerator


def end_run(accelerator: Accelerator) -> None:
    """Wait for all processes and end the trackers; the process group stays, because it may train again."""
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()


def end_processes() -> None:
    """Destroy the process group of a launch; call it last in the launched command.

    A single process has no group. A process that fails need not call it: the others notice its end.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def seeded(seed: int) -> None:
    """Seed torch on every device: the same seed on the same machine gives the same weights."""
    torch.manual_seed(seed)


def peak_rate(model: nn.Module, *, lora_rank: int) -> float:
    """Return the default learning rate of KTO and of pairs."""
    return 1e-4 if lora_rank or sum(p.numel() for p in model.parameters()) < SMALL else 1e-6


def make_optimizer(model: nn.Module, *, learning_rate: float, weight_decay: float) -> AdamW:
    """Create AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101); decay on matrices only, not on norms and biases."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), eps=1e-8)


def make_schedule(optimizer: Optimizer, *, steps: int, warmup: float, schedule: Schedule) -> LambdaLR:
    """Create the schedule: a linear rise over `warmup` × `steps`, then a fall towards 0 (cosine or linear) or none."""
    rise = math.ceil(steps * warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        remaining = 1.0 - (step - rise) / max(1, steps - rise)
        if schedule == "cosine":
            return 0.5 * (1.0 - math.cos(math.pi * remaining))
        return remaining if schedule == "linear" else 1.0

    return LambdaLR(optimizer, factor)
