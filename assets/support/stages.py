"""The stages, in the order in which they run: each is an asset, defined in the module of its name."""

from typing import Final

DAY_STAGES: Final = ("feedback_events", "interactions", "labels")
"""The stages with daily partitions: the record."""

STAGES: Final = (
    *DAY_STAGES,
    "audit_sample",
    "verdicts",
    "label_quality",
    "training_set",
    "reference_model",
    "kto_candidate",
    "evaluation",
    "release",
)

APPLY_STEP: Final = "relabel_changed_days"
"""The step of the job `apply_policy`; it is not an asset."""

LEARNING: Final = frozenset(STAGES[STAGES.index("reference_model") : STAGES.index("release")])
"""The stages that run in a training worker."""

AS_OF_TAG: Final = "feedback-kto/as_of"
"""The tag of a run that builds the record as of a moment: that moment, in ISO."""
