"""`pyarrow.dataset`, loaded without pandas.

Arrow looks for pandas when it meets its first value, to know pandas' types from then on. That takes a quarter of a
second where pandas is installed, and nothing here gives Arrow a value of pandas: it loads pandas where it is to make
one.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa


class _Hidden:
    """A finder of modules that hides pandas."""

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
