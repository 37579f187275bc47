"""Validation: what is expected of the record and of training sets, applied by Great Expectations day by day.

Loading this loads the rules only; the library comes with the first suite that is validated.
"""

from feedback.validation.record import VALIDATIONS, standing
from feedback.validation.runs import Validated, validate_days, validate_training_set
from feedback.validation.suites import SUITES, Rule, Suite

__all__ = ["SUITES", "VALIDATIONS", "Rule", "Suite", "Validated", "standing", "validate_days", "validate_training_set"]
