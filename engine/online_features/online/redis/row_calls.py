"""Encoded rows as calls: of a row script, or commands that create rows; in their order, or by slot for a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.layouts.encoder import EncodedRows
from online_features.online.redis.scripts import Script
from online_features.resp.commands import Word, word
from online_features.resp.script_calls import Buffers, ScriptHead, script_calls, spans, wire
from online_features.resp.slots import slots
from online_features.resp.word_columns import joined, words

# A call blocks Redis for about 10 µs a row, so 64 rows stay well under a millisecond; measured, more rows a call
# gain little, and one row a call costs more than half as much again.
ROWS_PER_CALL = 64
CALL_BYTES = 1024 * 1024  # of arguments in a call; wide rows make shorter calls, so that none blocks Redis for long


class PackedCall(NamedTuple):
    """A call that is ready for the wire.

    :param buffers: to be sent one after the other.
    :param script: that is called; ``None`` for plain commands.
    :param slot: of the call's keys, in a cluster.
    :param creates: the numbers of the rows that the call creates, by a command each; empty for any other call, which is
        one command.
    """

    buffers: Buffers
    script: Script | None = None
    slot: int = 0
    creates: Sequence[int] = ()

    def in_full(self) -> PackedCall:
        """Return the call with the source of its script, in place of the name."""
        if self.script is None:
            return self
        head, *rest = self.buffers
        name = word("EVALSHA") + word(self.script.sha)
        source = word("EVAL") + word(self.script.source)
        return self._replace(buffers=[bytes(head).replace(name, source, 1), *rest])


def calls_in_order(script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
    """Make calls of the rows in their order.

    :param own_words: before those of the rows.
    """
    head = ScriptHead(script.sha, own_words)
    arguments = _arguments(rows)
    of_calls = spans(len(rows), _rows_per_call(arguments))
    calls = script_calls(head, joined(words(rows.keys)), arguments, rows.word_counts + 1, of_calls)
    return (PackedCall(call, script) for call in calls)


def calls_by_slot(script: Script, rows: EncodedRows, own_words: Sequence[Word]) -> Iterator[PackedCall]:
    """Make calls that each take rows of one slot; rows of an entity stay in their order.

    :param own_words: before those of the rows.
    """
    of_rows = slots(rows.keys)
    order = np.argsort(of_rows, kind="stable")
    rows, of_rows = rows.take(order), of_rows[order]
    arguments = _arguments(rows)
    of_slots = _spans_of_each(of_rows, _rows_per_call(arguments))
    head = ScriptHead(script.sha, own_words)
    calls = script_calls(head, joined(words(rows.keys)), arguments, rows.word_counts + 1, of_slots)
    return (PackedCall(call, script, int(of_rows[start])) for (start, _), call in zip(of_slots, calls, strict=True))


def creates_in_order(rows: EncodedRows, chosen: np.ndarray) -> Iterator[PackedCall]:
    """Make calls that create the chosen rows, in their order.

    :param chosen: the numbers of the rows, each of which has one word and does not delete its entity.
    """
    commands = _creates(rows.take(chosen))
    return _create_calls(commands, chosen, spans(len(chosen), _rows_per_call(commands)))


def creates_by_node(rows: EncodedRows, chosen: np.ndarray, nodes: np.ndarray) -> Iterator[PackedCall]:
    """Make calls that each create rows of one node of a cluster; rows of an entity stay in their order.

    A call has the slot of its first row. If other rows of it have moved since, the node refuses them.

    :param chosen: the numbers of the rows, each of which has one word and does not delete its entity.
    :param nodes: a number for the node of each slot.
    """
    some = rows.take(chosen)
    of_rows = slots(some.keys)
    order = np.argsort(nodes[of_rows], kind="stable")
    chosen, of_rows = chosen[order], of_rows[order]
    commands = _creates(some.take(order))
    return _create_calls(commands, chosen, _spans_of_each(nodes[of_rows], _rows_per_call(commands)), of_rows)


def _creates(rows: EncodedRows) -> pa.BinaryArray:
    """Return the command that creates each row unless its key holds something, ready for the wire."""
    if not rows.expiries.any():
        return joined([b"*3\r\n" + word("SETNX"), *words(rows.keys), rows.words])
    expiry = words(pa.array(rows.expiries).cast(pa.string()))
    return joined([b"*6\r\n" + word("SET"), *words(rows.keys), rows.words, word("NX") + word("PXAT"), *expiry])


def _create_calls(
    commands: pa.BinaryArray, chosen: np.ndarray, of_calls: Iterable[tuple[int, int]], of_rows: np.ndarray | None = None
) -> Iterator[PackedCall]:
    offsets, data = wire(commands)
    numbers = chosen.tolist()
    for start, stop in of_calls:
        slot = 0 if of_rows is None else int(of_rows[start])
        yield PackedCall([data[offsets[start] : offsets[stop]]], None, slot, numbers[start:stop])


def _arguments(rows: EncodedRows) -> pa.BinaryArray:
    """Return the words of each row for ``write.lua``, ready for the wire: its end, and its words."""
    if not rows.expiries.any() and not rows.deletes.any():
        return joined([word("0"), rows.words])
    sign = pc.if_else(pa.array(rows.deletes), "-", "")
    return joined([*words(joined([sign, pa.array(rows.expiries).cast(pa.string())])), rows.words])


def _spans_of_each(groups: np.ndarray, size: int) -> list[tuple[int, int]]:
    """Split rows into spans of up to ``size``, each of one group; the rows are in the order of their groups."""
    bounds = [0, *(np.flatnonzero(np.diff(groups)) + 1).tolist(), len(groups)]
    return [
        (first + start, first + stop)
        for first, end in pairwise(bounds)
        for start, stop in spans(end - first, size)
    ]  # fmt: skip


def _rows_per_call(encoded: pa.BinaryArray) -> int:
    row_bytes: int = max(1, encoded.nbytes // max(1, len(encoded)))
    return max(1, min(ROWS_PER_CALL, CALL_BYTES // row_bytes))
