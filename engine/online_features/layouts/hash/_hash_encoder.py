"""Rows as Redis hashes: one per entity, with one field per feature that is not NULL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.encoder import Columns, Encoder
from online_features.layouts.hash.hash_layout import STAMP_FIELDS
from online_features.resp.commands import word
from online_features.resp.word_columns import Piece, joined, words
from online_features.types.arrow.texts import instants, texts


class HashEncoder(Encoder):
    """Encodes rows as fields of a hash, guarded by ``_ts`` and ``_created``: see ``hash.lua``."""

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        fields = self._fields(columns)
        counts = 2 * np.sum([field.is_valid().to_numpy(zero_copy_only=False) for _, field in fields], axis=0)
        pairs = [piece for name, field in fields for piece in _pair(name, field)]
        return [*words(pa.array(counts).cast(pa.string())), *pairs], counts + 1

    def _replies(self, columns: Columns) -> Sequence[list[bytes | None]]:
        fields = {name: field.cast(pa.binary()).to_pylist() for name, field in self._fields(columns)}
        nothing = [None] * len(columns.event_timestamp)
        stamps = (fields.pop(name, nothing) for name in STAMP_FIELDS)
        return list(map(list, zip(*stamps, *fields.values(), strict=True)))

    def _fields(self, columns: Columns) -> list[tuple[str, pa.Array]]:
        timestamp = instants(columns.event_timestamp)
        fields: list[tuple[str, pa.Array]] = [(keyspace.TIMESTAMP_FIELD, timestamp)]
        if columns.created_timestamp is not None:
            fields.append((keyspace.CREATED_FIELD, instants(columns.created_timestamp)))
        if self._is_pushed:
            fields.append((keyspace.PUSHED_FIELD, pa.repeat("1", len(timestamp))))
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            present = texts(column)
            if columns.deleted is not None:
                # Not if_else: before Arrow 24 it returns wrong bytes for a sliced column.
                present = pc.replace_with_mask(present, columns.deleted, pa.scalar(None, pa.string()))
            fields.append((feature.name, present))
        return fields


def _pair(name: str, values: pa.StringArray) -> list[Piece]:
    """Return field and value as words of a command; nothing if the value is NULL."""
    pair = [word(name), *words(values)]
    return [joined(pair).fill_null(b"")] if values.null_count else pair
