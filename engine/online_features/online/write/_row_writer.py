"""Writes rows of a feature view by the guarded script, and accounts for every one of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from online_features.counters import RowCounts
from online_features.errors import OnlineDataError
from online_features.layouts.layout import RowLayout
from online_features.online.redis.deployment import Deployment, Session
from online_features.online.redis.scripts import row_script
from online_features.schema import RowSchema

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.online.redis.row_calls import PackedCall


class RowWriter:
    """Encodes rows of one view as calls of ``write.lua``; it does no I/O.

    :param features: all that rows of the view may have, as :func:`.features_online` returns them.
    :param is_pushed: whether a producer has pushed the rows, which marks them.
    """

    def __init__(
        self,
        deployment: Deployment,
        layout: RowLayout,
        schema: RowSchema,
        features: Collection[str] = (),
        *,
        is_pushed: bool = False,
    ) -> None:
        names = [feature.name for feature in schema.features]
        self._deployment = deployment
        self._encoder = layout.encoder(schema, is_pushed=is_pushed)
        self._script = row_script("write", type(layout))
        self._own_words = layout.script_words(names, set(features).difference(names))

    def calls(self, batch: pa.RecordBatch) -> list[PackedCall]:
        """Return the batch as calls.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        :raises InvalidRowsError: when a value does not fit the layout.
        """
        rows = self._encoder.encode(batch)
        return list(self._deployment.packed_calls(self._script, rows, self._own_words))


def write_rows(session: Session, rows: int, calls: Sequence[PackedCall]) -> RowCounts:
    """Send the calls, and return the outcomes of their rows.

    :param rows: how many rows the calls write.
    :raises OnlineDataError: when the acknowledgements do not account for every row.
    """
    return row_counts(rows, session.send(calls))


def row_counts(rows: int, acknowledged: Sequence[Sequence[int]]) -> RowCounts:
    """Return the outcomes of rows from the replies to their calls.

    :raises OnlineDataError: when the acknowledgements do not account for every row.
    """
    written, stale, expired, deleted = map(sum, zip([0] * 4, *acknowledged, strict=True))
    total = written + stale + expired + deleted
    if total != rows:
        raise OnlineDataError(f"Redis acknowledged {total} of {rows} rows, so the reply is not one of write.lua")
    return RowCounts(rows_read=rows, rows_written=written, rows_stale=stale, rows_expired=expired, rows_deleted=deleted)
