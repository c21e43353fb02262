"""Layout ``hash``: one Redis hash per entity, one field per feature that is not NULL."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.feature_view import FeatureView
from online_features.online import keyspace, scripts
from online_features.online.resp import Buffers, Piece, joined, script_calls, word, words
from online_features.online.texts import instants, texts
from online_features.schema import RowSchema

# A call blocks Redis for about 10 µs a row, so 64 rows stay well under a millisecond; measured, more rows a call
# gain little, and one row a call costs more than half as much again.
ROWS_PER_CALL = 64
CALL_BYTES = 1024 * 1024  # of arguments in a call; wide rows make shorter calls, so that none blocks Redis for long

SPECIAL = "[" + "".join(keyspace.ESCAPES) + "]"


class HashEncoder:
    """Encodes rows as fields of a hash, guarded by ``_ts`` and ``_created``."""

    def __init__(self, view: FeatureView, schema: RowSchema) -> None:
        self.script = scripts.source("write_hash")
        self._sha = hashlib.sha1(self.script.encode(), usedforsecurity=False).hexdigest()
        self._view = view
        self._schema = schema

    def calls(self, batch: pa.RecordBatch) -> Iterator[Buffers]:
        """The batch as calls of ``write_hash.lua``."""
        columns = iter(batch.columns)
        keys = [next(columns) for _ in self._schema.keys]
        event_timestamp = next(columns)
        created = next(columns) if self._schema.created_timestamp else None
        deleted = next(columns) if self._schema.deleted else None

        fields: list[tuple[str, pa.StringArray]] = [(keyspace.TIMESTAMP_FIELD, instants(event_timestamp))]
        if created is not None:
            fields.append((keyspace.CREATED_FIELD, instants(created)))
        for feature, column in zip(self._schema.features, columns, strict=True):
            present = texts(column)
            if deleted is not None:
                present = pc.if_else(deleted, None, present)
            fields.append((feature.name, present))

        values = 2 * np.sum([field.is_valid().to_numpy(zero_copy_only=False) for _, field in fields], axis=0)
        arguments: list[Piece] = []
        arguments += words(self._expiry(event_timestamp)) if self._view.ttl else [word("0")]
        arguments += words(deleted.cast(pa.uint8()).cast(pa.string())) if deleted is not None else [word("0")]
        arguments += words(pa.array(values).cast(pa.string()))
        for name, field in fields:
            arguments += _pair(name, field)

        encoded = joined(arguments)
        row_bytes = max(1, encoded.nbytes // max(1, len(encoded)))
        rows_per_call = max(1, min(ROWS_PER_CALL, CALL_BYTES // row_bytes))
        return script_calls(self._sha, self._key(keys), encoded, values + 3, rows_per_call)

    def _key(self, keys: list[pa.Array]) -> pa.StringArray:
        pieces: list[Piece] = [keyspace.entity_prefix(self._view)]
        for key in keys:
            pieces += [_escaped(texts(key)), keyspace.SEPARATOR]
        return joined(words(joined(pieces[:-1])))

    def _expiry(self, event_timestamp: pa.TimestampArray) -> pa.StringArray:
        """Milliseconds since the epoch at which each row expires, as text; at least 1, because 0 means never."""
        assert self._view.ttl is not None
        expiry = pc.add(event_timestamp, pa.scalar(self._view.ttl, pa.duration("us")))
        return pc.max_element_wise(pc.divide(expiry.cast(pa.int64()), 1000), 1).cast(pa.string())


def _pair(name: str, values: pa.StringArray) -> list[Piece]:
    """Field and value as words of a command; nothing where the value is NULL."""
    pair = [word(name), *words(values)]
    return [joined(pair).fill_null("")] if values.null_count else pair


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, SPECIAL)).as_py():
        return column
    for character, escaped in keyspace.ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
