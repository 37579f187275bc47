"""Terminal colours of labels and verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from feedback.audits.verdicts import VerdictKind
from label_policy import Label

LABEL_STYLES: Final[Mapping[str, str]] = {Label.DESIRABLE: "green", Label.UNDESIRABLE: "red", Label.ABSTAIN: "dim"}
VERDICT_STYLES: Final[Mapping[str, str]] = {
    VerdictKind.DESIRABLE: "green",
    VerdictKind.UNDESIRABLE: "red",
    VerdictKind.UNSURE: "yellow",
}
