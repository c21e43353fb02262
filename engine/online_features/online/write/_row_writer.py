"""Writes rows of a feature view, and accounts for every one of them.

The guarded script ``write.lua`` decides whether a row is newer than what its key holds. Where the layout allows it, a
run first creates rows by ``SETNX`` (``SET … NX`` if they expire), which is a third of the work for Redis, and leaves to
the script those whose keys hold something. Where most keys do, trying costs more than it saves: then only the first
rows of each batch are tried, and the others only if most of these were new.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.counters import RowCounts
from online_features.errors import OnlineDataError
from online_features.layouts.layout import RowLayout
from online_features.online.redis.deployment import Deployment, Session
from online_features.online.redis.scripts import row_script
from online_features.schema import RowSchema

if TYPE_CHECKING:
    from online_features.layouts.encoder import EncodedRows
    from online_features.online.redis.row_calls import PackedCall

# Rows of a batch that are tried while most rows exist already: few enough to cost nothing beside a batch.
PROBED_ROWS = 256

# A row that expires within so many milliseconds is left to the script: SET replies OK to a row that has expired, and
# leaves nothing.
EXPIRY_MARGIN = 60_000


class RowWriter:
    """Encodes rows of one view as calls, and writes them.

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
        self._creates_first = layout.creates_first
        self._mostly_creates = False

    def encode(self, batch: pa.RecordBatch) -> EncodedRows:
        """Return the rows of the batch as :meth:`write` takes them.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        :raises InvalidRowsError: when a value does not fit the layout.
        """
        return self._encoder.encode(batch)

    def calls(self, batch: pa.RecordBatch) -> list[PackedCall]:
        """Return the batch as calls of the script alone; parameter and error are those of :meth:`encode`."""
        return self._calls(self.encode(batch))

    def write(self, session: Session, rows: EncodedRows) -> RowCounts:
        """Create rows if the layout allows it, write the others by the script, and return the outcomes of all.

        :raises OnlineDataError: when the acknowledgements do not account for every row.
        """
        created = self._created(session, rows) if self._creates_first else np.zeros(len(rows), dtype=bool)
        others = rows.take(np.flatnonzero(~created))
        counts = row_counts(len(others), session.send(self._calls(others)) if len(others) else [])
        new = len(rows) - len(others)
        return counts + RowCounts(rows_read=new, rows_written=new)

    def _created(self, session: Session, rows: EncodedRows) -> np.ndarray:
        """Create rows as long as most of them are new, and return which were."""
        created = np.zeros(len(rows), dtype=bool)
        left = np.flatnonzero(_may_be_created(session, rows))
        while len(left):
            tried, left = np.split(left, [len(left) if self._mostly_creates else PROBED_ROWS])
            refused = session.send([*self._deployment.packed_creates(rows, tried)])
            existing = [*chain.from_iterable(refused)]
            created[tried] = True
            created[existing] = False
            self._mostly_creates = 2 * len(existing) < len(tried)
            if not self._mostly_creates:
                break
        return created

    def _calls(self, rows: EncodedRows) -> list[PackedCall]:
        return [*self._deployment.packed_calls(self._script, rows, self._own_words)]


def _may_be_created(session: Session, rows: EncodedRows) -> np.ndarray:
    """Return which rows can be created without the script.

    It must decide about all rows of an entity, in their order, if it must decide about one of them.
    """
    if not rows.expiries.any() and not rows.deletes.any():
        return np.ones(len(rows), dtype=bool)
    may_be = ~rows.deletes
    if rows.expiries.any():
        may_be &= rows.expiries > session.clock() + EXPIRY_MARGIN
    if may_be.all():
        return may_be
    left_to_script = pc.is_in(rows.keys, rows.keys.filter(pa.array(~may_be)))
    return ~left_to_script.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def row_counts(rows: int, acknowledged: Sequence[Sequence[int]]) -> RowCounts:
    """Return the outcomes of rows from the replies to their calls.

    :raises OnlineDataError: when the acknowledgements do not account for every row.
    """
    written, stale, expired, deleted = map(sum, zip([0] * 4, *acknowledged, strict=True))
    total = written + stale + expired + deleted
    if total != rows:
        raise OnlineDataError(f"Redis acknowledged {total} of {rows} rows, so the reply is not one of write.lua")
    return RowCounts(rows_read=rows, rows_written=written, rows_stale=stale, rows_expired=expired, rows_deleted=deleted)
