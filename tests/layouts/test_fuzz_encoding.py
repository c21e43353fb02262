"""What all layouts write of random values, as readers that share no code with them find it: hiredis, json, protobuf."""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import hiredis
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from online_features import FeatureView, PostgresSource
from online_features.layouts.feast.feast_types import FIELD_NUMBER, FeastType
from online_features.schema import Column, Encoding, RowSchema

from tests.support.fuzzing import KINDS, Kind, column_of, floating, instant, integer, text
from tests.support.layouts import write_calls
from tests.support.msgpack_rows import packed_row

pytestmark = pytest.mark.faults

ROWS = 100
BATCHES = {"msgpack": 20, "hash": 20, "json": 20, "feast": 30}
SEED = random.randrange(1_000_000)
INSTANTS = pa.timestamp("us", "UTC")
SOURCE = PostgresSource(table="rows", timestamp_field="ts", created_timestamp_column="created")

KEY = Column("id", "text", Encoding.TEXT, FeastType.STRING)
TS, CREATED = (Column(name, "timestamp with time zone", Encoding.INSTANT) for name in ("ts", "created"))


EPOCH, NAIVE_EPOCH = datetime(1970, 1, 1, tzinfo=UTC), datetime(1970, 1, 1)
COLUMNS = [kind.column for kind in KINDS]
ARRAYS = [lambda chance, kind=kind: column_of(kind, ROWS, chance) for kind in KINDS]
KIND_BY_NAME = {kind.name: kind for kind in KINDS}


def view_of(layout: str) -> FeatureView:
    return FeatureView(name="view", project="p", entities=["id"], source=SOURCE, layout=layout)


def schema_of(features: Sequence[Column]) -> RowSchema:
    return RowSchema(keys=(KEY,), event_timestamp=TS, created_timestamp=CREATED, deleted=None, features=tuple(features))


def batch_of(features: Sequence[pa.Array], chance: random.Random) -> pa.RecordBatch:
    """Rows with these features; sliced out of longer ones, as batches of a run are."""
    names = pa.array([f"{number}{text(chance)}" for number in range(ROWS)])
    ts = pa.array([instant(chance) for _ in range(ROWS)], INSTANTS)
    created = pa.array([None if chance.random() < 0.1 else instant(chance) for _ in range(ROWS)], INSTANTS)
    columns = [names, ts, created, *features]
    batch = pa.record_batch(columns, names=[str(number) for number in range(len(columns))])
    return batch.slice(chance.randrange(3))


def commands(buffers: Iterator[Sequence[Any]]) -> Iterator[list[bytes]]:
    """The commands that a server reads, by the parser of another project."""
    reader = hiredis.Reader()
    for call in buffers:
        for buffer in call:
            reader.feed(bytes(buffer))
    while (command := reader.gets()) is not False:
        yield command


def row_words(layout: str, words: Sequence[bytes], features: Sequence[Column]) -> int:
    match layout:
        case "hash":
            return 2 + int(words[1])
        case "json" | "msgpack":
            return 2
    return 4 + len(features)


def rows_of(layout: str, batch: pa.RecordBatch, features: Sequence[Column]) -> list[list[bytes]]:
    """The words of each row, behind the one that says when it ends."""
    rows: list[list[bytes]] = []
    for name, _, key_count, *rest in commands(write_calls(view_of(layout), schema_of(features), batch)):
        assert name == b"EVALSHA"
        words = rest[int(key_count) :]
        own_words = 1 + int(words[0])
        assert layout == "feast" or own_words == 1
        at = own_words
        for _ in range(int(key_count)):
            assert words[at] == b"0"
            end = at + row_words(layout, words[at:], features)
            rows.append(words[at + 1 : end])
            at = end
        assert at == len(words)
    return rows


def expected_ts(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)


def same(kind: Kind, value: Any, found: str) -> bool:
    """Whether a text is of the value, to the bit."""
    match value:
        case bool():
            return found == str(value).lower()
        case float() if kind.name == "real":
            return (math.isnan(value) and found == "nan") or struct.pack("<f", float(found)) == struct.pack("<f", value)
        case float():
            return (math.isnan(value) and found == "nan") or struct.pack("<d", float(found)) == struct.pack("<d", value)
        case int():
            return found == str(value)
    return bool(found == value)


