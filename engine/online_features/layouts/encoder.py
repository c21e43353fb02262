"""Base class of encoders: keys, expiry, and the order of columns, which are the same in all layouts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.layout import RowLayout
from online_features.resp.word_columns import Piece, joined
from online_features.schema import RowSchema
from online_features.types.arrow.texts import texts

SPECIAL = "[" + "".join(keyspace.ESCAPES) + "]"


@dataclass(frozen=True, kw_only=True)
class EncodedRows:
    """Rows as keys and words of commands.

    :param keys: of each row, as stored in Redis.
    :param expiries: int64, milliseconds since the epoch at which each row expires; 0: never.
    :param deletes: bool, whether each row deletes its entity.
    :param words: of each row, as its layout has them, ready for the wire.
    :param word_counts: int64, how many words each row has.
    """

    keys: pa.BinaryArray
    expiries: np.ndarray
    deletes: np.ndarray
    words: pa.BinaryArray
    word_counts: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, indices: np.ndarray) -> EncodedRows:
        """Return the rows at the indices, in their order; rows that follow each other are not copied."""
        if len(indices) and (np.diff(indices) == 1).all():
            start, length = int(indices[0]), len(indices)
            keys, row_words = self.keys.slice(start, length), self.words.slice(start, length)
        else:
            keys, row_words = self.keys.take(pa.array(indices)), self.words.take(pa.array(indices))
        return EncodedRows(
            keys=keys,
            expiries=self.expiries[indices],
            deletes=self.deletes[indices],
            words=row_words,
            word_counts=self.word_counts[indices],
        )


@dataclass(frozen=True, kw_only=True)
class StoredRows:
    """Rows as Redis holds them once they are written.

    :param keys: of each row.
    :param expiries: as of :class:`EncodedRows`.
    :param deletes: as of :class:`EncodedRows`.
    :param replies: to :meth:`.RowLayout.stored_form` of each row that does not delete its entity.
    """

    keys: Sequence[bytes]
    expiries: np.ndarray
    deletes: np.ndarray
    replies: Sequence[Any]

    def take(self, indices: Sequence[int]) -> StoredRows:
        """Return the rows at the indices, in their order."""
        return StoredRows(
            keys=[self.keys[i] for i in indices],
            expiries=self.expiries[indices],
            deletes=self.deletes[indices],
            replies=[self.replies[i] for i in indices],
        )


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of a record batch by their role.

    :param deleted: whether the row deletes its entity; without NULLs.
    """

    keys: Sequence[pa.Array]
    event_timestamp: pa.TimestampArray
    created_timestamp: pa.TimestampArray | None
    deleted: pa.BooleanArray | None
    features: Sequence[pa.Array]


class Encoder(ABC):
    """Encodes rows of one feature view: a pure function from a record batch to words of a command."""

    def __init__(self, layout: RowLayout, schema: RowSchema, *, is_pushed: bool = False) -> None:
        self._layout = layout
        self._view = layout.view
        self._schema = schema
        self._is_pushed = is_pushed

    def check(self, batch: pa.RecordBatch) -> None:  # noqa: B027
        """Refuse values that the layout does not hold, though their types are fine; most layouts hold all.

        :raises InvalidRowsError: naming the column.
        """

    def encode(self, batch: pa.RecordBatch) -> EncodedRows:
        """Encode the rows of a batch.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        :raises InvalidRowsError: as :meth:`check` does.
        """
        self.check(batch)
        columns = self._columns(batch)
        row, count = self._row(columns)
        return EncodedRows(
            keys=self._key(columns.keys),
            expiries=self._expiries(columns.event_timestamp),
            deletes=_flags(columns.deleted, len(batch)),
            words=joined(row),
            word_counts=count,
        )

    def stored(self, batch: pa.RecordBatch) -> StoredRows:
        """Return the rows of a batch as Redis holds them once they are written; see :meth:`encode`."""
        self.check(batch)
        columns = self._columns(batch)
        return StoredRows(
            keys=self._key(columns.keys).to_pylist(),
            expiries=self._expiries(columns.event_timestamp),
            deletes=_flags(columns.deleted, len(batch)),
            replies=self._replies(columns),
        )

    @abstractmethod
    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        """Return the words of each row in this layout, and how many they are (int64)."""

    @abstractmethod
    def _replies(self, columns: Columns) -> Sequence[Any]:
        """Return the reply to :meth:`.RowLayout.stored_form` of each row."""

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
        """Return the key of each row."""
        pieces: list[Piece] = [keyspace.entity_prefix(self._view, self._layout.generation)]
        for key in keys:
            pieces += [_escaped(texts(key)), keyspace.SEPARATOR]
        return joined([*pieces[:-1], "}"])

    def _expiries(self, event_timestamp: pa.TimestampArray) -> np.ndarray:
        """Return the milliseconds since the epoch at which each row expires; at least 1, because 0 means never."""
        if self._view.ttl is None or not self._layout.expires_rows:
            return np.zeros(len(event_timestamp), dtype=np.int64)
        expiry = pc.add(event_timestamp, pa.scalar(self._view.ttl, pa.duration("us")))
        milliseconds = pc.max_element_wise(pc.divide(expiry.cast(pa.int64()), 1000), 1)
        return milliseconds.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _flags(column: pa.BooleanArray | None, length: int) -> np.ndarray:
    if column is None:
        return np.zeros(length, dtype=bool)
    return column.to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, SPECIAL)).as_py():
        return column
    for character, escaped in keyspace.ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
