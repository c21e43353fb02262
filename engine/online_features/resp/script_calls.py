"""Calls of scripts over many rows, as bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from online_features.resp.commands import Word, word

Buffers: TypeAlias = "list[bytes | memoryview]"

END = b"\r\n"


@dataclass(frozen=True)
class ScriptHead:
    """What all calls of a script have in common.

    :param sha: of the script's source, by which it is called.
    :param words: before those of the rows.
    """

    sha: str
    words: Sequence[Word]


def script_calls(
    head: ScriptHead,
    keys: pa.BinaryArray,
    arguments: pa.BinaryArray,
    argument_words: np.ndarray,
    spans: Iterable[tuple[int, int]],
) -> Iterator[Buffers]:
    """Make ``EVALSHA`` calls of many rows each, as buffers to send one after the other.

    :param keys: of the rows, ready for the wire.
    :param arguments: the words of each row, ready for the wire.
    :param argument_words: int64, how many words each of ``arguments`` holds.
    :param spans: the first row of each call, and the one after its last.
    """
    key_offsets, key_bytes = wire(keys)
    argument_offsets, argument_bytes = wire(arguments)
    name, own_words = word("EVALSHA") + word(head.sha), b"".join(map(word, head.words))
    for start, stop in spans:
        length = 3 + stop - start + len(head.words) + int(argument_words[start:stop].sum())
        yield [
            b"*%d%b%b%b" % (length, END, name, word(str(stop - start))),
            key_bytes[key_offsets[start] : key_offsets[stop]],
            own_words,
            argument_bytes[argument_offsets[start] : argument_offsets[stop]],
        ]


def spans(rows: int, size: int) -> Iterator[tuple[int, int]]:
    """Split rows into spans of ``size``: the first row of each, and the one after its last."""
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


def wire(column: pa.BinaryArray) -> tuple[list[int], memoryview]:
    """Return offsets and bytes of a column without NULLs; slices of the bytes are rows, not copied."""
    _, offsets, data = column.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return bounds.tolist(), memoryview(data)
