"""Validation: the rules for lake tables and training sets, which Great Expectations applies day by day.

Importing this loads the rules only; the first validated suite loads the library.
"""

from feedback.validation.suites import SUITES, Rule, Suite
from feedback.validation.validate import Validated, validate_days, validate_training_set

__all__ = ["SUITES", "Rule", "Suite", "Validated", "validate_days", "validate_training_set"]
