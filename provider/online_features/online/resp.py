"""Redis commands as bytes, made a column at a time (RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Piece: TypeAlias = "str | pa.StringArray"
Buffers: TypeAlias = "list[bytes | memoryview]"

END = "\r\n"


def word(text: str) -> str:
    """One word of a command, the same in every row."""
    return f"${len(text.encode())}{END}{text}{END}"


def words(column: pa.StringArray) -> list[Piece]:
    """One word of a command per row."""
    return ["$", pc.binary_length(column).cast(pa.string()), END, column, END]


def joined(pieces: Sequence[Piece]) -> pa.StringArray:
    """The pieces one after the other, row by row; NULL where a piece is NULL. At least one piece is a column."""
    merged: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, str) and merged and isinstance(merged[-1], str):
            merged[-1] += piece
        else:
            merged.append(piece)
    return pc.binary_join_element_wise(*merged, "")


def script_calls(
    sha: str, keys: pa.StringArray, arguments: pa.StringArray, argument_words: np.ndarray, rows_per_call: int
) -> Iterator[Buffers]:
    """``EVALSHA`` calls over many rows each, as buffers to send one after the other.

    :param sha: of the script.
    :param keys: one word per row, ready for the wire.
    :param arguments: the words of each row, ready for the wire.
    :param argument_words: int64, how many words each of ``arguments`` holds.
    """
    key_offsets, key_bytes = _wire(keys)
    argument_offsets, argument_bytes = _wire(arguments)
    for start in range(0, len(keys), rows_per_call):
        stop = min(start + rows_per_call, len(keys))
        rows = stop - start
        length = 3 + rows + int(argument_words[start:stop].sum())
        yield [
            f"*{length}{END}{word('EVALSHA')}{word(sha)}{word(str(rows))}".encode(),
            key_bytes[key_offsets[start] : key_offsets[stop]],
            argument_bytes[argument_offsets[start] : argument_offsets[stop]],
        ]


def _wire(column: pa.StringArray) -> tuple[list[int], memoryview]:
    """Offsets and bytes of a column without NULLs; slices of the bytes are rows, not copied."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return bounds.tolist(), memoryview(data)
