"""Layout ``hash``: one Redis hash per entity, one field per feature that is not NULL."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.online import keyspace
from online_features.online.layouts.encoding import Columns, Encoder
from online_features.online.resp import Piece, joined, word, words
from online_features.online.texts import instants, texts


class HashEncoder(Encoder):
    """Encodes rows as fields of a hash, guarded by ``_ts`` and ``_created``."""

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        fields: list[tuple[str, pa.StringArray]] = [(keyspace.TIMESTAMP_FIELD, instants(columns.event_timestamp))]
        if columns.created_timestamp is not None:
            fields.append((keyspace.CREATED_FIELD, instants(columns.created_timestamp)))
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            present = texts(column)
            if columns.deleted is not None:
                present = pc.if_else(columns.deleted, None, present)
            fields.append((feature.name, present))
        count = 2 * np.sum([field.is_valid().to_numpy(zero_copy_only=False) for _, field in fields], axis=0)
        row = words(pa.array(count).cast(pa.string()))
        for name, field in fields:
            row += _pair(name, field)
        return row, count + 1


def _pair(name: str, values: pa.StringArray) -> list[Piece]:
    """Field and value as words of a command; nothing where the value is NULL."""
    pair = [word(name), *words(values)]
    return [joined(pair).fill_null(b"")] if values.null_count else pair
