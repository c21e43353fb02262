"""Encode hashes as Redis stores small ones, so that ``RESTORE`` of one word replaces ``HSET`` of many.

For a guarded row, Redis spends most of its time on reading the words, passing them to Lua and back, and looking for
each field among those that are there already. A packed row is one word, which Redis copies.

The hash has an envelope, as ``DUMP`` makes it: https://github.com/redis/redis/blob/7.0/src/cluster.c
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts.hash._crc64 import crc64
from online_features.resp.word_columns import Piece, by_length, joined

# Longer strings have other forms, which rows worth packing do not need.
MAX_BYTES = 250
SHORT = 63  # bytes: up to here, kind and length of a string are one byte

# The type of the value, and the length of the rest: a byte that says "32 bits", then the number.
ENVELOPE = np.dtype([("type", "u1"), ("form", "u1"), ("length", ">u4")])
LENGTH_OF_32_BITS = 0x80
END = b"\xff"
PAST = 1  # milliseconds since the epoch


class Packing(ABC):
    """A format of small hashes: strings one after the other, a field's name and its value in turn.

    The bytes before and after a string depend on its length alone.
    """

    value_type: int  # in RDB files
    rdb_version: int

    def packed(self, fields: Sequence[tuple[str, pa.Array]]) -> pa.BinaryArray:
        """Return each row as the word for ``RESTORE``; NULL if a name or a value is longer than :data:`MAX_BYTES`.

        :param fields: names, and texts or bytes. A row has no field for a NULL; the last field is in every row.
        """
        strings = self._strings(fields)
        present = np.sum([values.is_valid().to_numpy(zero_copy_only=False) for _, values in fields], axis=0)
        head = self.head(_lengths(strings), 2 * present, _lengths(fields[-1][1]))
        envelope = np.empty(len(strings), dtype=ENVELOPE)
        envelope["type"], envelope["form"] = self.value_type, LENGTH_OF_32_BITS
        envelope["length"] = head.itemsize + _lengths(strings) + len(END)
        dumped = joined([_raw(envelope), _raw(head), strings, END + self.rdb_version.to_bytes(2, "little")])
        return joined([dumped, _raw(crc64(dumped.fill_null(b"")).astype("<u8", copy=False))])

    @abstractmethod
    def before(self, length: int) -> bytes:
        """Return the bytes before a string of this length: its kind and length."""

    @abstractmethod
    def after(self, length: int) -> bytes:
        """Return the bytes after it: its size, for reading backwards."""

    @abstractmethod
    def head(self, length: np.ndarray, strings: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the bytes before all strings, as structured records.

        :param length: of all strings together.
        :param strings: how many they are.
        :param last: length of the last one.
        """

    def _strings(self, fields: Sequence[tuple[str, pa.Array]]) -> pa.BinaryArray:
        return joined([piece for name, values in fields for piece in self._field(name, values)])

    def _field(self, name: str, values: pa.Array) -> list[Piece]:
        encoded = name.encode()
        if len(encoded) > MAX_BYTES:
            return [pa.nulls(len(values), pa.binary())]
        pieces: list[Piece] = [
            self.before(len(encoded)) + encoded + self.after(len(encoded)),
            by_length(values, lambda length: self.before(length) if length <= MAX_BYTES else None),
            values,
            by_length(values, lambda length: self.after(length) if length <= MAX_BYTES else None),
        ]
        # A NULL has no bytes, but a value that is too long makes the whole row NULL.
        return [pc.if_else(values.is_valid(), joined(pieces), b"")] if values.null_count else pieces


class Listpack(Packing):
    """Accepted by Redis 7.0 and later (https://github.com/redis/redis/blob/7.0/src/listpack.c)."""

    value_type = 16
    rdb_version = 10

    def before(self, length: int) -> bytes:
        """Return kind and length."""
        return bytes([0x80 | length]) if length <= SHORT else bytes([0xE0 | length >> 8, length & 0xFF])

    def after(self, length: int) -> bytes:
        """Return the size in groups of seven bits, the highest first."""
        size = len(self.before(length)) + length
        return bytes([size]) if size < 1 << 7 else bytes([size >> 7, size & 0x7F | 0x80])

    def head(self, length: np.ndarray, strings: np.ndarray, last: np.ndarray) -> np.ndarray:  # noqa: ARG002
        """Return the size of all, and how many strings there are."""
        head = np.empty(len(length), dtype=[("size", "<u4"), ("strings", "<u2")])
        head["size"], head["strings"] = head.itemsize + length + len(END), strings
        return head


class Ziplist(Packing):
    """Accepted by Redis 6.2 (https://github.com/redis/redis/blob/6.2/src/ziplist.c).

    Redis 7 accepts it, too, but converts it to a listpack field by field, which costs as much as packing saves.
    """

    value_type = 13
    rdb_version = 6

    def before(self, length: int) -> bytes:
        """Return kind and length."""
        return bytes([length]) if length <= SHORT else bytes([0x40 | length >> 8, length & 0xFF])

    def after(self, length: int) -> bytes:
        """Return the size, including that of the size in front of it; it is a part of the next string."""
        return bytes([1 + len(self.before(length)) + length])

    def head(self, length: np.ndarray, strings: np.ndarray, last: np.ndarray) -> np.ndarray:
        """Return the size of all, the start of the last string, how many there are, and the size before the first."""
        head = np.empty(len(length), dtype=[("size", "<u4"), ("last", "<u4"), ("strings", "<u2"), ("before", "u1")])
        head["size"], head["strings"], head["before"] = head.itemsize + length + len(END), strings, 0
        head["last"] = head.itemsize + length - last - np.where(last > SHORT, 3, 2)
        return head

    def _strings(self, fields: Sequence[tuple[str, pa.Array]]) -> pa.BinaryArray:
        *pieces, _ = [piece for name, values in fields for piece in self._field(name, values)]
        return joined(pieces)


PACKINGS = (Listpack(), Ziplist())


def packing(reply: Callable[..., Any], key: str) -> Packing | None:
    """Return the packing that the server accepts; ``None`` if it accepts none, or the user may not ``RESTORE``.

    :param reply: sends the words of a command to Redis, and returns its reply, which may be an error.
    :param key: one that is not in use.
    """
    for tried in PACKINGS:
        (sample,) = tried.packed([("field", pa.array(["value"]))]).to_pylist()
        # The server validates a value that has already expired, but does not store it.
        if not isinstance(reply("RESTORE", key, PAST, sample, "ABSTTL"), Exception):
            return tried
    return None


def _lengths(column: pa.Array) -> np.ndarray:
    lengths: np.ndarray = pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    return lengths


def _raw(records: np.ndarray) -> pa.Array:
    """Return the bytes of each record, as they are in memory."""
    return pa.Array.from_buffers(pa.binary(records.itemsize), len(records), [None, pa.py_buffer(records)])
