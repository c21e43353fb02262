"""What all layouts have in common: the keys, and the words that come before a row's own."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.feature_view import FeatureView
from online_features.online import keyspace, scripts
from online_features.online.commands import word
from online_features.online.packing import Packing
from online_features.online.resp import Buffers, Piece, ScriptHead, joined, script_calls, words
from online_features.online.row_keys import row_keys
from online_features.online.texts import texts
from online_features.schema import RowSchema

# A call blocks Redis for about 10 µs a row, so 64 rows stay well under a millisecond; measured, more rows a call
# gain little, and one row a call costs more than half as much again.
ROWS_PER_CALL = 64
CALL_BYTES = 1024 * 1024  # of arguments in a call; wide rows make shorter calls, so that none blocks Redis for long

SPECIAL = "[" + "".join(keyspace.ESCAPES) + "]"


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

    :param features: all that rows of the view may have, as :func:`~online_features.online.state.features_online` knows.
    :param version: of the view's state, which must not have changed when a row is written; ``None`` for any.
    :param packing: of hashes, where the server takes one and many rows are worth asking for it.
    """

    expires_rows = True

    def __init__(
        self,
        view: FeatureView,
        schema: RowSchema,
        features: Iterable[str] = (),
        version: str | None = None,
        packing: Packing | None = None,
    ) -> None:
        script = scripts.guarded("write", view.layout)
        names = [feature.name for feature in schema.features]
        self._script = ScriptHead(
            hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest(),
            words=[*row_keys(view).script_words(names, set(features).difference(names)), version or ""],
            keys=[keyspace.state_key(view)] if version else [],
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
        self.check(batch)
        columns = self._columns(batch)
        row, count = self._row(columns)
        encoded = joined([*self._end(columns), *row])
        row_bytes = max(1, encoded.nbytes // max(1, len(encoded)))
        rows_per_call = max(1, min(ROWS_PER_CALL, CALL_BYTES // row_bytes))
        return script_calls(self._script, self._key(columns.keys), encoded, count + 1, rows_per_call)

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
        """The key of each row as a word of a command."""
        pieces: list[Piece] = [keyspace.entity_prefix(self._view)]
        for key in keys:
            pieces += [_escaped(texts(key)), keyspace.SEPARATOR]
        return joined(words(joined(pieces[:-1])))

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


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, SPECIAL)).as_py():
        return column
    for character, escaped in keyspace.ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
