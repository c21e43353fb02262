"""Rows as MessagePack arrays: one per entity, with every feature; NULL is nil."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.encoder import Columns, Encoder
from online_features.layouts.msgpack import _messagepack as messagepack
from online_features.layouts.msgpack._messagepack import Cells
from online_features.layouts.msgpack.msgpack_format import HEADER
from online_features.resp.word_columns import Piece, joined, word_of
from online_features.schema import Column
from online_features.types.arrow.messagepack import FIRST_MICROSECOND, as_msgpack
from online_features.types.registry import codec_of


class MsgpackEncoder(Encoder):
    """Encodes rows as arrays: event timestamp, created timestamp, flags, then every feature in the order of the schema.

    The first three have a fixed width, so that scripts find them: see ``msgpack.lua``.
    """

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        return word_of(self._pieces(columns)), np.ones(len(columns.event_timestamp), dtype=np.int64)

    def _replies(self, columns: Columns) -> Sequence[bytes]:
        arrays: list[bytes] = joined(self._pieces(columns)).to_pylist()
        return arrays

    def _pieces(self, columns: Columns) -> list[Piece]:
        """Return the parts of each row's array; values of few bytes are one part with their neighbours."""
        pieces: list[Piece] = []
        cells = self._header(columns)
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            values, texts = as_msgpack(feature, column)
            if texts is None and messagepack.is_small(values.type):
                cells.append(messagepack.cells(values))
                continue
            pieces += [*messagepack.joined_cells(cells), *_strings(feature, values, texts)]
            cells = []
        return [*pieces, *messagepack.joined_cells(cells)]

    def _header(self, columns: Columns) -> list[Cells]:
        created, rows = columns.created_timestamp, len(columns.event_timestamp)
        return [
            messagepack.array_heads(np.full(rows, HEADER + len(columns.features))),
            messagepack.wide_integers(_stamps(columns.event_timestamp)),
            messagepack.wide_integers(np.zeros(rows, np.int64) if created is None else _stamps(created)),
            messagepack.small_integers(np.full(rows, keyspace.PUSHED if self._is_pushed else 0, np.uint8)),
        ]


def _strings(feature: Column, values: pa.Array, texts: pa.StringArray | None) -> Sequence[Piece]:
    encoded = messagepack.values(values, codec_of(feature).number_format)
    return encoded if texts is None else [pc.coalesce(joined(messagepack.strings(texts)), joined(encoded))]


def _stamps(column: pa.TimestampArray) -> np.ndarray:
    """Return microseconds since the beginning of the year 1, plus 1; 0 for NULL."""
    since = pc.subtract(column.cast(pa.int64()), FIRST_MICROSECOND - 1)
    stamps: np.ndarray = since.fill_null(0).to_numpy()
    return stamps
