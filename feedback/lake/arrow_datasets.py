"""Import `pyarrow.dataset` without pandas.

Arrow imports pandas when it converts its first value, to recognise pandas' types. That takes a quarter of a second
where pandas is installed, and no code here passes pandas values to Arrow. Arrow still imports pandas to create a pandas
value.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa


class _Hidden:
    """A module finder that hides pandas."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)
        return None


if "pandas" not in sys.modules:
    sys.meta_path.insert(0, _Hidden)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_Hidden)

import pyarrow.dataset as pads  # noqa: E402

__all__ = ["pads"]
