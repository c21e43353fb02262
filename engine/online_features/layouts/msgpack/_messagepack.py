"""Encodes MessagePack a column at a time, with NumPy and Arrow instead of a loop over rows.

Source of the format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.resp.word_columns import Piece, by_length, joined
from online_features.types.arrow.messagepack import binary
from online_features.types.number_arrays import EXTENSION_TYPES
from online_features.types.shortest import all_shortest

NIL, FALSE, FLOAT32, FLOAT64, UINT64, ARRAY16 = 0xC0, 0xC2, 0xCA, 0xCB, 0xCF, 0xDC

# Classes of integers: each begins at a bound, has a head (a small integer is its own) and a body of so many bytes.
BOUNDS = (-(2**31), -(2**15), -(2**7), -(2**5), 2**7, 2**8, 2**16, 2**32)
SMALL = 4
HEADS = np.array([0xD3, 0xD2, 0xD1, 0xD0, 0, 0xCC, 0xCD, 0xCE, 0xCF], dtype=np.uint8)
SIZES = np.array([8, 4, 2, 1, 0, 1, 2, 4, 8], dtype=np.uint8)

BODY_SIZES = (1, 2, 4, 8)

# Heads of strings by the greatest length that they tell: in their last bits, or in so many bytes.
FIXED_STRING, FIXED_LENGTH = 0xA0, 31
STRING, BYTES, EXTENSION = (0xD9, 0xDA, 0xDB), (0xC4, 0xC5, 0xC6), (0xC7, 0xC8, 0xC9)


class Cells(NamedTuple):
    """One value of each row: a byte, its head, and the last bytes of a number, its body.

    :param heads: uint8.
    :param bodies: 64 bits.
    :param sizes: uint8, of the bodies: 0 or one of :data:`BODY_SIZES`.
    """

    heads: np.ndarray
    bodies: np.ndarray
    sizes: np.ndarray


def cells(column: pa.Array) -> Cells:
    """Encode booleans, integers or floats."""
    present = column.fill_null(pa.scalar(0).cast(column.type)) if column.null_count else column
    values = present.to_numpy(zero_copy_only=False)
    encoded = _boolean_cells(values) if kinds.is_boolean(column.type) else _number_cells(values)
    if not column.null_count:
        return encoded
    is_null = column.is_null().to_numpy(zero_copy_only=False)
    heads = np.where(is_null, np.uint8(NIL), encoded.heads)
    return Cells(heads, encoded.bodies, np.where(is_null, np.uint8(0), encoded.sizes))


def wide_integers(values: np.ndarray) -> Cells:
    """Encode integers of at least 0 in 64 bits, however small they are."""
    return Cells(np.full(len(values), UINT64, np.uint8), values, np.full(len(values), 8, np.uint8))


def array_heads(lengths: np.ndarray) -> Cells:
    """Encode the beginning of arrays of so many items, in 16 bits however few they are."""
    return Cells(np.full(len(lengths), ARRAY16, np.uint8), lengths, np.full(len(lengths), 2, np.uint8))


def small_integers(values: np.ndarray) -> Cells:
    """Encode integers of 0 to 127, which are uint8."""
    return Cells(values, values, np.zeros(len(values), np.uint8))


def values(column: pa.Array, number_format: str | None) -> list[Piece]:
    """Encode values of any type that MessagePack holds; NULL as nil.

    :param number_format: of numbers in lists, a key of :data:`EXTENSION_TYPES`.
    """
    if is_small(column.type):
        return joined_cells([cells(column)])
    if kinds.is_list(column.type):
        assert number_format is not None
        encoded = _number_arrays(column, number_format)
    else:
        encoded = strings(column)
    if not column.null_count:
        return encoded
    return [pc.replace_with_mask(joined(encoded), column.is_null(), pa.scalar(bytes([NIL])))]


def strings(column: pa.Array) -> list[Piece]:
    """Encode texts as strings, and bytes as bytes; NULL stays NULL."""
    if kinds.is_string(column.type):
        return [by_length(column, _string_head), column]
    return [by_length(column, lambda length: _head(BYTES, length)), column]


def is_small(kind: pa.DataType) -> bool:
    """Return whether values of the type are cells."""
    return bool(kinds.is_boolean(kind) or kinds.is_integer(kind) or kinds.is_floating(kind))


def joined_cells(columns: Sequence[Cells]) -> list[Piece]:
    """Join the cells of each row into one piece; return no piece if ``columns`` is empty."""
    if not columns:
        return []
    lengths = np.full(len(columns[0].heads), len(columns), dtype=np.int64)
    for cell in columns:
        lengths += cell.sizes
    ends = np.cumsum(lengths)
    data = np.empty(int(lengths.sum()) + max(BODY_SIZES), dtype=np.uint8)
    # At every byte of the data, aligned or not, the number that begins there.
    numbers = {size: np.ndarray(len(data) - size + 1, f">u{size}", data, strides=(1,)) for size in BODY_SIZES}
    places = ends - lengths
    for heads, bodies, sizes in columns:
        data[places] = heads
        places += 1
        counts = np.bincount(sizes, minlength=max(BODY_SIZES) + 1)
        for size in BODY_SIZES:
            if counts[size] == len(sizes):
                numbers[size][places] = bodies
            elif counts[size]:
                rows = np.flatnonzero(sizes == size)
                numbers[size][places[rows]] = bodies[rows]
        places += sizes
    return [binary(data, lengths)]


def _number_arrays(column: pa.ListArray, number_format: str) -> list[Piece]:
    """Encode lists of numbers as extension values; NULL as an empty one."""
    number = np.dtype(number_format).newbyteorder("<")
    numbers = column.flatten().to_numpy(zero_copy_only=False).astype(number, copy=False)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False) * number.itemsize
    payloads = binary(numbers.view(np.uint8), lengths)
    extension_type = EXTENSION_TYPES[number_format].to_bytes()
    return [by_length(payloads, lambda length: _head(EXTENSION, length) + extension_type), payloads]


def _boolean_cells(values: np.ndarray) -> Cells:
    return small_integers(values.astype(np.uint8) + np.uint8(FALSE))


def _number_cells(values: np.ndarray) -> Cells:
    if values.dtype == np.float32:
        return _float_cells(all_shortest(values))
    return _float_cells(values) if values.dtype == np.float64 else _integer_cells(values.astype(np.int64))


def _integer_cells(values: np.ndarray) -> Cells:
    """Encode integers in the smallest form that holds each."""
    least, greatest = values.min(initial=0), values.max(initial=0)
    classes = np.full(len(values), np.searchsorted(BOUNDS, least, side="right"), dtype=np.uint8)
    for bound in BOUNDS:
        if least < bound <= greatest:
            classes += values >= bound
    heads = np.where(classes == SMALL, values.astype(np.uint8), HEADS[classes])
    return Cells(heads, values, SIZES[classes])


def _float_cells(values: np.ndarray) -> Cells:
    """Encode floats in 32 bits where these give back exactly the same, else in 64; every NaN alike."""
    with np.errstate(over="ignore", invalid="ignore"):
        singles = values.astype(np.float32)
    is_nan = np.isnan(values)
    singles[is_nan] = np.nan
    is_single = (singles == values) | is_nan
    return Cells(
        np.where(is_single, np.uint8(FLOAT32), np.uint8(FLOAT64)),
        np.where(is_single, singles.view(np.uint32), values.view(np.uint64)),
        np.where(is_single, np.uint8(4), np.uint8(8)),
    )


def _string_head(length: int) -> bytes:
    return bytes([FIXED_STRING | length]) if length <= FIXED_LENGTH else _head(STRING, length)


def _head(heads: Sequence[int], length: int) -> bytes:
    """Return one of the heads, and the length in 1, 2 or 4 bytes."""
    width = 1 if length < 1 << 8 else 2 if length < 1 << 16 else 4
    return bytes([heads[width >> 1]]) + length.to_bytes(width)
