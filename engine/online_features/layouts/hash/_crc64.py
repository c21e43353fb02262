"""CRC-64 of many byte strings at once: the checksum in payloads of ``RESTORE``.

Polynomial 0xad93d23594c935a9 (Jones), reflected, initially zero: https://github.com/redis/redis/blob/7.0/src/crc64.c
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

REFLECTED_POLYNOMIAL = np.uint64(0x95AC9329AC4BC9B5)
WORD = 8  # bytes processed at once


def _tables() -> list[np.ndarray]:
    """Return, for each byte of a word from the last one on, the checksum that each of its 256 values adds."""
    one, byte = np.uint64(1), np.uint64(8)
    table = np.arange(256, dtype=np.uint64)
    for _ in range(8):
        table = np.where(table & one, (table >> one) ^ REFLECTED_POLYNOMIAL, table >> one)
    tables = [table]
    for _ in range(WORD - 1):
        tables.append(table[tables[-1].astype(np.uint8)] ^ (tables[-1] >> byte))
    return tables


TABLES = _tables()


def crc64(strings: pa.BinaryArray) -> np.ndarray:
    """Return the checksum of each string (uint64).

    All strings are processed together, a word at a time ("slicing by 8"), and end together: zeros in front of a string
    do not change a checksum that begins with zero, so shorter strings join later.

    :param strings: without NULLs.
    """
    _, offsets, data = strings.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32)[strings.offset : strings.offset + len(strings) + 1]
    order = np.argsort(np.diff(bounds), kind="stable")
    lengths, ends = np.diff(bounds)[order], bounds[1:][order]
    # Zeros before the first string, where its first word may begin.
    padded = np.concatenate([np.zeros(WORD, np.uint8), np.frombuffer(data or b"", dtype=np.uint8)])
    word_ending_at = np.ndarray((len(padded) - WORD + 1,), dtype="<u8", buffer=padded, strides=(1,))

    checksums = np.zeros(len(strings), dtype=np.uint64)
    words = -(-int(lengths.max(initial=0)) // WORD)
    for left in range(words, 0, -1):
        joined, whole = np.searchsorted(lengths, [WORD * (left - 1) + 1, WORD * left])
        next_words = word_ending_at[ends[joined:] - WORD * (left - 1)]
        foreign_bits = (8 * (WORD * left - lengths[joined:whole])).astype(np.uint64)
        next_words[: whole - joined] = next_words[: whole - joined] >> foreign_bits << foreign_bits
        checksums[joined:] = _advanced(checksums[joined:] ^ next_words)
    in_order = np.empty_like(checksums)
    in_order[order] = checksums
    return in_order


def _advanced(words: np.ndarray) -> np.ndarray:
    by_byte = words.astype("<u8", copy=False).view(np.uint8).reshape(-1, WORD)
    advanced: np.ndarray = TABLES[WORD - 1].take(by_byte[:, 0])
    for i in range(1, WORD):
        advanced ^= TABLES[WORD - 1 - i].take(by_byte[:, i])
    return advanced
