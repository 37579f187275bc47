"""The columns that come with a draft's event and go with the draft unchanged: to its interaction, its label, its row.

This is the one list. The schemas of events, interactions, labels and training sets, the SQL between them, the checks of
raw logs and what a condition may read all follow from it. What has a part of its own to play is not in it: ids, times,
the source, the prompt and the texts, and `extra`.
"""

from dataclasses import dataclass

import pyarrow as pa

_TEXT: pa.DataType = pa.string()


@dataclass(frozen=True, kw_only=True)
class DraftColumn:
    """One column; it is null where the log does not say, and in rows from before it was in the list.

    Attributes:
        name: the same in every table.
        type: `pa.string()`, `pa.float64()` or `pa.bool_()`.
        says: what it is, for the docs.
        trains: whether training sets have it.
        is_readable: whether a condition may read it.

    """

    name: str
    type: pa.DataType = _TEXT
    says: str
    trains: bool = False
    is_readable: bool = True


DRAFT_COLUMNS: tuple[DraftColumn, ...] = (
    DraftColumn(name="category", says="the kind of ticket; models are compared within categories", trains=True),
    DraftColumn(name="model_version", says="of the copilot that wrote the draft"),
)
"""Every such column; a new one goes at the end."""

DRAFT_COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in DRAFT_COLUMNS)
TRAINING_COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in DRAFT_COLUMNS if column.trains)
"""Those that training sets have."""
