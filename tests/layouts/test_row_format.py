"""Many rows, read a column at a time, are the rows that are read one by one."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from online_features.errors import OnlineDataError
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import LAYOUTS
from online_features.layouts.row_format import DAMAGE, RowFormat
from online_features.schema import Column, Encoding
from online_features.types.registry import typed_column

from tests.support.msgpack_rows import packed_row
from tests.support.views import VIEW

TIMESTAMP = "2026-01-01T00:00:00.000001Z"

# Texts as they stand in a hash, of each type some.
TEXTS = {
    "boolean": ["true", "false"],
    "bigint": ["0", "-9223372036854775808"],
    "real": ["0.1", "nan", "-inf", "-0", "5"],
    "double precision": ["1e+300", "inf", "-0.0", "5"],
    "text": ["", "true", "grüß\n"],
    "numeric": ["0.10", "NaN", "12345678901234567890.5"],
    "date": ["2026-01-01", "infinity", "-infinity", "0044-03-15 BC", "12026-01-01"],
    "timestamp without time zone": ["2026-01-01T00:00:00.000001", "infinity", "12026-01-01T00:00:00.000000"],
    "timestamp with time zone": [TIMESTAMP, "-infinity", "0044-03-15T00:00:00.000000Z BC"],
    "time without time zone": ["24:00:00", "01:02:03.4"],
    "interval": ["P1Y2M3DT4H", "infinity"],
    "bytea": ["AAE="],
    "jsonb": ['{"a": [1, -0.5, null]}', "null"],
    "bigint[]": ["[1,null,2]", "[[1],[2]]", "[]", "[3]"],
    "numeric[]": ['[0.10,"NaN"]'],
    "double precision[]": ['[-0,0.5,"Infinity"]'],
    "real[]": ["[0.1,2]"],
    "uuid": ["00000000-0000-0000-0000-0000000000ff"],
}
COLUMNS = [typed_column(name, name) for name in TEXTS]

IN_JSON = {Encoding.BOOLEAN, Encoding.INTEGER, Encoding.JSON}  # not in quotes


def hash_replies(width: int = 5) -> list[Any]:
    """Rows with every text, one without values and one that is not there."""
    rows = [[TIMESTAMP, *(TEXTS[column.name][i % len(TEXTS[column.name])] for column in COLUMNS)] for i in range(width)]
    return [*rows, [TIMESTAMP, *[None] * len(COLUMNS)], [None] * (len(COLUMNS) + 1)]


def json_replies() -> list[Any]:
    """The same rows; floats without quotes where JSON has them."""
    return [None if timestamp is None else document(timestamp, texts) for timestamp, *texts in hash_replies()]


def document(timestamp: str, texts: list[str | None]) -> str:
    parts = [f'"_ts":{json.dumps(timestamp)}']
    for column, text in zip(COLUMNS, texts, strict=True):
        is_plain = column.encoding in IN_JSON or (
            column.encoding == Encoding.FLOAT and text not in ("nan", "inf", "-inf")
        )
        if text is not None:
            parts.append(f'"{column.name}":{text if is_plain else json.dumps(text)}')
    return "{" + ",".join(parts) + "}"


def msgpack_replies() -> list[Any]:
    """The same rows, of texts as the source returns them, or of the types that it has for some."""
    rows = []
    for timestamp, *texts in hash_replies():
        given = [text if text is None else AS_GIVEN.get(column.encoding, str)(text)
                 for column, text in zip(COLUMNS, texts, strict=True)]  # fmt: skip
        rows.append(None if timestamp is None else packed_row(COLUMNS, given, datetime.fromisoformat(timestamp)))
    return rows


AS_GIVEN: dict[str, Callable[[str], Any]] = {
    Encoding.BOOLEAN: lambda text: text == "true", Encoding.INTEGER: int, Encoding.FLOAT: float,
}  # fmt: skip


def as_bytes(reply: Any) -> Any:
    if isinstance(reply, list):
        return [as_bytes(item) for item in reply]
    return None if reply is None else reply.encode()


REPLIES = {
    "hash": hash_replies(),
    "hash in bytes": as_bytes(hash_replies()),
    "json": json_replies(),
    "json in bytes": as_bytes(json_replies()),
    "msgpack": msgpack_replies(),
}


def format_of(name: str, columns: list[Column]) -> RowFormat:
    return LAYOUTS[name.split(maxsplit=1)[0]](VIEW, FIRST_GENERATION).row_format(columns, COLUMNS)


@pytest.mark.parametrize("name", REPLIES)
def test_many_rows_are_read_as_each_of_them_is(name: str) -> None:
    rows = format_of(name, COLUMNS)
    together, one_by_one = list(rows.rows(REPLIES[name])), [rows.row(reply) for reply in REPLIES[name]]
    # Told apart by their texts: -0.0 equals 0.0, and nan nothing.
    present = [(timestamp, values if timestamp else {}) for timestamp, values in together]
    assert repr(present) == repr(one_by_one)
    assert [timestamp is None for timestamp, _ in together] == [False] * 6 + [True]


def test_every_layout_reads_the_same_rows() -> None:
    read = {name: list(format_of(name, COLUMNS).rows(replies)) for name, replies in REPLIES.items()}
    for rows in read.values():
        assert repr(rows) == repr(read["hash"])


@pytest.mark.parametrize("name", REPLIES)
def test_rows_without_features_are_read(name: str) -> None:
    replies = [reply[:1] if isinstance(reply, list) else reply for reply in REPLIES[name]]
    (timestamp, values), *_, (missing, _) = format_of(name, []).rows(replies)
    assert (timestamp is not None, values, missing) == (True, {}, None)


DAMAGED = {
    "boolean": "yes", "bigint": "1.5", "real": "x", "numeric": "x", "date": "2026-13-01",
    "timestamp with time zone": "2026-01-01T00:00:00", "interval": "1 day", "bytea": "a", "jsonb": "{",
}  # fmt: skip


@pytest.mark.parametrize("damaged", DAMAGED)
@pytest.mark.parametrize("name", ["hash", "hash in bytes"])
def test_what_one_row_refuses_many_refuse(name: str, damaged: str) -> None:
    (column,) = (column for column in COLUMNS if column.name == damaged)
    replies = [[TIMESTAMP, DAMAGED[damaged]]]
    replies = as_bytes(replies) if "bytes" in name else replies
    with pytest.raises(OnlineDataError, match=f"feature '{damaged}' holds"):
        format_of(name, [column]).row(replies[0])
    with pytest.raises(DAMAGE):
        format_of(name, [column]).rows(replies)


@pytest.mark.parametrize(
    "reply", [b"", b"{", b"[1]", b"5", b"null", b'{"x":1}', b'{"_ts":"x"} ', b'{"_ts":"x"}{}', b"\xff"]
)
def test_what_is_no_row_of_json_is_refused(reply: bytes) -> None:
    rows = format_of("json", [])
    with pytest.raises(DAMAGE):
        rows.rows([reply])
    with pytest.raises((OnlineDataError, ValueError)):
        rows.row(reply)


def test_white_space_around_a_row_of_json_is_passed_over() -> None:
    reply = f' {{"_ts":"{TIMESTAMP}"}}\n'.encode()
    assert format_of("json", []).row(reply) == format_of("json", []).row(reply.strip())


@pytest.mark.parametrize("name", ["hash", "json"])
def test_a_damaged_event_timestamp_is_named(name: str) -> None:
    reply = b'{"_ts":"yesterday"}' if name == "json" else [b"yesterday"]
    with pytest.raises(OnlineDataError, match="yesterday.* is not an event timestamp; materialize with full=True"):
        format_of(name, []).row(reply)
