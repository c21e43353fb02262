"""The measurement of a part as one value of Redis, which the last task of the build merges with those of the others.

It is text, because a client of redis-py may decode all replies: a JSON array, with the sample as a stream of Arrow
(https://arrow.apache.org/docs/format/Columnar.html#ipc-streaming-format), compressed.
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

MOST_BYTES = 256 * 1024 * 1024  # of a value, decompressed: more than any sample has

DAMAGE = (
    ValueError, TypeError, KeyError, AttributeError, OSError, OverflowError, RecursionError, zlib.error,
    pa.ArrowException,
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
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([pa.array(content.drawn, pa.float64()), *content.columns],
                            [str(place) for place in range(1 + len(content.columns))])  # fmt: skip
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    sample = b64encode(sink.getvalue()).decode()
    packed = json.dumps([content.rows, content.numbers, content.bound, sample], separators=(",", ":"))
    return b64encode(zlib.compress(packed.encode())).decode()


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
    packed = unpacking.decompress(b64decode(stored, validate=True), MOST_BYTES)
    if not unpacking.eof:
        raise ValueError("it is cut off, or too long")
    rows, numbers, bound, sample = json.loads(packed)
    with pa.ipc.open_stream(b64decode(sample, validate=True)) as stream:
        batch = stream.read_next_batch()
    batch.validate(full=True)
    drawn, *columns = batch.columns
    return MeasurementContent(
        rows=count(rows), numbers=numbers, bound=float(number(bound)), drawn=np.array(drawn.cast(pa.float64())),
        columns=columns if len(drawn) else [],
    )  # fmt: skip
