"""Checkpoints of a training run: the full state, so that a killed run ends with the result of one never killed.

A checkpoint is a folder with safetensors and JSON and no pickle, written under another name and renamed. A checkpoint
whose bytes have changed (a full disk, a power loss) is skipped, and the one before it is used.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from kto_core.base.store import make_folder, publish
from kto_core.training.step_figures import Figures

KEPT: Final = 2  # the newest, and the one before it in case the newest is torn
_TENSORS: Final = "state.safetensors"
_RECORD: Final = "state.json"
# Of torch's `StateDictOptions`. Weights that LoRA leaves frozen belong to the reference, which is stored already.
_OPTIONS: Final = {"full_state_dict": True, "ignore_frozen_params": True}


@dataclass(frozen=True, kw_only=True)
class Trained:
    """State of a run: the network and the optimizer as accelerate prepared them, and the schedule."""

    network: nn.Module
    optimizer: Any  # accelerate's wrapper of a torch optimizer
    schedule: LRScheduler

    @property
    def bare_optimizer(self) -> Optimizer:
        """The optimizer inside accelerate's wrapper."""
        inner: Optimizer = getattr(self.optimizer, "optimizer", self.optimizer)
        return inner


class Checkpoints:
    """The checkpoints of one run, in a folder of their own; every process calls every method.

    Args:
        folder: this run's own: one folder for each combination of inputs, config and code.
        seconds: time from one checkpoint to the next; 0 writes one every step, infinity none.
        accelerator: accelerator of the run.

    Raises:
        TrainingError: if the parent folder cannot be created; raised now, before the run has results to lose.
    """

    def __init__(self, folder: Path, *, seconds: float, accelerator: Accelerator) -> None:
        make_folder(folder.parent)
        self._folder = folder
        self._seconds = seconds
        self._accelerator = accelerator
        self._last = time.monotonic()
        self.torn: list[str] = []
        """Names of checkpoints that were skipped because their bytes have changed."""
        self.resumed_after = 0
        """Number of steps that an earlier process made."""

    def resume(self, trained: Trained) -> list[Figures]:
        """Load the state of the newest intact checkpoint into `trained`.

        Returns:
            Figures of the steps made so far; empty where there is no checkpoint.

        """
        newest = [self._newest()] if self._accelerator.is_main_process else [None]
        [path] = broadcast_object_list(newest)
        if path is None:
            return []
        sharded = _sharded()
        options = sharded.StateDictOptions(**_OPTIONS, strict=False)
        record = json.loads((path / _RECORD).read_text())
        tensors = load_file(path / _TENSORS)
        model: Any = _under(tensors, "model.")
        sharded.set_model_state_dict(trained.network, model, options=options)
        state: dict[str, dict[str, Tensor]] = {}
        for name, tensor in _under(tensors, "optimizer.").items():
            parameter, _, kind = name.rpartition(".")
            state.setdefault(parameter, {})[kind] = tensor
        optimizer: Any = {"state": state, "param_groups": record["param_groups"]}
        sharded.set_optimizer_state_dict(trained.network, trained.bare_optimizer, optimizer, options=options)
        trained.schedule.load_state_dict(record["schedule"])
        if self._accelerator.scaler is not None and record.get("scaler"):
            self._accelerator.scaler.load_state_dict(record["scaler"])
        own = f"rng.{self._accelerator.process_index}."
        _set_rng(_under(tensors, own))
        metrics: list[Figures] = record["metrics"]
        self.resumed_after = len(metrics)
        return metrics

    def save(self, trained: Trained, metrics: Sequence[Figures]) -> None:
        """Write a checkpoint after the steps in `metrics`, if one is due."""
        [due] = broadcast_object_list([time.monotonic() - self._last >= self._seconds])
        if not due:
            return
        sharded = _sharded()
        options = sharded.StateDictOptions(**_OPTIONS, cpu_offload=True)
        model: Any = sharded.get_model_state_dict(trained.network, options=options)
        optimizer: Any = sharded.get_optimizer_state_dict(trained.network, trained.bare_optimizer, options=options)
        rng = gather_object([_rng()])
        scaler = self._accelerator.scaler
        if self._accelerator.is_main_process:
            tensors: dict[str, Tensor] = {f"model.{name}": value for name, value in model.items()}
            for parameter, kinds in optimizer["state"].items():
                tensors |= {f"optimizer.{parameter}.{kind}": value for kind, value in kinds.items()}
            tensors |= {f"rng.{i}.{name}": value for i, states in enumerate(rng) for name, value in states.items()}
            record = {
                "metrics": list(metrics),
                "param_groups": optimizer["param_groups"],
                "schedule": trained.schedule.state_dict(),
                "scaler": scaler.state_dict() if scaler is not None else None,  # of float16's gradients
            }
            self._write(len(metrics), tensors, record)
        self._last = time.monotonic()

    def remove(self) -> None:
        """Remove all checkpoints; called when the run has ended."""
        if self._accelerator.is_main_process:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, step: int, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
        with publish(self._folder / f"step-{step:08}") as scratch:
            # Tied weights are one tensor under two names; safetensors needs a copy for each.
            save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, scratch / _TENSORS)
            text = json.dumps(record | {"sha256": _sha256(scratch / _TENSORS)}, allow_nan=False)
            (scratch / _RECORD).write_text(text)
            (scratch / f"{_RECORD}.sha256").write_text(hashlib.sha256(text.encode()).hexdigest())
        for old in self._written()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def _written(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))

    def _newest(self) -> Path | None:
        """Return the newest intact checkpoint; removes torn ones and what a killed run left half written."""
        for scratch in self._folder.glob(".step-*"):
            shutil.rmtree(scratch, ignore_errors=True)
        for path in reversed(self._written()):
            if _is_whole(path):
                return path
            self.torn.append(path.name)
            shutil.rmtree(path, ignore_errors=True)
        return None


def _sharded() -> Any:  # noqa: ANN401 - a module
    """Import torch's module for states that may be sharded; it takes a second, which short runs save."""
    import torch.distributed.checkpoint.state_dict as sharded

    return sharded


def _is_whole(path: Path) -> bool:
    try:
        text = (path / _RECORD).read_text()
        stated_digest = (path / f"{_RECORD}.sha256").read_text()
        return hashlib.sha256(text.encode()).hexdigest() == stated_digest and json.loads(text)["sha256"] == _sha256(
            path / _TENSORS
        )
    except (OSError, UnicodeDecodeError):
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _rng() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _set_rng(states: dict[str, Tensor]) -> None:
    """Set the stored states; a process that is new to the run keeps the state of its seed."""
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
