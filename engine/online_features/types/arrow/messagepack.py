"""Arrow columns in the types in which MessagePack holds their values."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.schema import Column, Encoding
from online_features.types._text_codecs import UUID_BYTES, UuidCodec
from online_features.types.registry import codec_of

FIRST_DAY, FIRST_MICROSECOND = -719_162, -62_135_596_800_000_000  # the beginning of the year 1, from 1970 on

# Times that Python represents, as the source returns them; all others are text in MessagePack, too.
TIME_IN_PYTHON = r"^\d{4}-\d\d-\d\d(T[^ ]*)?$"

# Arrays in JSON that are of more than one dimension or have a NULL.
NOT_FLAT = r"^\[.*[\[u]"

ARROW_TIMES = {Encoding.DATE: pa.date32(), Encoding.TIMESTAMP: pa.timestamp("us"),
               Encoding.INSTANT: pa.timestamp("us", "UTC")}  # fmt: skip

# By the format of a number; Arrow reads no texts as halves.
ARROW_NUMBERS = {"h": pa.int16(), "i": pa.int32(), "q": pa.int64(), "e": pa.float32(), "f": pa.float32(),
                 "d": pa.float64()}  # fmt: skip

UUID_DIGITS = np.array([i for i in range(36) if i not in {8, 13, 18, 23}])
NO_UUID = "00000000-0000-0000-0000-000000000000"
HEXADECIMAL = np.zeros(256, dtype=np.uint8)
HEXADECIMAL[list(b"0123456789abcdef")] = range(16)
BASE64 = np.zeros(256, dtype=np.uint8)
BASE64[list(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")] = range(64)


def as_msgpack(feature: Column, column: pa.Array) -> tuple[pa.Array, pa.StringArray | None]:
    """Return the values in the type in which MessagePack holds them, and those that it holds as text.

    Times become integers, UUIDs and base64 become bytes, JSON of flat arrays of numbers becomes lists of numbers.

    :param column: values in their Arrow type, or the texts that Postgres has already made of them.
    :return: of each row, either one or the other is NULL, or both where the value is; ``None`` for no texts.
    """
    if kinds.is_date(column.type) or kinds.is_timestamp(column.type):
        return _since_year_1(column), None
    if not kinds.is_string(column.type):
        return column, None
    if feature.encoding in ARROW_TIMES:
        times, others = times_of_texts(feature, column)
        return _since_year_1(times), others
    if feature.encoding == Encoding.BASE64:
        return _base64_decoded(column), None
    codec = codec_of(feature)
    if isinstance(codec, UuidCodec):
        return _uuids(column), None
    if codec.array_format is not None:
        return _number_lists(column, ARROW_NUMBERS[codec.array_format])
    return column, None


def binary(data: np.ndarray, lengths: np.ndarray) -> pa.BinaryArray:
    """Return byte strings that stand in ``data`` one after the other.

    :param lengths: of each in bytes.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)


def _since_year_1(column: pa.Array) -> pa.Array:
    """Return days or microseconds since the beginning of the year 1."""
    if kinds.is_date(column.type):
        return pc.subtract(column.cast(pa.int32()), pa.scalar(FIRST_DAY, pa.int32()))
    return pc.subtract(column.cast(pa.int64()), FIRST_MICROSECOND)


def times_of_texts(feature: Column, column: pa.StringArray) -> tuple[pa.Array, pa.StringArray | None]:
    """Return dates or timestamps, and the texts of those that Python does not represent.

    :param column: the texts that Postgres has made of them.
    :return: of each row, either one or the other is NULL, or both where the value is; ``None`` for no texts.
    """
    kind = ARROW_TIMES[feature.encoding]
    try:
        return column.cast(kind), None
    except pa.ArrowInvalid:
        is_in_python = pc.match_substring_regex(column, TIME_IN_PYTHON)
        return _where(is_in_python, column).cast(kind), _where(pc.invert(is_in_python), column)


def _where(condition: pa.BooleanArray, column: pa.Array) -> pa.Array:
    """Return the values for which the condition holds; NULL in place of the others."""
    # Not if_else: before Arrow 24 it returns wrong bytes for a sliced column.
    is_other = pc.invert(condition).fill_null(fill_value=True)
    return pc.replace_with_mask(column, is_other, pa.scalar(None, column.type))


def _uuids(column: pa.StringArray) -> pa.BinaryArray:
    characters = _bytes_of(column.fill_null(NO_UUID)).reshape(-1, len(NO_UUID))
    digits = HEXADECIMAL[characters[:, UUID_DIGITS]]
    data = digits[:, ::2] << 4 | digits[:, 1::2]
    return _where(column.is_valid(), binary(data, np.full(len(column), UUID_BYTES)))


def _base64_decoded(column: pa.StringArray) -> pa.BinaryArray:
    texts = column.fill_null("")
    characters = _bytes_of(texts).reshape(-1, 4)
    first, second, third, fourth = BASE64[characters].T
    data = np.stack([first << 2 | second >> 4, second << 4 | third >> 2, third << 6 | fourth], axis=1)
    is_data = np.ones(data.shape, dtype=bool)
    is_data[:, 1:] = characters[:, 2:] != ord("=")
    padding = pc.count_substring(texts, "=").to_numpy()
    lengths = pc.binary_length(texts).to_numpy() // 4 * 3 - padding
    return _where(column.is_valid(), binary(data[is_data], lengths))


def _number_lists(column: pa.StringArray, number: pa.DataType) -> tuple[pa.ListArray, pa.StringArray | None]:
    if not pc.any(pc.starts_with(column, "[[")).as_py():
        with suppress(pa.ArrowInvalid):  # raised by a NULL among the numbers
            return _flat_lists(column, number), None
    is_flat = pc.invert(pc.match_substring_regex(column, NOT_FLAT))
    return _flat_lists(_where(is_flat, column), number), _where(pc.invert(is_flat), column)


def _flat_lists(column: pa.StringArray, number: pa.DataType) -> pa.ListArray:
    present = column.fill_null("[]")
    items = pc.split_pattern(pc.replace_substring(pc.ascii_trim(present, "[]"), '"', ""), ",")
    # An empty array is split into one empty text.
    counts = pc.if_else(pc.equal(present, "[]"), 0, pc.list_value_length(items)).to_numpy()
    texts = items.flatten()
    numbers = texts.filter(pc.not_equal(texts, "")).cast(number)
    offsets = np.concatenate(([0], np.cumsum(counts, dtype=np.int32)), dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, numbers, mask=column.is_null())


def _bytes_of(column: pa.Array) -> np.ndarray:
    """Return the bytes of all texts or byte strings of a column, one after the other, as uint8.

    :param column: without NULLs.
    """
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)
    start, end = bounds[column.offset], bounds[column.offset + len(column)]
    return np.frombuffer(data, dtype=np.uint8)[start:end] if end > start else np.empty(0, dtype=np.uint8)
