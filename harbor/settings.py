"""What the demo runs with, as plain dicts that kto_core's configs accept through `from_dict`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

# The reference: the copilot, from scratch, on the transcripts.
DEMO_SFT: Mapping[str, Any] = MappingProxyType({})

# The correction: KTO on the labels that the agents' reactions give.
DEMO_KTO: Mapping[str, Any] = MappingProxyType({})
