"""What all layouts have in common: the keys, and the words that come before a row's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from redis.crc import key_slot

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.packing import Packing
from online_features.layouts.row_keys import row_keys
from online_features.online.redis import scripts
from online_features.online.redis.commands import word
from online_features.online.redis.resp import Buffers, Piece, ScriptHead, joined, script_calls, spans, words
from online_features.schema import RowSchema
from online_features.types.arrow_texts import texts

# A call blocks Redis for about 10 µs a row, so 64 rows stay well under a millisecond; measured, more rows a call
# gain little, and one row a call costs more than half as much again.
ROWS_PER_CALL = 64
CALL_BYTES = 1024 * 1024  # of arguments in a call; wide rows make shorter calls, so that none blocks Redis for long

SPECIAL = "[" + "".join(keyspace.ESCAPES) + "]"


class SlotCall(NamedTuple):
    """A call whose rows are all of one slot of a cluster."""

    slot: int
    buffers: Buffers


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a record batch by the part they play.

    :param deleted: whether the row says that its entity is gone; without NULLs.
    """

    keys: Sequence[pa.Array]
    event_timestamp: pa.TimestampArray
    created_timestamp: pa.TimestampArray | None
    deleted: pa.BooleanArray | None
    features: Sequence[pa.Array]


class Encoder(ABC):
    """Encodes rows of one feature view: a pure function from a record batch to command bytes.

    :param features: all that rows of the view may have, as :func:`.features_online` knows.
    :param version: of the view's state, which must not have changed when a row is written; ``None`` for any.
    :param packing: of hashes, where the server takes one and many rows are worth asking for it.
    :param in_cluster: whether calls are for a cluster: see :meth:`calls_by_slot`.
    """

    expires_rows = True

    def __init__(
        self,
        view: FeatureView,
        schema: RowSchema,
        features: Iterable[str] = (),
        version: str | None = None,
        packing: Packing | None = None,
        *,
        in_cluster: bool = False,
    ) -> None:
        script = scripts.guarded("write", view.layout, in_cluster=in_cluster)
        names = [feature.name for feature in schema.features]
        self._script = ScriptHead(
            scripts.sha(script),
            words=[*row_keys(view).script_words(names, set(features).difference(names)), version or ""],
            keys=[keyspace.state_key(view)] if version else [],
            keys_per_row=scripts.keys_per_row(view.layout, in_cluster=in_cluster),
        )
        self._view = view
        self._schema = schema
        self._packing = packing

    def check(self, batch: pa.RecordBatch) -> None:  # noqa: B027
        """Refuse values that the layout does not hold, though their types are fine; most layouts hold all.

        :raises InvalidRowsError: naming the column.
        """

    def calls(self, batch: pa.RecordBatch) -> Iterator[Buffers]:
        """The batch as calls of the guarded write, each a list of buffers.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        :raises InvalidRowsError: as :meth:`check` does.
        """
        keys, encoded, count = self._encoded(batch)
        of_calls = spans(len(keys), _rows_per_call(encoded))
        return script_calls(self._script, joined(words(keys)), encoded, count, of_calls)

    def calls_by_slot(self, batch: pa.RecordBatch) -> Iterator[SlotCall]:
        """Likewise, for a cluster, where a call takes rows of one slot."""
        keys, encoded, count = self._encoded(batch)
        slots = np.fromiter((key_slot(key) for key in keys.to_pylist()), np.int64, len(keys))
        # Rows of an entity stay in their order.
        order = np.argsort(slots, kind="stable")
        keys, encoded, slots = keys.take(pa.array(order)), encoded.take(pa.array(order)), slots[order]
        bounds = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(slots)]
        size = _rows_per_call(encoded)
        of_slots = [
            (first + start, first + stop)
            for first, end in pairwise(bounds)
            for start, stop in spans(end - first, size)
        ]  # fmt: skip
        calls = script_calls(self._script, self._keys_of_rows(keys), encoded, count[order], of_slots)
        return (SlotCall(int(slots[start]), call) for (start, _), call in zip(of_slots, calls, strict=True))

    def _encoded(self, batch: pa.RecordBatch) -> tuple[pa.BinaryArray, pa.BinaryArray, np.ndarray]:
        """The key of each row, its words ready for the wire, and how many they are (int64)."""
        self.check(batch)
        columns = self._columns(batch)
        row, count = self._row(columns)
        return self._key(columns.keys), joined([*self._end(columns), *row]), count + 1

    def _keys_of_rows(self, keys: pa.BinaryArray) -> pa.BinaryArray:
        """All keys of each row, ready for the wire."""
        if self._script.keys_per_row == 1:
            return joined(words(keys))
        before, after = keyspace.around_buried_key()
        return joined([*words(keys), *words(joined([before, keys, after]))])

    @abstractmethod
    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        """The words of each row in this layout, and how many they are (int64)."""

    def _columns(self, batch: pa.RecordBatch) -> Columns:
        columns = iter(batch.columns)
        return Columns(
            keys=[next(columns) for _ in self._schema.keys],
            event_timestamp=next(columns),
            created_timestamp=next(columns) if self._schema.created_timestamp else None,
            deleted=next(columns) if self._schema.deleted else None,
            features=list(columns),
        )

    def _key(self, keys: Sequence[pa.Array]) -> pa.Array:
        """The key of each row."""
        pieces: list[Piece] = [keyspace.entity_prefix(self._view)]
        for key in keys:
            pieces += [_escaped(texts(key)), keyspace.SEPARATOR]
        return joined(pieces[:-1])

    def _end(self, columns: Columns) -> list[Piece]:
        """When each row ends, and whether it says that its entity is gone, in one word; see ``write.lua``."""
        expires = self.expires_rows and self._view.ttl is not None
        end: list[Piece] = [self._expiry(columns.event_timestamp) if expires else "0"]
        if columns.deleted is not None:
            return words(joined([pc.if_else(columns.deleted, "-", ""), *end]))
        return words(joined(end)) if expires else [word("0")]

    def _expiry(self, event_timestamp: pa.TimestampArray) -> pa.StringArray:
        """Milliseconds since the epoch at which each row expires, as text; at least 1, because 0 means never."""
        assert self._view.ttl is not None
        expiry = pc.add(event_timestamp, pa.scalar(self._view.ttl, pa.duration("us")))
        return pc.max_element_wise(pc.divide(expiry.cast(pa.int64()), 1000), 1).cast(pa.string())


def _rows_per_call(encoded: pa.BinaryArray) -> int:
    row_bytes: int = max(1, encoded.nbytes // max(1, len(encoded)))
    return max(1, min(ROWS_PER_CALL, CALL_BYTES // row_bytes))


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, SPECIAL)).as_py():
        return column
    for character, escaped in keyspace.ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