def fuzzed(layout: str, columns: Sequence[Column], arrays: Any) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
    """Rows as they were given, and the words that were made of each."""
    for number in range(BATCHES[layout]):
        chance = random.Random(f"{SEED} {layout} {number}")
        batch = batch_of([make(chance) for make in arrays], chance)
        names = ["id", "ts", "created", *(column.name for column in columns)]
        yield from zip(batch.rename_columns(names).to_pylist(), rows_of(layout, batch, columns), strict=True)


def test_hashes_hold_what_was_given() -> None:
    inputs = 0
    for given, (count, *words) in fuzzed("hash", COLUMNS, ARRAYS):
        assert int(count) == len(words)
        fields = {name.decode(): value.decode() for name, value in zip(words[::2], words[1::2], strict=True)}
        assert fields.pop("_ts") == expected_ts(given["ts"])
        assert fields.pop("_created", None) == expected_ts(given["created"])
        for kind in KINDS:
            value, found = given[kind.column.name], fields.pop(kind.column.name, None)
            assert found is None if value is None else same(kind, value, found), (SEED, kind.name, value, found)
        assert not fields
        inputs += len(given)
    report("hash", inputs)


def test_objects_hold_what_was_given() -> None:
    inputs = 0
    for given, (written,) in fuzzed("json", COLUMNS, ARRAYS):
        fields = json.loads(written, parse_int=lambda digits: -0.0 if digits == "-0" else int(digits))
        assert fields.pop("_ts") == expected_ts(given["ts"])
        assert fields.pop("_flags") == 0
        assert fields.pop("_created", None) == expected_ts(given["created"])
        for kind in KINDS:
            value, found = given[kind.column.name], fields.pop(kind.column.name)
            if value is not None and kind.column.encoding == Encoding.JSON:
                assert found == json.loads(value), (SEED, kind.name, value, found)
            elif value is not None and kind.column.encoding == Encoding.FLOAT:
                assert type(found) is (str if not math.isfinite(value) else type(found))
                assert same(kind, value, str(found)), (SEED, kind.name, value, found)
            else:
                assert (type(found), found) == (type(value), value), (SEED, kind.name, value, found)
        assert not fields
        inputs += len(given)
    report("json", inputs)


def test_arrays_hold_what_was_given() -> None:
    inputs = 0
    for given, (written,) in fuzzed("msgpack", COLUMNS, ARRAYS):
        values = [given[column.name] for column in COLUMNS]
        assert written == packed_row(COLUMNS, values, given["ts"], given["created"]), (SEED, given)
        inputs += len(given)
    report("msgpack", inputs)


def naive_instant(chance: random.Random) -> datetime:
    return instant(chance).replace(tzinfo=None)


FEAST_KINDS: dict[FeastType, tuple[str, pa.DataType, Any]] = {
    FeastType.BOOL: ("boolean", pa.bool_(), lambda chance: chance.random() < 0.5),
    FeastType.INT32: ("integer", pa.int32(), integer(32)),
    FeastType.INT64: ("bigint", pa.int64(), integer(64)),
    FeastType.FLOAT32: ("real", pa.float32(), floating("<f", 32)),
    FeastType.FLOAT64: ("double precision", pa.float64(), floating("<d", 64)),
    FeastType.STRING: ("text", pa.string(), text),
    FeastType.BYTES: ("bytea", pa.binary(), lambda chance: chance.randbytes(chance.choice([0, 1, 20, 127, 128, 300]))),
    FeastType.UNIX_TIMESTAMP: (
        "timestamp with time zone",
        pa.timestamp("us"),
        lambda c: instant(c).replace(tzinfo=None),
    ),
}
PROTOBUF_TYPES = {
    FeastType.BOOL: "BOOL", FeastType.INT32: "INT32", FeastType.INT64: "INT64",
    FeastType.FLOAT32: "FLOAT",
    FeastType.FLOAT64: "DOUBLE", FeastType.STRING: "STRING", FeastType.BYTES: "BYTES",
    FeastType.UNIX_TIMESTAMP: "INT64",
}  # fmt: skip


