"""Processes for tests, forked from one that has loaded what takes long to load; a session's tests share it."""

import os

from training_worker.fork_server import ForkServer, client_command

_ADDRESS = "FEEDBACK_KTO_TESTS_FORK_SERVER"
_SERVER = ForkServer(
    *["kto_core.training.kto", "kto_core.training.pairs", "kto_core.training.sft", "kto_core.sweep.trials"],
    *["kto_core.comparison.compare", "kto_core.evaluation.heldout", "kto_core.release.bundle"],
    *["harbor.kpis", "sklearn.metrics", "torch.distributed.checkpoint.state_dict"],
    # What a run loads, except `assets.support.common` and all above it: they read the active desk when they load.
    *[
        "dagster",
        "dagster._core.storage.sqlite_storage",
        "feedback.training_set.build",
        "feedback.audits.label_quality",
    ],
    *["great_expectations.expectations", "pandas", "cleanlab.filter", "sklearn.linear_model", "matplotlib.pyplot"],
    environment={"GX_ANALYTICS_ENABLED": "False"},
)


def start_server() -> None:
    """Start the session's server, unless this is a process of the session that has one."""
    if _ADDRESS not in os.environ:
        _SERVER.start()
        os.environ[_ADDRESS] = str(_SERVER.address)


def forked_python(module: str, *arguments: str) -> list[str]:
    """A command that is as `python -m MODULE ARGUMENT…`, and takes a process of the session's server."""
    return client_command(os.environ[_ADDRESS], module, *arguments)
