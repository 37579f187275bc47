"""Every test works on a home of its own, never on the developer's."""

import os
import tempfile

os.environ["FEEDBACK_HOME"] = tempfile.mkdtemp(prefix="feedback-kto-tests-")
os.environ.pop("DAGSTER_HOME", None)
