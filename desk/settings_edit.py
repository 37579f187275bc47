"""Change one setting of a desk, and leave the rest of its file as a person wrote it."""

from __future__ import annotations

import yaml

from desk.desk import Desk
from feedback.atomic_files import write_atomically
from feedback.exceptions import FeedbackError


def name_policy(desk: Desk, policy: str) -> None:
    """Make `desk.yaml` name `policy`, the name of a shipped one or the path of a file; comments and order stay.

    Raises:
        FeedbackError: the file cannot be read, or names no policy.

    """
    if desk.settings.policy == policy:
        return
    path = desk.path / "desk.yaml"
    text = path.read_text(encoding="utf-8")
    settings = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(settings, yaml.MappingNode)  # its settings have been read
    value = next(value for key, value in settings.value if key.value == "policy")
    written = yaml.safe_dump(policy, width=10_000).removesuffix("...\n").strip()
    write_atomically(path, text[: value.start_mark.index] + written + text[value.end_mark.index :])
    if Desk(desk.home, desk.name).settings.policy != policy:
        write_atomically(path, text)
        raise FeedbackError(f"{path} could not be changed automatically; write `policy: {written}` into it")
