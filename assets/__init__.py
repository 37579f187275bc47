"""The Dagster assets, a file a stage, each a thin wrapper over the packages that do the work."""

STAGES = (
    "feedback_events",
    "interactions",
    "labels",
    "audit_sample",
    "verdicts",
    "label_quality",
    "training_set",
    "reference_model",
    "kto_candidate",
    "evaluation",
    "release",
)
"""The assets' names, in the order in which they are made."""
LEARNING = frozenset(STAGES[STAGES.index("reference_model") : STAGES.index("release")])
"""Those that have training workers."""

AS_OF_TAG = "feedback-kto/as_of"
"""The tag of a run that builds the record as of a moment: that moment, in ISO."""
