"""Push: a producer writes rows online directly, under the same guard as a materialization."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow.compute as pc
import redis

from online_features.counters import RowCounts
from online_features.feature_view import FeatureView
from online_features.online import scripts, state
from online_features.online.layouts import encoder
from online_features.online.pushed_rows import pushed_rows, pushed_schema
from online_features.online.writer import guarded_writer
from online_features.rejection import SAMPLE_ROWS, log_rejected


@dataclass(frozen=True, kw_only=True)
class PushResult(RowCounts):
    """What a push did.

    :param bytes_sent: of commands to Redis.
    :param seconds: wall time.
    :param max_event_timestamp: the newest among the rows pushed; ``None`` when there were none.
    """

    bytes_sent: int
    seconds: float
    max_event_timestamp: datetime | None


def push_rows(
    client: redis.Redis, view: FeatureView, rows: Sequence[Mapping[str, Any]], *, now: datetime
) -> PushResult:
    """Write the rows; see :meth:`~online_features.OnlineStore.push`."""
    began = time.monotonic()
    rows = list(rows)
    counts, bytes_sent, newest = RowCounts(), 0, None
    if rows:
        recorded = state.read_state(client, view)
        schema = pushed_schema(view, recorded.schema, rows)
        pushed = pushed_rows(view, schema, rows, now=now)
        if recorded.definition is None and recorded.schema != schema:
            state.keep_schema(client, view, schema)
        names = [feature.name for feature in schema.features]
        layout = encoder(view, schema, state.features_online(client.execute_command, view, names))
        with guarded_writer(client, scripts.guarded("write", view.layout)) as writer:
            counts = writer.write(pushed.batch.num_rows, iter(layout.calls(pushed.batch)))
            bytes_sent = writer.bytes_sent
        newest = pc.max(pushed.batch.column(len(schema.keys))).as_py()
        counts += _rejected(view, pushed.rejected)
    return PushResult(
        **asdict(counts), bytes_sent=bytes_sent, seconds=time.monotonic() - began, max_event_timestamp=newest
    )


def _rejected(view: FeatureView, rows: Sequence[Mapping[str, Any]]) -> RowCounts:
    columns = (*view.entities, view.source.timestamp_field)
    log_rejected(view, len(rows), [[row.get(column) for column in columns] for row in rows[:SAMPLE_ROWS]])
    return RowCounts(rows_read=len(rows), rows_rejected=len(rows))
