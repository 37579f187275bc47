"""Processes for tests, forked from ones that have loaded what takes long to load; a session's tests share these."""

import os

from assets.forked import ForkServer, client_command

_ADDRESS = "FEEDBACK_KTO_TESTS_{}_SERVER"
_SERVERS = {
    "TRAINING": ForkServer(
        *(f"kto_core.{name}" for name in ("kto", "pairs", "sft", "sweep", "comparison", "evaluation")),
        *("harbor.evaluation", "sklearn.metrics", "torch.distributed.checkpoint.state_dict"),
    ),
    # All but `assets.common` and what stands on it: that looks at the active desk when it is loaded.
    "RUN": ForkServer(
        *("dagster", "dagster._core.storage.sqlite_storage", "feedback.training_set", "feedback.label_quality"),
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
