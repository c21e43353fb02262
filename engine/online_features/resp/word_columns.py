"""Redis commands as bytes, made a column at a time (RESP, https://redis.io/docs/latest/develop/reference/protocol-spec/)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.resp.commands import word

Piece: TypeAlias = "str | bytes | pa.Array | Lookup"
Buffers: TypeAlias = "list[bytes | memoryview]"

END = b"\r\n"


@dataclass(frozen=True)
class ScriptHead:
    """What all calls of a script have in common.

    :param words: before those of the rows.
    :param keys: after those of the rows.
    :param keys_per_row: how many keys each row has.
    """

    sha: str
    words: Sequence[str | bytes]
    keys: Sequence[str] = ()
    keys_per_row: int = 1


@dataclass(frozen=True)
class Lookup:
    """A column of few different texts.

    :param texts: each of them; ``None`` is NULL.
    :param indices: which of them each row has.
    """

    texts: Sequence[bytes | None]
    indices: pa.Array

    def after(self, constant: bytes) -> pa.BinaryArray:
        """The column with a constant in front of every text."""
        return pa.array([None if text is None else constant + text for text in self.texts], pa.binary()).take(
            self.indices
        )


def words(column: pa.Array) -> list[Piece]:
    """One word of a command per row, of text or bytes."""
    return [by_length(column, lambda length: b"$%d%b" % (length, END)), column, END]


def by_length(column: pa.Array, text: Callable[[int], bytes | None]) -> Piece:
    """A piece that depends on the length of each text alone; NULL where that is.

    :param text: for a length in bytes; ``None`` makes the piece NULL.
    """
    lengths = pc.binary_length(column).dictionary_encode()
    texts = [text(length) for length in lengths.dictionary.to_pylist()]
    if len(texts) == 1 and texts[0] is not None and not lengths.null_count:
        return texts[0]
    return Lookup(texts, lengths.indices)


def joined(pieces: Sequence[Piece]) -> pa.BinaryArray:
    """The pieces one after the other, row by row; NULL where a piece is NULL. At least one piece is a column.

    What is joined costs by the number of pieces, so constants are merged with each other and into lookups after them.
    """
    merged: list[bytes | pa.Array] = []
    for piece in pieces:
        before = merged.pop() if merged and isinstance(merged[-1], bytes) else b""
        if isinstance(piece, (str, bytes)):
            merged.append(before + (piece.encode() if isinstance(piece, str) else piece))
        elif isinstance(piece, Lookup):
            merged.append(piece.after(before))
        else:
            merged += [before, piece.cast(pa.binary())] if before else [piece.cast(pa.binary())]
    return pc.binary_join_element_wise(*merged, b"")


def script_calls(
    script: ScriptHead,
    keys: pa.BinaryArray,
    arguments: pa.BinaryArray,
    argument_words: np.ndarray,
    spans: Iterable[tuple[int, int]],
) -> Iterator[Buffers]:
    """``EVALSHA`` calls over many rows each, as buffers to send one after the other.

    :param keys: the keys of each row, ready for the wire.
    :param arguments: the words of each row, ready for the wire.
    :param argument_words: int64, how many words each of ``arguments`` holds.
    :param spans: the first row of each call, and the one after its last.
    """
    key_offsets, key_bytes = _wire(keys)
    argument_offsets, argument_bytes = _wire(arguments)
    head, own_words = word("EVALSHA") + word(script.sha), b"".join(map(word, (*script.keys, *script.words)))
    for start, stop in spans:
        named = (stop - start) * script.keys_per_row + len(script.keys)
        length = 3 + named + len(script.words) + int(argument_words[start:stop].sum())
        yield [
            b"*%d%b%b%b" % (length, END, head, word(str(named))),
            key_bytes[key_offsets[start] : key_offsets[stop]],
            own_words,
            argument_bytes[argument_offsets[start] : argument_offsets[stop]],
        ]


def longest_word(call: Buffers) -> int:
    """The length in bytes of the longest word of a call."""
    wire = b"".join(call)
    at = wire.index(END) + len(END)  # behind the number of words
    longest = 0
    while at < len(wire):
        end = wire.index(END, at)
        length = int(wire[at + 1 : end])
        longest = max(longest, length)
        at = end + length + 2 * len(END)
    return longest


def spans(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """The first of every ``size`` rows, and the one after their last."""
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def _wire(column: pa.BinaryArray) -> tuple[list[int], memoryview]:
    """Offsets and bytes of a column without NULLs; slices of the bytes are rows, not copied."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return bounds.tolist(), memoryview(data)
