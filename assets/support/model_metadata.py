"""Dagster's metadata of a model folder."""

from pathlib import Path
from typing import Any

import dagster as dg

from assets.support.common import markdown_table, picture
from training_worker.launcher import training_record


def model_metadata(path: Path) -> dict[str, Any]:
    """Return metadata from a model folder's `training.json` and curve."""
    metrics = training_record(path)["metrics"]
    figures = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    shown: dict[str, Any] = {
        "path": dg.MetadataValue.path(path),
        "figures": markdown_table(("figure", "value"), [(name, f"{value:,.6g}") for name, value in figures.items()]),
    }
    curve = path / "curve.png"
    if curve.exists():
        shown["training curve"] = picture(curve.read_bytes(), "training curve")
    return shown
