"""Count the provisional labels, and say when they become final."""

from __future__ import annotations

from feedback.lake.delta import Lake
from feedback.lake.tables import LABELS


def say_provisional(lake: Lake) -> str | None:
    """Return in words how many labels of each class are provisional and until when; None where none is.

    A label is final once its windows have passed and the logs reach that far: see docs/late-feedback.md.
    """
    with lake.sql(LABELS) as connection:
        rows = connection.execute(
            """
            SELECT label, count(*), min(matures_at), max(matures_at) FROM labels
            WHERE state = 'provisional' AND label <> 'abstain' GROUP BY label ORDER BY label
            """
        ).fetchall()
    if not rows:
        return None
    counts = " and ".join(f"{count:,} {label}" for label, count, _, _ in rows)
    moments = [moment for *_, first, last in rows for moment in (first, last) if moment is not None]
    days = dict.fromkeys(f"{moment:%Y-%m-%d}" for moment in (min(moments), max(moments))) if moments else {}
    when = f"become final {' to '.join(days)}, " if days else "become final "
    return f"{counts} labels are provisional and {when}once the logs reach that far"
