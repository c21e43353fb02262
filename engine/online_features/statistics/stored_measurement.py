"""The measurement of a part as one value of Redis, which the last task of the build merges with those of the others.

It is text, because a client of redis-py may decode all replies: a compressed JSON array. The sample is in it by column,
each with the name of its Arrow type; not as a stream of Arrow, whose buffers may be compressed without a bound.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode

import numpy as np
import pyarrow as pa

from online_features.errors import OnlineDataError
from online_features.schema import RowSchema
from online_features.statistics._row_sample import SAMPLE_ROWS
from online_features.statistics._value_numbers import count, number
from online_features.statistics.measurement import Measurement, MeasurementContent

MOST_BYTES = 64 * 1024 * 1024  # of a value, decompressed: more than any sample has

# Arrow types of prepared values by their names; times go as numbers of the type beside theirs.
PLAIN = {str(kind): kind for kind in (
    pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string(),
)}  # fmt: skip
TIMES = {
    str(pa.date32()): (pa.date32(), pa.int32()),
    str(pa.timestamp("us")): (pa.timestamp("us"), pa.int64()),
    str(pa.timestamp("us", "UTC")): (pa.timestamp("us", "UTC"), pa.int64()),
}

DAMAGE = (
    ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, zlib.error, pa.ArrowException,
)  # fmt: skip


def rows_of_part(parts: int) -> int:
    """Return how many rows of a part to keep in its sample: twice its share, since parts are not quite even."""
    return max(2 * SAMPLE_ROWS // parts, 1)


def encode(measurement: Measurement, *, rows: int) -> str:
    """Return the value to store.

    :param rows: how many rows the sample may have.
    :raises pyarrow.ArrowException: when a value was not of the type of its column.
    """
    content = measurement.content(rows)
    columns = [_packed(column) for column in content.columns]
    text = json.dumps([content.rows, content.numbers, content.bound, content.drawn.tolist(), columns])
    return b64encode(zlib.compress(text.encode())).decode()


def merge(measurement: Measurement, stored: str, schema: RowSchema, key: str) -> None:
    """Add a stored measurement to another one.

    :param schema: of the rows of both.
    :param key: at which it is stored, for messages.
    :raises OnlineDataError: when :func:`encode` has not written it for such rows.
    """
    try:
        measurement.merge(Measurement.of(schema, _content(stored)))
    except DAMAGE as error:
        raise OnlineDataError(
            f"{key!r} in Redis holds a damaged measurement ({type(error).__name__}: {error}) -> copy its part again"
        ) from error


def _content(stored: str) -> MeasurementContent:
    unpacking = zlib.decompressobj()
    text = unpacking.decompress(b64decode(stored, validate=True), MOST_BYTES)
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("it is cut off, or too long")
    rows, numbers, bound, drawn, columns = json.loads(text)
    read = [_column(*column) for column in columns]
    if any(len(column) != len(drawn) for column in read):
        raise ValueError("the columns of its sample differ in length")
    return MeasurementContent(
        rows=count(rows), numbers=numbers, bound=float(number(bound)), drawn=np.array(drawn, dtype=np.float64),
        columns=read,
    )  # fmt: skip


def _packed(column: pa.Array) -> tuple[str, list[object]]:
    """Return the name of a column's type, and its values as JSON has them."""
    kind = str(column.type)
    return kind, (column.cast(TIMES[kind][1]) if kind in TIMES else column).to_pylist()


def _column(kind: str, values: list[object]) -> pa.Array:
    """Return the column of which :func:`_packed` has returned this."""
    if kind in TIMES:
        own, number_type = TIMES[kind]
        return pa.array(values, number_type).cast(own)
    return pa.array(values, PLAIN[kind])
