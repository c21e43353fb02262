"""Base class of encoders: keys, expiry, and the order of columns, which are the same in all layouts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.layout import RowLayout
from online_features.resp.commands import word
from online_features.resp.word_columns import Piece, joined, words
from online_features.schema import RowSchema
from online_features.types.arrow_texts import texts

SPECIAL = "[" + "".join(keyspace.ESCAPES) + "]"


class EncodedRows(NamedTuple):
    """Rows as keys and words for ``write.lua``.

    :param keys: of each row, as stored in Redis.
    :param words: of each row, ready for the wire.
    :param word_counts: int64, how many words each row has.
    """

    keys: pa.BinaryArray
    words: pa.BinaryArray
    word_counts: np.ndarray


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
        return EncodedRows(self._key(columns.keys), joined([*self._end(columns), *row]), count + 1)

    @abstractmethod
    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        """Return the words of each row in this layout, and how many they are (int64)."""

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

    def _end(self, columns: Columns) -> list[Piece]:
        """Return the word for when a row expires and whether it deletes its entity; see ``write.lua``."""
        expires = self._layout.expires_rows and self._view.ttl is not None
        end: list[Piece] = [self._expiry(columns.event_timestamp) if expires else "0"]
        if columns.deleted is not None:
            return words(joined([pc.if_else(columns.deleted, "-", ""), *end]))
        return words(joined(end)) if expires else [word("0")]

    def _expiry(self, event_timestamp: pa.TimestampArray) -> pa.StringArray:
        """Return the milliseconds since the epoch at which each row expires; at least 1, because 0 means never."""
        assert self._view.ttl is not None
        expiry = pc.add(event_timestamp, pa.scalar(self._view.ttl, pa.duration("us")))
        return pc.max_element_wise(pc.divide(expiry.cast(pa.int64()), 1000), 1).cast(pa.string())


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, SPECIAL)).as_py():
        return column
    for character, escaped in keyspace.ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
