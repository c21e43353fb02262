"""Bytes of Arrow columns as NumPy arrays, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def bytes_of(column: pa.Array) -> np.ndarray:
    """Return the bytes of all texts or byte strings of a column, one after the other, as uint8.

    :param column: without NULLs.
    """
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)
    start, end = bounds[column.offset], bounds[column.offset + len(column)]
    return np.frombuffer(data, dtype=np.uint8)[start:end] if end > start else np.empty(0, dtype=np.uint8)


def binary(data: np.ndarray, lengths: np.ndarray) -> pa.BinaryArray:
    """Return byte strings that stand in ``data`` one after the other.

    :param lengths: of each in bytes.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(lengths), buffers)
