"""The moment as of which a run builds its days, where a later run may have built them already."""

from collections.abc import Sequence
from datetime import date, datetime

import dagster as dg

from assets.support.common import moment_of
from assets.support.stages import AS_OF_TAG
from desk.desk import Desk
from feedback.labels.ledger import Stage, newest_moment


def moment_of_days(
    context: dg.AssetExecutionContext, desk: Desk, days: Sequence[date], stages: Sequence[Stage]
) -> datetime:
    """Return the run's moment, or the later one as of which `days` are built already in one of `stages`.

    A later run may have finished while this one waited. This one must not take the record back, and need not fail: it
    uses the later moment. A moment that the run's tag or the desk's settings name stays, and the stage refuses it.
    """
    moment = moment_of(context, desk)
    if AS_OF_TAG in context.run.tags or desk.settings.as_of is not None:
        return moment
    newest = newest_moment(desk.lake, stages, days)
    return max(moment, newest) if newest is not None else moment
