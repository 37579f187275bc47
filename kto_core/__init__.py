"""Training on labelled replies: SFT, KTO, pairs, evaluation and releases, from a training-set folder and a config.

The import of the package is light: each name below loads its module, and with it torch, on first use. Configs and
exceptions never load torch.
"""

import importlib
import os
from typing import TYPE_CHECKING

from kto_core.base.config import EvaluationConfig, KTOConfig, PairConfig, SFTConfig, TinyConfig
from kto_core.base.exceptions import TrainingError

if TYPE_CHECKING:
    from kto_core.comparison.compare import compare
    from kto_core.evaluation.heldout import evaluate
    from kto_core.models.generation import generate
    from kto_core.models.optimization import end_processes
    from kto_core.release.bundle import champion, promote, rollback, write_release
    from kto_core.sweep.trials import run_sweep
    from kto_core.training.kto import train_kto
    from kto_core.training.objectives import (
        apo_zero_loss,
        dpo_loss,
        estimate_z0,
        ipo_loss,
        kto_loss,
        orpo_loss,
        simpo_loss,
    )
    from kto_core.training.pairs import train_pairs
    from kto_core.training.sft import train_sft

# Threads that wait by spinning block each other when the machine has other work: with two more processes on 2 cores,
# a training step took 8 times as long. OpenMP reads this when torch is loaded, so it is set here.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# This package reports progress itself; the bars of the libraries would mix with it.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

__all__ = [
    "EvaluationConfig",
    "KTOConfig",
    "PairConfig",
    "SFTConfig",
    "TinyConfig",
    "TrainingError",
    "apo_zero_loss",
    "champion",
    "compare",
    "dpo_loss",
    "end_processes",
    "estimate_z0",
    "evaluate",
    "generate",
    "ipo_loss",
    "kto_loss",
    "orpo_loss",
    "promote",
    "rollback",
    "run_sweep",
    "simpo_loss",
    "train_kto",
    "train_pairs",
    "train_sft",
    "write_release",
]

_HOME = {
    "apo_zero_loss": "training.objectives",
    "champion": "release.bundle",
    "compare": "comparison.compare",
    "dpo_loss": "training.objectives",
    "end_processes": "models.optimization",
    "estimate_z0": "training.objectives",
    "evaluate": "evaluation.heldout",
    "generate": "models.generation",
    "ipo_loss": "training.objectives",
    "kto_loss": "training.objectives",
    "orpo_loss": "training.objectives",
    "promote": "release.bundle",
    "rollback": "release.bundle",
    "run_sweep": "sweep.trials",
    "simpo_loss": "training.objectives",
    "train_kto": "training.kto",
    "train_pairs": "training.pairs",
    "train_sft": "training.sft",
    "write_release": "release.bundle",
}


def __getattr__(name: str) -> object:
    if name in _HOME:
        return getattr(importlib.import_module(f"kto_core.{_HOME[name]}"), name)
    raise AttributeError(f"module 'kto_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
