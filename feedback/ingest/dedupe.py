"""Which events are delivered for the first time.

An event's id is its identity. The delivery that reached the lake first is kept: one that is stored already, else the
first in order of arrival day, file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa


class Deliveries:
    """The events of a run, told a part at a time in order of arrival, over those that the lake keeps."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, replaced: Sequence[date]) -> None:
        """Work on a connection that sees `events`, of which those that arrived on the days `replaced` do not count."""
        self._connection = connection
        connection.register("replaced", pa.table({"day": pa.array(replaced, pa.date32())}))
        connection.execute(
            "CREATE TEMP VIEW stored AS"
            " SELECT event_id FROM events WHERE arrival_date NOT IN (SELECT day FROM replaced)"
        )
        connection.execute("CREATE TEMP TABLE told (event_id VARCHAR)")

    def repeated(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return the positions, from 0 and in order, of the events that were delivered before.

        Args:
            ids: the next events' ids, as text.

        """
        connection = self._connection
        connection.register("fresh", pa.table({"event_id": ids, "position": np.arange(len(ids))}))
        # What was delivered before is little: it is sought among all that is known, and only then in its place.
        repeated = connection.sql(
            """
            WITH known AS (
                SELECT event_id FROM stored WHERE event_id IN (SELECT event_id FROM fresh)
                UNION ALL
                SELECT event_id FROM told WHERE event_id IN (SELECT event_id FROM fresh)
            ),
            twice AS (SELECT event_id FROM fresh GROUP BY event_id HAVING count(*) > 1)
            SELECT position FROM fresh WHERE event_id IN (FROM known)
            UNION
            SELECT unnest(list_sort(list(position))[2:]) FROM fresh
            WHERE event_id IN (FROM twice) GROUP BY event_id
            ORDER BY position
            """
        ).fetchnumpy()["position"]
        connection.execute("INSERT INTO told SELECT event_id FROM fresh")
        connection.unregister("fresh")
        return np.asarray(repeated)
