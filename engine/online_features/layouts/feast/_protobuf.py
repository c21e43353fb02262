"""Encodes Protocol Buffers a column at a time, with NumPy and Arrow instead of a loop over rows.

Source of the format: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types


def tag(number: int, wire_type: int) -> bytes:
    """Return what precedes a field: its number and wire type."""
    encoded: bytes = varints(np.array([number << 3 | wire_type]))[0].as_py()
    return encoded


def varints(values: np.ndarray) -> pa.BinaryArray:
    """Encode integers in groups of seven bits, the lowest first; negative ones as two's complement of 64 bits.

    :param values: integers of 64 bits.
    """
    rest = values.astype(np.int64).view(np.uint64)
    width = _varint_bytes(rest)
    longest = int(width.max(initial=1))
    groups = np.empty((len(rest), longest), dtype=np.uint8)
    for i in range(longest):
        groups[:, i] = (rest & 0x7F) | 0x80
        rest >>= np.uint64(7)
    groups[np.arange(len(width)), width - 1] &= 0x7F
    places = np.arange(longest) < width[:, None]
    return _binary(groups[places], np.concatenate(([0], np.cumsum(width))))


def fixed(values: np.ndarray) -> pa.BinaryArray:
    """Encode numbers in their own bytes, little-endian."""
    raw = np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<")))
    return _binary(raw.view(np.uint8), np.arange(len(raw) + 1) * raw.itemsize)


def length_first(values: pa.Array) -> list[pa.Array]:
    """Return pieces to join: the length of each text or byte string, then the string."""
    return [varints(pc.binary_length(values).to_numpy(zero_copy_only=False)), values]


def packed(elements: pa.BinaryArray, offsets: np.ndarray) -> pa.BinaryArray:
    """Join the elements of each list.

    :param elements: of all lists, without NULLs.
    :param offsets: where each list begins among them, and where the last one ends.
    """
    _, bounds, data = elements.buffers()
    starts = np.frombuffer(bounds, dtype=np.int32)[elements.offset : elements.offset + len(elements) + 1]
    return pa.Array.from_buffers(
        pa.binary(), len(offsets) - 1, [None, pa.py_buffer(np.ascontiguousarray(starts[offsets])), data]
    )


def _varint_bytes(values: np.ndarray) -> np.ndarray:
    width = np.ones(len(values), dtype=np.int64)
    for bits in range(7, 64, 7):
        longer = values >> np.uint64(bits) != 0
        if not longer.any():
            break
        width += longer
    return width


def _binary(data: np.ndarray, offsets: np.ndarray) -> pa.BinaryArray:
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, buffers)
