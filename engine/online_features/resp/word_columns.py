"""Encode words of commands for many rows at once: an Arrow column holds a word, or a part of one, per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Piece: TypeAlias = "str | bytes | pa.Array | Lookup"

END = b"\r\n"


@dataclass(frozen=True)
class Lookup:
    """A column with few distinct texts.

    :param texts: each of them once; ``None`` is NULL.
    :param indices: which of them each row has.
    """

    texts: Sequence[bytes | None]
    indices: pa.Array

    def after(self, constant: bytes) -> pa.BinaryArray:
        """Return the column with a constant in front of every text."""
        return pa.array([None if text is None else constant + text for text in self.texts], pa.binary()).take(
            self.indices
        )


def words(column: pa.Array) -> list[Piece]:
    """Return the pieces of one word per row, of text or bytes."""
    return word_of([column])


def word_of(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces of one word per row, which these pieces make up."""
    lengths = reduce(pc.add, map(_lengths, pieces))
    return [_by_number(lengths, lambda length: b"$%d%b" % (length, END)), *pieces, END]


def by_length(column: pa.Array, text: Callable[[int], bytes | None]) -> Piece:
    """Return a piece that depends on the length of each text alone; NULL where the text is.

    :param text: for a length in bytes; ``None`` makes the piece NULL.
    """
    return _by_number(pc.binary_length(column), text)


def joined(pieces: Sequence[Piece]) -> pa.BinaryArray:
    """Join the pieces row by row; NULL where a piece is NULL. At least one piece is a column.

    The cost grows with the number of pieces, so constants are merged with each other and into lookups after them.
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


def _by_number(numbers: pa.Array, text: Callable[[int], bytes | None]) -> Piece:
    encoded = numbers.dictionary_encode()
    texts = [text(number) for number in encoded.dictionary.to_pylist()]
    if len(texts) == 1 and texts[0] is not None and not encoded.null_count:
        return texts[0]
    return Lookup(texts, encoded.indices)


def _lengths(piece: Piece) -> pa.Array | pa.Scalar:
    """Return the length of a piece in bytes, in each row."""
    if isinstance(piece, (str, bytes)):
        return pa.scalar(len(piece if isinstance(piece, bytes) else piece.encode()))
    if isinstance(piece, Lookup):
        return pa.array([None if text is None else len(text) for text in piece.texts]).take(piece.indices)
    return pc.binary_length(piece)
