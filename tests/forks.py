"""Processes for tests, forked from ones that have loaded what takes long to load; a session's tests share these."""

import os

from training_worker.fork_server import ForkServer, client_command

_ADDRESS = "FEEDBACK_KTO_TESTS_{}_SERVER"
_SERVERS = {
    "TRAINING": ForkServer(
        *("kto_core.training.kto", "kto_core.training.pairs", "kto_core.training.sft", "kto_core.sweep.trials"),
        *("kto_core.comparison.compare", "kto_core.evaluation.heldout"),
        *("harbor.kpis", "sklearn.metrics", "torch.distributed.checkpoint.state_dict"),
    ),
    # All but `assets.support.common` and what imports it: that reads the active desk when it loads.
    "RUN": ForkServer(
        *(
            "dagster",
            "dagster._core.storage.sqlite_storage",
            "feedback.training_set.build",
            "feedback.audits.label_quality",
        ),
        *("great_expectations.expectations", "pandas", "cleanlab.filter", "sklearn.linear_model", "matplotlib.pyplot"),
        environment={"GX_ANALYTICS_ENABLED": "False"},
    ),
}


def start_servers() -> None:
    """Start the session's servers, unless this is a process of the session that has them. They load when first used."""
    for name, server in _SERVERS.items():
        if _ADDRESS.format(name) not in os.environ:
            server.start()
            os.environ[_ADDRESS.format(name)] = str(server.address)


def forked_python(module: str, *arguments: str) -> list[str]:
    """A command that is as `python -m MODULE ARGUMENT…`, by a process of the session's server for runs or training."""
    server = "RUN" if module == "pipelines.launch" else "TRAINING"
    return client_command(os.environ[_ADDRESS.format(server)], module, *arguments)
