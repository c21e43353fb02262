"""Writes rows of a feature view by the guarded script, and accounts for every one of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from online_features.counters import RowCounts
from online_features.errors import OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import layout_of
from online_features.online.redis.deployment import Deployment, Session
from online_features.schema import RowSchema

if TYPE_CHECKING:
    import pyarrow as pa

    from online_features.layouts.hash.packing import Packing
    from online_features.online.redis.row_calls import PackedCall


class RowWriter:
    """Encodes rows of one view as calls of ``write.lua``; it does no I/O.

    :param features: all that rows of the view may have, as :func:`.features_online` returns them.
    :param version: of the view's state, which must be the same when a row is written; ``""`` for any. The script can
        check it only if the state is beside the rows.
    :param packing: of rows, if the server accepts one; asking for it pays off for many rows only.
    """

    def __init__(
        self,
        deployment: Deployment,
        view: FeatureView,
        schema: RowSchema,
        features: Collection[str] = (),
        *,
        version: str = "",
        packing: Packing | None = None,
    ) -> None:
        layout = layout_of(view)
        names = [feature.name for feature in schema.features]
        if not deployment.state_is_beside_rows:
            version = ""
        self._deployment = deployment
        self._encoder = layout.encoder(schema, packing)
        self._script = deployment.row_script("write", layout)
        self._own_words = [*layout.script_words(names, set(features).difference(names)), version]
        self._state_keys = [keyspace.state_key(view)] if version else []

    def calls(self, batch: pa.RecordBatch) -> list[PackedCall]:
        """Return the batch as calls.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        :raises InvalidRowsError: when a value does not fit the layout.
        """
        rows = self._encoder.encode(batch)
        return list(self._deployment.packed_calls(self._script, rows, self._own_words, self._state_keys))


def write_rows(session: Session, rows: int, calls: Sequence[PackedCall]) -> RowCounts:
    """Send the calls, and return the outcomes of their rows.

    :param rows: how many rows the calls write.
    :raises OnlineDataError: when the acknowledgements do not account for every row.
    """
    return _row_counts(rows, session.send(calls))


def write_rows_then(
    session: Session, rows: int, calls: Sequence[PackedCall], command: Sequence[str | int]
) -> tuple[RowCounts, Any]:
    """Send the calls, then a command, and return the outcomes of the rows and the command's reply."""
    *acknowledged, reply = session.send(calls, command)
    return _row_counts(rows, acknowledged), reply


def _row_counts(rows: int, acknowledged: Sequence[Sequence[int]]) -> RowCounts:
    written, stale, expired, deleted = map(sum, zip([0] * 4, *acknowledged, strict=True))
    total = written + stale + expired + deleted
    if total != rows:
        raise OnlineDataError(f"Redis acknowledged {total} of {rows} rows, so the reply is not one of write.lua")
    return RowCounts(rows_read=rows, rows_written=written, rows_stale=stale, rows_expired=expired, rows_deleted=deleted)
