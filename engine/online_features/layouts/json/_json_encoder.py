"""Rows as JSON objects: one per entity, with every feature; NULL is ``null``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts import keyspace
from online_features.layouts.encoder import Columns, Encoder
from online_features.resp.word_columns import Piece, joined, words
from online_features.schema import Column, Encoding
from online_features.types.arrow.texts import instants, texts
from online_features.types.registry import codec_of

MUST_BE_ESCAPED = r'["\\\x00-\x1f]'  # in a JSON string, RFC 8259
ESCAPES = {"\\": r"\\", '"': r"\"", **{chr(code): f"\\u{code:04x}" for code in range(0x20)}}


class JsonEncoder(Encoder):
    """Encodes rows as JSON objects that begin with ``_ts``, ``_flags`` and, where there is one, ``_created``."""

    def _row(self, columns: Columns) -> tuple[list[Piece], np.ndarray]:
        objects = self._objects(columns)
        return words(objects), np.ones(len(objects), dtype=np.int64)

    def _replies(self, columns: Columns) -> Sequence[bytes]:
        objects: list[bytes] = self._objects(columns).to_pylist()
        return objects

    def _objects(self, columns: Columns) -> pa.BinaryArray:
        flags = keyspace.PUSHED if self._is_pushed else 0
        head = f'{{"{keyspace.TIMESTAMP_FIELD}":"'
        pieces: list[Piece] = [head, instants(columns.event_timestamp), f'","{keyspace.FLAGS_FIELD}":{flags}']
        if columns.created_timestamp is not None:
            created = joined([f',"{keyspace.CREATED_FIELD}":"', instants(columns.created_timestamp), '"'])
            pieces.append(created.fill_null(b""))
        for feature, column in zip(self._schema.features, columns.features, strict=True):
            pieces += [f",{json.dumps(feature.name, ensure_ascii=False)}:", *_value(feature, column)]
        return joined([*pieces, "}"])


def _value(feature: Column, column: pa.Array) -> list[Piece]:
    values = texts(column)
    if codec_of(feature).is_json:
        pieces: list[Piece] = [values]
    elif feature.encoding == Encoding.FLOAT:
        pieces = [pc.if_else(pc.is_finite(column), joined([values]), joined(['"', values, '"']))]
    else:
        pieces = ['"', _escaped(values), '"']
    return [joined(pieces).fill_null(b"null")] if values.null_count else pieces


def _escaped(column: pa.StringArray) -> pa.StringArray:
    if not pc.any(pc.match_substring_regex(column, MUST_BE_ESCAPED)).as_py():
        return column
    for character, escaped in ESCAPES.items():
        column = pc.replace_substring(column, character, escaped)
    return column
