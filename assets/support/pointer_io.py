"""Pass folders between assets: a small JSON file names the folder of each."""

import json
from pathlib import Path
from typing import Any

import dagster as dg

from assets.support.common import DeskResource
from feedback.atomic_files import write_atomically
from feedback.exceptions import FeedbackError


class PointerIOManager(dg.ConfigurableIOManager):
    """Keeps `<desk>/current/<asset>.json`: which folder is the asset's newest, for people and the next asset alike."""

    desk: dg.ResourceDependency[DeskResource]

    def _path(self, key: dg.AssetKey) -> Path:
        return self.desk.active().current / f"{key.to_user_string()}.json"

    def handle_output(self, context: dg.OutputContext, obj: dict[str, Any]) -> None:
        """Write the asset's output, which names its folder."""
        path = self._path(context.asset_key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(obj, indent=2) + "\n")

    def load_input(self, context: dg.InputContext) -> dict[str, Any]:
        """Return the newest output of the upstream asset."""
        path = self._path(context.asset_key)
        try:
            return dict(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise FeedbackError(
                f"{context.asset_key.to_user_string()} has not been made yet ({path} is missing); materialize it first"
            ) from error
