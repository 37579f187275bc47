"""Every test works on a home of its own, never on the developer's."""

import os
import tempfile

import pytest

from tests.forks import start_servers

_HOME = tempfile.TemporaryDirectory(prefix="feedback-kto-tests-")
os.environ["FEEDBACK_HOME"] = _HOME.name
os.environ.pop("DAGSTER_HOME", None)


def pytest_configure() -> None:
    """Start the servers that processes are forked from, before pytest-xdist starts its workers, which share them."""
    start_servers()


def pytest_unconfigure() -> None:
    """Take the home away. Workers of pytest-xdist end without what Python does at exit."""
    _HOME.cleanup()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs of the whole pipeline come first: they take longest, and no processor is to wait for them at the end."""
    items.sort(key=lambda item: "pipelines" not in item.path.parts)
