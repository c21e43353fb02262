"""Layout ``hash``: one Redis hash per entity, one field per feature that is not NULL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.feature_view import FeatureView
from online_features.online import keyspace
from online_features.online.layouts.encoding import Columns, Encoder
from online_features.online.resp import Piece, joined, word, words
from online_features.online.row_keys import Key
from online_features.online.texts import instants, texts
from online_features.schema import RowSchema

Field = tuple[str, pa.StringArray]


class HashEncoder(Encoder):
    """Encodes rows as fields of a hash, guarded by ``_ts`` and ``_created``.

    Whole rows come without the names of their fields, which the script is told once a call; a row with a NULL names
    those that it has.
    """

    def _script_words(self, view: FeatureView, schema: RowSchema, features: Iterable[str]) -> list[Key]:  # noqa: ARG002
        created = [keyspace.CREATED_FIELD] if schema.created_timestamp else []
        names = [keyspace.TIMESTAMP_FIELD, *created, *(feature.name for feature in schema.features)]
        return [str(len(names)), *names]

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        fields: list[Field] = [(keyspace.TIMESTAMP_FIELD, instants(columns.event_timestamp))]
        if columns.created_timestamp is not None:
            fields.append((keyspace.CREATED_FIELD, instants(columns.created_timestamp)))
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            present = texts(column)
            if columns.deleted is not None:
                present = pc.if_else(columns.deleted, None, present)
            fields.append((feature.name, present))
        present_fields = np.sum([field.is_valid().to_numpy(zero_copy_only=False) for _, field in fields], axis=0)
        is_whole = present_fields == len(fields)
        counts = np.where(is_whole, len(fields), -2 * present_fields)
        row = words(pa.array(counts).cast(pa.string())) + _fields(fields, is_whole)
        return row, np.abs(counts) + 1


def _fields(fields: Sequence[Field], is_whole: np.ndarray) -> list[Piece]:
    values = [piece for _, field in fields for piece in words(field)]
    if is_whole.all():
        return values
    named = joined([piece for name, field in fields for piece in _pair(name, field)])
    # Joined values are NULL where one of them is.
    return [pc.coalesce(joined(values), named) if is_whole.any() else named]


def _pair(name: str, values: pa.StringArray) -> list[Piece]:
    """Field and value as words of a command; nothing where the value is NULL."""
    pair = [word(name), *words(values)]
    return [joined(pair).fill_null(b"")] if values.null_count else pair