def list_of(kind: FeastType) -> FeastType:
    return FeastType(f"Array({kind})")


def value_message() -> Any:
    """Feast's ``Value``, as the library of protobuf knows it, and ``google.protobuf.Timestamp``."""
    file = descriptor_pb2.FileDescriptorProto(name="fuzz.proto", package="fuzz", syntax="proto3")
    value = file.message_type.add(name="Value")
    value.oneof_decl.add(name="val")
    for kind, type_name in PROTOBUF_TYPES.items():
        number = getattr(descriptor_pb2.FieldDescriptorProto, f"TYPE_{type_name}")
        value.field.add(name=kind.name, number=FIELD_NUMBER[kind], type=number, label=1, oneof_index=0)
        listed = list_of(kind)
        file.message_type.add(name=listed.name).field.add(name="val", number=1, type=number, label=3)
        value.field.add(
            name=listed.name,
            number=FIELD_NUMBER[listed],
            type=11,
            type_name=f".fuzz.{listed.name}",
            label=1,
            oneof_index=0,
        )
    stamp = file.message_type.add(name="Timestamp")
    stamp.field.add(name="seconds", number=1, type=3, label=1)
    stamp.field.add(name="nanos", number=2, type=5, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"fuzz.{name}")) for name in ("Value", "Timestamp")
    ]


def feast_arrays() -> Iterator[tuple[Column, Any]]:
    for kind, (type_name, arrow, make) in FEAST_KINDS.items():
        encoding = KIND_BY_NAME[type_name].column.encoding
        yield Column(f"a {kind}", type_name, encoding, kind), column_of_feasts(arrow, make)
        listed = list_of(kind)
        yield (
            Column(f"a {listed}", f"{type_name}[]", Encoding.JSON, listed),
            column_of_feasts(pa.list_(arrow), lambda c, make=make: [make(c) for _ in range(c.randrange(5))]),
        )


def column_of_feasts(arrow: pa.DataType, make: Any) -> Any:
    return lambda chance: column_of(Kind("", arrow, make), ROWS, chance)


def same_in_feast(kind: FeastType, value: Any, found: Any) -> bool:
    """Whether a value of protobuf's library is what Feast would have made of it."""
    if kind == FeastType.UNIX_TIMESTAMP_LIST:  # in which it cuts off what it rounds down elsewhere
        seconds = [abs(moment - NAIVE_EPOCH) // timedelta(seconds=1) for moment in value]
        return seconds == [abs(second) for second in found.val]
    if kind.is_list:
        return len(value) == len(found.val) and all(map(same_in_feast, [kind.element] * len(value), value, found.val))
    if kind == FeastType.UNIX_TIMESTAMP:
        return (value - NAIVE_EPOCH) // timedelta(seconds=1) == found
    if isinstance(value, float):
        return (math.isnan(value) and math.isnan(found)) or struct.pack("<d", value) == struct.pack("<d", found)
    return bool(type(value) is type(found) and value == found)


def test_messages_hold_what_was_given() -> None:
    value_class, timestamp_class = value_message()
    columns, arrays = zip(*feast_arrays(), strict=True)
    inputs = 0
    for given, (ts, _, timestamp, *messages) in fuzzed("feast", columns, arrays):
        stamp = timestamp_class.FromString(timestamp)
        assert ts.decode() == expected_ts(given["ts"])
        assert EPOCH + timedelta(seconds=stamp.seconds, microseconds=stamp.nanos // 1000) == given["ts"]
        for column, message in zip(columns, messages, strict=True):
            value, found = given[column.name], value_class.FromString(message)
            if column.feast == FeastType.UNIX_TIMESTAMP and value is None:
                assert found.UNIX_TIMESTAMP == -(2**63)
            elif value is None or (isinstance(value, float) and math.isnan(value)):
                assert message == b""
            else:
                assert found.WhichOneof("val") == column.feast.name
                assert same_in_feast(column.feast, value, getattr(found, column.feast.name)), (SEED, column.name, value)
        inputs += len(given)
    report("feast", inputs)


def report(layout: str, inputs: int) -> None:
    print(f"{inputs} values written in layout {layout} and found again, seed {SEED}")
    assert inputs > BATCHES[layout] * (ROWS - 3) * 15
