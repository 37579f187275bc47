"""Find a policy by name: a YAML file, a shipped policy, or the digest of a policy that has labelled."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from desk.desk import policy_path
from label_policy import PolicyError, shipped_policies

if TYPE_CHECKING:
    from feedback.lake.delta import Lake
    from label_policy import Policy

_DIGEST = re.compile(r"[0-9a-f]{6,64}")


def is_digest(name: str) -> bool:
    """Return whether the name is a digest: it looks like one, and no policy or file has that name."""
    return bool(_DIGEST.fullmatch(name)) and name not in shipped_policies() and not Path(name).is_file()


def find_policy(name: str, lake: Lake | None) -> Policy:
    """Return the policy of that name.

    Args:
        name: a YAML file, a shipped policy's name, or six or more digits of a digest.
        lake: the lake of the desk that the digest's policy has labelled; None without a desk.

    Raises:
        PolicyError: the name is none of these, or the policy is not valid.
        FeedbackError: no policy of that digest ever labelled the desk, or several did.

    """
    from label_policy import load_policy

    if is_digest(name) and lake is not None:
        from feedback.labels.ledger import kept_policy

        return kept_policy(lake, name)
    path = Path(name)
    if name not in shipped_policies() and (path.is_dir() or not path.exists()):
        shipped = [*shipped_policies()]
        files = [str(file) for file in path.parent.glob("*.y*ml")]
        near = get_close_matches(name, [*shipped, *files], n=1)
        raise PolicyError(
            f"'{name}' is neither a file, a shipped policy ({', '.join(shipped)}) nor six or more digits of the digest "
            f"of a policy that has labelled here; {f'did you mean {near[0]}?' if near else 'name one of these'}"
        )
    return load_policy(policy_path(name))
