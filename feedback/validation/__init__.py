"""Validation: what is expected of the record and of training sets, applied by Great Expectations day by day.

Loading this loads the rules only; the library comes with the first suite that is validated.
"""

from feedback.validation.suites import SUITES, Rule, Suite
from feedback.validation.validate import Validated, validate_days, validate_training_set

__all__ = ["SUITES", "Rule", "Suite", "Validated", "validate_days", "validate_training_set"]
