"""Random values of every type, extreme ones included, as a source returns them."""

from __future__ import annotations

import base64
import json
import math
import random
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
from online_features.schema import Column
from online_features.types.registry import typed_column

LAST_CODE_POINT = sys.maxunicode
SURROGATES = range(0xD800, 0xE000)
SEPARATORS = '"\\%:{}\r\n\t $*\x01\x7f\x85\u2028\ufeff\U0010ffff'
FIRST, LAST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)

MakeValue = Callable[[random.Random], Any]


@dataclass(frozen=True)
class Kind:
    """A type of Postgres.

    :param arrow: type in which the source returns it.
    :param make: makes a value as the source returns it.
    """

    name: str
    arrow: pa.DataType
    make: MakeValue

    @property
    def column(self) -> Column:
        return typed_column(f"a {self.name}", self.name)


def integer(bits: int) -> MakeValue:
    extremes = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1, 0, -1, 1]
    return lambda chance: (
        chance.choice(extremes)
        if chance.random() < 0.2
        else chance.randrange(extremes[0], extremes[1] + 1) >> chance.randrange(bits)
    )


def floating(form: str, bits: int) -> MakeValue:
    """Return a maker of numbers of any bits, often of extreme ones."""

    def make(chance: random.Random) -> float:
        if chance.random() < 0.2:
            return chance.choice([0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, 0.5, 1e15, 1e16, 123456.0])
        (number,) = struct.unpack(form, chance.randbytes(bits // 8))
        return float(number)

    return make


def text(chance: random.Random) -> str:
    """Make a text of any code points that Postgres can hold."""
    if chance.random() < 0.2:
        return "".join(chance.choices(SEPARATORS, k=chance.randrange(8)))
    length = chance.choice([0, 1, 3, 20, 62, 63, 64, 65, 249, 250, 251, 300]) if chance.random() < 0.2 else 5
    codes = (chance.randrange(1, chance.choice([0x80, 0x800, 0x10000, LAST_CODE_POINT + 1])) for _ in range(length))
    return "".join(chr(code) for code in codes if code not in SURROGATES)


def rarely_special(chance: random.Random) -> str:
    """Make a text that rarely has characters to escape, so that a column may have very few of them."""
    return chr(chance.randrange(1, 0x30)) if chance.random() < 0.01 else "plain"


def numeric(chance: random.Random) -> str:
    digits = "".join(chance.choices("0123456789", k=chance.choice([1, 5, 40]))).lstrip("0") or "0"
    fraction = "." + "".join(chance.choices("0123456789", k=chance.choice([1, 30]))) if chance.random() < 0.5 else ""
    return chance.choice(["NaN", "Infinity", "-Infinity", *[f"{chance.choice(['', '-'])}{digits}{fraction}"] * 9])


def instant(chance: random.Random) -> datetime:
    if chance.random() < 0.1:
        return chance.choice(
            [FIRST, LAST, datetime(1970, 1, 1, tzinfo=UTC), datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)]
        )
    return FIRST + timedelta(microseconds=chance.randrange((LAST - FIRST) // timedelta(microseconds=1)))


def time_text(form: Callable[[datetime], str]) -> MakeValue:
    """Return a maker of times as text, sometimes before our era, after the year 9999, or infinite."""

    def make(chance: random.Random) -> str:
        printed = form(instant(chance))
        return chance.choice(["infinity", "-infinity", f"{printed} BC", f"1{printed}", *[printed] * 8])

    return make


def interval(chance: random.Random) -> str:
    parts = [f"{chance.choice(['', '-'])}{chance.randrange(100)}{unit}" for unit in "YMD" if chance.random() < 0.5]
    clock = [f"{chance.choice(['', '-'])}{chance.randrange(100)}{unit}" for unit in "HM" if chance.random() < 0.5]
    clock += [f"{chance.choice(['', '-'])}{chance.randrange(60)}.{chance.randrange(1, 10**6):06}S"] * chance.randrange(
        2
    )
    printed = f"P{''.join(parts)}{'T' if clock else ''}{''.join(clock)}"
    return chance.choice(["infinity", "-infinity", *[printed if printed != "P" else "PT0S"] * 8])


def json_value(chance: random.Random, depth: int = 3) -> Any:
    simple: list[MakeValue] = [text, integer(64), lambda _: None, lambda _: True, lambda chance: chance.random()]
    if depth and chance.random() < 0.5:
        items = [json_value(chance, depth - 1) for _ in range(chance.randrange(4))]
        return items if chance.random() < 0.5 else {text(chance): item for item in items}
    return chance.choice(simple)(chance)


def array(element: MakeValue) -> MakeValue:
    """Return a maker of arrays in Postgres's JSON: empty, with NULLs, of up to three dimensions, never ragged."""

    def items(chance: random.Random, lengths: Sequence[int]) -> Any:
        if not lengths:
            return None if chance.random() < 0.1 else element(chance)
        return [items(chance, lengths[1:]) for _ in range(lengths[0])]

    def make(chance: random.Random) -> str:
        lengths = [chance.randrange(1, 4) for _ in range(chance.choice([1, 1, 2, 3]))]
        made = [] if chance.random() < 0.1 else items(chance, lengths)
        return json.dumps(made, ensure_ascii=False, separators=(",", ":"))

    return make


def float_in_json(chance: random.Random) -> Any:
    number = floating("<d", 64)(chance)
    return number if math.isfinite(number) else {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")


KINDS = (
    Kind("boolean", pa.bool_(), lambda chance: chance.random() < 0.5),
    Kind("smallint", pa.int16(), integer(16)),
    Kind("integer", pa.int32(), integer(32)),
    Kind("bigint", pa.int64(), integer(64)),
    Kind("oid", pa.int64(), lambda chance: integer(33)(chance) % 2**32),
    Kind("real", pa.float32(), floating("<f", 32)),
    Kind("double precision", pa.float64(), floating("<d", 64)),
    Kind("text", pa.string(), text),
    Kind("character varying", pa.string(), rarely_special),
    Kind("uuid", pa.string(), lambda chance: str(UUID(bytes=chance.randbytes(16)))),
    Kind("numeric", pa.string(), numeric),
    Kind("date", pa.string(), time_text(lambda moment: moment.date().isoformat())),
    Kind("timestamp without time zone", pa.string(),
         time_text(lambda moment: moment.replace(tzinfo=None).isoformat(timespec="microseconds"))),
    Kind("timestamp with time zone", pa.string(),
         time_text(lambda moment: moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z")),
    Kind("time without time zone", pa.string(), lambda chance: instant(chance).time().isoformat()),
    Kind("interval", pa.string(), interval),
    Kind("bytea", pa.string(), lambda chance: base64.b64encode(chance.randbytes(chance.randrange(40))).decode()),
    Kind("jsonb", pa.string(), lambda chance: json.dumps(json_value(chance), ensure_ascii=False)),
    Kind("bigint[]", pa.string(), array(integer(64))),
    Kind("boolean[]", pa.string(), array(lambda chance: chance.random() < 0.5)),
    Kind("double precision[]", pa.string(), array(float_in_json)),
    Kind("text[]", pa.string(), array(text)),
)  # fmt: skip


def column_of(kind: Kind, rows: int, chance: random.Random) -> pa.Array:
    """Make a column of values, a tenth of them NULL."""
    return pa.array([None if chance.random() < 0.1 else kind.make(chance) for _ in range(rows)], kind.arrow)
