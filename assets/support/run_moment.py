"""The moment that the days of a run are built as of, where another run may have been there first."""

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
    """The run's moment, or the later one that `days` are as of already in one of `stages`.

    A run that waited while a later one went by must not take the record back, and need not fail: it speaks of the later
    moment. Where the moment was asked for, by the run's tag or the desk's settings, it stays, and the stage refuses it.
    """
    moment = moment_of(context, desk)
    if AS_OF_TAG in context.run.tags or desk.settings.as_of is not None:
        return moment
    newest = newest_moment(desk.lake, stages, days)
    return max(moment, newest) if newest is not None else moment
