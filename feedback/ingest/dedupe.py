"""Find events that were delivered before.

An event's id is its identity. Its first delivery is kept: one that is stored already, else the first by arrival day,
file and line.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa


class Deliveries:
    """The events delivered so far: those that the lake keeps, and those of this run, a part at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, replaced: Sequence[date]) -> None:
        """Take a connection that sees `events`; events that arrived on the days `replaced` do not count."""
        self._connection = connection
        connection.register("replaced", pa.table({"day": pa.array(replaced, pa.date32())}))
        connection.execute(
            "CREATE TEMP VIEW stored AS"
            " SELECT event_id FROM events WHERE arrival_date NOT IN (SELECT day FROM replaced)"
        )
        connection.execute("CREATE TEMP TABLE delivered (event_id VARCHAR)")

    def repeated(self, ids: pa.ChunkedArray) -> np.ndarray:
        """Return the positions, from 0 and in order, of the events that were delivered before.

        Args:
            ids: the next events' ids, as text.

        """
        connection = self._connection
        connection.register("fresh", pa.table({"event_id": ids, "position": np.arange(len(ids))}))
        # Few events were delivered before: first their ids are selected from all, then their positions.
        repeated = connection.sql(
            """
            WITH before AS (
                SELECT event_id FROM stored WHERE event_id IN (SELECT event_id FROM fresh)
                UNION ALL
                SELECT event_id FROM delivered WHERE event_id IN (SELECT event_id FROM fresh)
            ),
            twice AS (SELECT event_id FROM fresh GROUP BY event_id HAVING count(*) > 1)
            SELECT position FROM fresh WHERE event_id IN (FROM before)
            UNION
            SELECT unnest(list_sort(list(position))[2:]) FROM fresh
            WHERE event_id IN (FROM twice) GROUP BY event_id
            ORDER BY position
            """
        ).fetchnumpy()["position"]
        connection.execute("INSERT INTO delivered SELECT event_id FROM fresh")
        connection.unregister("fresh")
        return np.asarray(repeated)
