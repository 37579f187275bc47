"""The policies shipped with the package."""

from importlib.resources import files
from pathlib import Path


def shipped_policies() -> dict[str, Path]:
    """Return the files of the shipped policies by id, e.g. ``harbor-support.v1``, in alphabetical order."""
    folder = Path(str(files("label_policy"))) / "policies"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
