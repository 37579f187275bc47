"""The columns that are copied unchanged from a draft's event to its interaction, its label and its training row.

This is the one list: the schemas of events, interactions, labels and training sets, the SQL between them, the checks of
raw logs and the columns of conditions all follow from it. Columns with special handling are not in it: ids, times, the
source, the prompt and the texts, and `extra`.
"""

from dataclasses import dataclass

import pyarrow as pa

_TEXT: pa.DataType = pa.string()


@dataclass(frozen=True, kw_only=True)
class DraftColumn:
    """One column; null where the log has no value, and in rows from before it was added to the list.

    Attributes:
        name: its name in every table.
        type: `pa.string()`, `pa.float64()` or `pa.bool_()`.
        says: its description in the docs.
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
"""All draft columns; add new ones at the end."""

DRAFT_COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in DRAFT_COLUMNS)
TRAINING_COLUMN_NAMES: tuple[str, ...] = tuple(column.name for column in DRAFT_COLUMNS if column.trains)
"""The draft columns that training sets have."""
