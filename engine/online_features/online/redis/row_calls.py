"""Encoded rows as calls of a row script: in their order for one server, or by slot for a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from redis.crc import key_slot

from online_features.layouts.encoder import EncodedRows
from online_features.online.redis.scripts import Script
from online_features.resp.commands import Word
from online_features.resp.script_calls import Buffers, ScriptHead, script_calls, spans
from online_features.resp.word_columns import joined, words

# A call blocks Redis for about 10 µs a row, so 64 rows stay well under a millisecond; measured, more rows a call
# gain little, and one row a call costs more than half as much again.
ROWS_PER_CALL = 64
CALL_BYTES = 1024 * 1024  # of arguments in a call; wide rows make shorter calls, so that none blocks Redis for long


class PackedCall(NamedTuple):
    """A call that is ready for the wire.

    :param buffers: to be sent one after the other.
    :param script: that is called; ``None`` for a plain command.
    :param slot: of the call's keys, in a cluster.
    """

    buffers: Buffers
    script: Script | None = None
    slot: int = 0


def calls_in_order(script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
    """Make calls of the rows in their order.

    :param own_words: before those of the rows.
    """
    head = ScriptHead(script.sha, own_words)
    of_calls = spans(len(rows.keys), _rows_per_call(rows.words))
    calls = script_calls(head, joined(words(rows.keys)), rows.words, rows.word_counts, of_calls)
    return (PackedCall(call, script) for call in calls)


def calls_by_slot(script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
    """Make calls that each take rows of one slot; rows of an entity stay in their order.

    :param own_words: before those of the rows.
    """
    slots = np.fromiter((key_slot(key) for key in rows.keys.to_pylist()), np.int64, len(rows.keys))
    order = np.argsort(slots, kind="stable")
    keys, encoded, slots = rows.keys.take(pa.array(order)), rows.words.take(pa.array(order)), slots[order]
    bounds = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), len(slots)]
    size = _rows_per_call(encoded)
    of_slots = [
        (first + start, first + stop)
        for first, end in pairwise(bounds)
        for start, stop in spans(end - first, size)
    ]  # fmt: skip
    head = ScriptHead(script.sha, own_words)
    calls = script_calls(head, joined(words(keys)), encoded, rows.word_counts[order], of_slots)
    return (PackedCall(call, script, int(slots[start])) for (start, _), call in zip(of_slots, calls, strict=True))


def _rows_per_call(encoded: pa.BinaryArray) -> int:
    row_bytes: int = max(1, encoded.nbytes // max(1, len(encoded)))
    return max(1, min(ROWS_PER_CALL, CALL_BYTES // row_bytes))
