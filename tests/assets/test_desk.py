"""`desk.yaml`: what is wrong with it is said in one sentence."""

from pathlib import Path

import pytest

from assets.desk import Desk
from feedback.exceptions import FeedbackError

SETTINGS = "source: canonical\ninput: .\npolicy: harbor-support.v1\nfirst_day: 2026-03-02\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("audit: {per_class: 100, seed: 7}", r"audit is no setting any more; its per_class is in the policy's audit"),
        ("audits: 7", "audits is no setting; there are as_of, audit_seed, .*truth$"),
        ("reference: {audit: 1}", "reference.audit is no setting; there are model, rows, sft$"),
        ("as_of: 2026-11-01T00:00:00", "as_of: needs a time zone"),
    ],
)
def test_what_is_wrong_with_the_settings_is_said(tmp_path: Path, more: str, said: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "desk.yaml").write_text(SETTINGS + more)
    with pytest.raises(FeedbackError, match=rf"desk\.yaml: {said}"):
        _ = Desk(tmp_path, "toy").settings
