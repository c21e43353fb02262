"""Redis commands as bytes, made a column at a time (RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Piece: TypeAlias = "str | bytes | pa.Array"
Buffers: TypeAlias = "list[bytes | memoryview]"

END = b"\r\n"


@dataclass(frozen=True)
class ScriptHead:
    """What all calls of a script have in common.

    :param words: before those of the rows.
    :param keys: after those of the rows.
    """

    sha: str
    words: Sequence[str | bytes]
    keys: Sequence[str] = ()


def word(value: str | bytes) -> bytes:
    """One word of a command, the same in every row."""
    encoded = value.encode() if isinstance(value, str) else value
    return b"$%d%b%b%b" % (len(encoded), END, encoded, END)


def words(column: pa.Array) -> list[Piece]:
    """One word of a command per row, of text or bytes."""
    return ["$", pc.binary_length(column).cast(pa.string()), END, column, END]


def joined(pieces: Sequence[Piece]) -> pa.BinaryArray:
    """The pieces one after the other, row by row; NULL where a piece is NULL. At least one piece is a column."""
    merged: list[bytes | pa.Array] = []
    for piece in pieces:
        if isinstance(piece, pa.Array):
            merged.append(piece.cast(pa.binary()))
        else:
            constant = piece.encode() if isinstance(piece, str) else piece
            if merged and isinstance(merged[-1], bytes):
                merged[-1] += constant
            else:
                merged.append(constant)
    return pc.binary_join_element_wise(*merged, b"")


def script_calls(
    script: ScriptHead, keys: pa.BinaryArray, arguments: pa.BinaryArray, argument_words: np.ndarray, rows_per_call: int
) -> Iterator[Buffers]:
    """``EVALSHA`` calls over many rows each, as buffers to send one after the other.

    :param keys: one word per row, ready for the wire.
    :param arguments: the words of each row, ready for the wire.
    :param argument_words: int64, how many words each of ``arguments`` holds.
    """
    key_offsets, key_bytes = _wire(keys)
    argument_offsets, argument_bytes = _wire(arguments)
    head, own_words = word("EVALSHA") + word(script.sha), b"".join(map(word, (*script.keys, *script.words)))
    for start in range(0, len(keys), rows_per_call):
        stop = min(start + rows_per_call, len(keys))
        rows = stop - start
        length = 3 + rows + len(script.keys) + len(script.words) + int(argument_words[start:stop].sum())
        yield [
            b"*%d%b%b%b" % (length, END, head, word(str(rows + len(script.keys)))),
            key_bytes[key_offsets[start] : key_offsets[stop]],
            own_words,
            argument_bytes[argument_offsets[start] : argument_offsets[stop]],
        ]


def _wire(column: pa.BinaryArray) -> tuple[list[int], memoryview]:
    """Offsets and bytes of a column without NULLs; slices of the bytes are rows, not copied."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return bounds.tolist(), memoryview(data)
