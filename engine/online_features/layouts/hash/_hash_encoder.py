"""Rows as Redis hashes: one per entity, with one field per feature that is not NULL."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.encoder import Columns, Encoder
from online_features.layouts.hash.packing import Packing
from online_features.layouts.layout import RowLayout
from online_features.resp.commands import word
from online_features.resp.word_columns import Piece, joined, words
from online_features.schema import RowSchema
from online_features.types.arrow_texts import instants, texts

Field = tuple[str, pa.StringArray]

PACKED_WORDS = 3


class HashEncoder(Encoder):
    """Encodes rows as fields of a hash, guarded by ``_ts`` and ``_created``.

    A packed row is its timestamps and the hash; any other row is field, value, field, value, …: see ``hash.lua``.

    :param packing: that the server accepts; ``None`` packs no row.
    """

    def __init__(self, layout: RowLayout, schema: RowSchema, packing: Packing | None = None) -> None:
        super().__init__(layout, schema)
        self._packing = packing

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        timestamp: Field = (keyspace.TIMESTAMP_FIELD, instants(columns.event_timestamp))
        fields: list[Field] = []
        if columns.created_timestamp is not None:
            fields.append((keyspace.CREATED_FIELD, instants(columns.created_timestamp)))
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            present = texts(column)
            if columns.deleted is not None:
                # Not if_else: before Arrow 24 it returns wrong bytes for a sliced column.
                present = pc.replace_with_mask(present, columns.deleted, pa.scalar(None, pa.string()))
            fields.append((feature.name, present))
        if self._packing is None:
            named, named_words = _named([timestamp, *fields])
            return [named], named_words
        hashes = self._packing.packed([*fields, timestamp])
        created = pa.repeat("", len(hashes)) if columns.created_timestamp is None else fields[0][1].fill_null("")
        packed = [*words(timestamp[1]), *words(created), *words(hashes)]
        if not hashes.null_count:
            return packed, np.full(len(hashes), PACKED_WORDS)
        named, named_words = _named([timestamp, *fields])
        is_packed = hashes.is_valid().to_numpy(zero_copy_only=False)
        return [pc.coalesce(joined(packed), named)], np.where(is_packed, PACKED_WORDS, named_words)


def _named(fields: Sequence[Field]) -> tuple[pa.BinaryArray, np.ndarray]:
    """Return the words of each row as field and value, and how many they are."""
    counts = 2 * np.sum([field.is_valid().to_numpy(zero_copy_only=False) for _, field in fields], axis=0)
    pairs = [piece for name, field in fields for piece in _pair(name, field)]
    return joined([word(""), *words(pa.array(counts).cast(pa.string())), *pairs]), counts + 2


def _pair(name: str, values: pa.StringArray) -> list[Piece]:
    """Return field and value as words of a command; nothing if the value is NULL."""
    pair = [word(name), *words(values)]
    return [joined(pair).fill_null(b"")] if values.null_count else pair
