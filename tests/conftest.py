"""Every test works on a home of its own, never on the developer's."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.forks import start_servers

if TYPE_CHECKING:
    import dagster as dg

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


@pytest.fixture(scope="session")
def _instance() -> Iterator[dg.DagsterInstance]:
    import dagster as dg

    from pipelines.runs.sqlite_sync import spare_the_disk

    spare_the_disk()
    with dg.instance_for_test(set_dagster_home=False) as made:
        yield made


@pytest.fixture
def instance(_instance: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance without a run; making one takes half a second, emptying it does not."""
    yield _instance
    _instance.wipe()
