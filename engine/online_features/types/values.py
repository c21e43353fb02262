"""Texts of the documented keyspace as Python values, and back: what a reader needs, without Arrow.

Values come back as psycopg2 gives them for the same column, with these differences, each on purpose: ``bytea`` as
``bytes``; arrays of any type, and composites, as lists and dictionaries; ranges as text; dates and timestamps before
our era, which psycopg2 cannot give at all, as text.
"""

from __future__ import annotations

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network
from typing import Any
from uuid import UUID

from online_features.common.instants import from_text, to_text
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.schema import Column
from online_features.types.postgres_types import ARRAY_SUFFIX, AS_PRINTED, ENCODING_BY_TYPE, Encoding

DURATION = re.compile(
    r"P(?:(-?\d+)Y)?(?:(-?\d+)M)?(?:(-?\d+)D)?(?:T(?:(-?\d+)H)?(?:(-?\d+)M)?(?:(-?\d+(?:\.\d+)?)S)?)?"
)

FIRST_INSTANT, LAST_INSTANT = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

# What reading a text raises when this package has not written it.
DAMAGE = (ValueError, KeyError, ArithmeticError, TypeError, AttributeError, RecursionError)

# Made once: json.loads with arguments makes a decoder per call.
PLAIN_JSON, EXACT_JSON = json.JSONDecoder(), json.JSONDecoder(parse_float=Decimal)
FLOATING_JSON = json.JSONDecoder(parse_int=float)  # -0 has a sign

INTEGERS = {
    "smallint": range(-(2**15), 2**15), "integer": range(-(2**31), 2**31), "bigint": range(-(2**63), 2**63),
    "oid": range(2**32),
}  # fmt: skip

# What numbers are written with. Python's own types also take white space, underscores and digits of other scripts.
INTEGER_CHARACTERS, FLOAT_CHARACTERS = b"-0123456789", b"+-.0123456789aefin"
INFINITE = ("inf", "-inf")

EXACT_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?|NaN|-?Infinity")

# Of other years than Python has: before our era, or with more than four digits.
OTHER_TIME = re.compile(
    r"(?:(?P<long>[0-9]{5,})|[0-9]{4})-[0-9]{2}-[0-9]{2}"
    r"(?:[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}(?::[0-9]{2}){0,2})?)?"
    r"(?P<era> BC)?"
)

MOST_PLAIN_FLOAT = 10**15

# pandas' words for NULL, by the names of their types: whoever gives them has imported pandas, not every producer has.
NULL_TYPES = frozenset({"NAType", "NaTType"})


def decode(column: Column, text: str) -> Any:
    """The Python value of a text read from Redis.

    :raises OnlineDataError: when the text is not what this package writes for the column's type.
    """
    try:
        return decoder(column)(text)
    except DAMAGE as error:
        raise _damage(column, text, error) from error


def decoder(column: Column) -> Callable[[str], Any]:
    """What makes Python values of a column's texts; it raises :data:`DAMAGE`, which :func:`decode` puts into words."""
    match column.encoding:
        case Encoding.JSON:
            return partial(_from_json, column.type)
        case Encoding.INTEGER:
            return partial(_whole, INTEGERS[column.type])
    return _DECODE[column.encoding]


def decoder_of_bytes(column: Column) -> Callable[[bytes], Any]:
    """Likewise, of texts in UTF-8, most of which Python's own types take as they are."""
    if column.encoding in _DECODE_BYTES:
        return _DECODE_BYTES[column.encoding]
    decode_text = decoder(column)
    return lambda text: decode_text(text.decode())


def decoder_of_json(column: Column) -> Callable[[Any], Any]:
    """Likewise, of what stands in a JSON object and is not NULL."""
    match column.encoding:
        case Encoding.JSON:
            return partial(_from_parsed_json, column.type)
        case Encoding.INTEGER:
            return partial(_one_of, INTEGERS[column.type])
    decode_text, ready = decoder(column), _READY_IN_JSON.get(column.encoding)
    return lambda value: value if type(value) is ready else decode_text(_text_in_json(column, value))


def from_json(column: Column, value: Any) -> Any:
    """The Python value of what stands in a JSON object.

    :raises OnlineDataError: when that is not what this package writes for the column's type.
    """
    if value is None:
        return None
    try:
        return decoder_of_json(column)(value)
    except DAMAGE as error:
        raise _damage(column, value, error) from error


def encode(column: Column, value: Any) -> str:
    """The text of a Python value, as a materialization of the same value would write it.

    :raises InvalidRowsError: when the value does not fit the column's type.
    """
    check(column, value)
    try:
        if column.is_array:
            return _array_text(column, value)
        if column.encoding == Encoding.JSON:
            return _json_text(value, column.type)
        _, write = _ENCODE[column.encoding]
        return CANONICAL[column.type](write(value)) if column.type in CANONICAL else write(value)
    except InvalidRowsError:
        raise
    except RecursionError as error:
        raise InvalidRowsError(f"column {column.name!r} holds a value that is nested too deeply for Python") from error
    except (ValueError, ArithmeticError, TypeError) as error:
        raise misfit(column, value) from error


def check(column: Column, value: Any) -> None:
    """Refuse a Python value of a kind that the column's type does not hold.

    :raises InvalidRowsError: naming the column.
    """
    if column.is_array and not isinstance(value, (list, tuple)):
        raise misfit(column, value)
    if column.encoding == Encoding.JSON:
        return  # Of what is in it, writing tells.
    accepted, _ = _ENCODE[column.encoding]
    # A bool is an int to Python, and a datetime a date, but not to Postgres.
    is_stray_boolean = isinstance(value, bool) and column.encoding != Encoding.BOOLEAN
    is_stray_datetime = isinstance(value, datetime) and column.encoding == Encoding.DATE
    is_stray_naive = column.encoding == Encoding.INSTANT and isinstance(value, datetime) and not is_aware(value)
    if is_stray_boolean or is_stray_datetime or is_stray_naive or not isinstance(value, accepted):
        raise misfit(column, value)


def encode_key(column: Column, value: Any) -> str:
    """The text of a join key's value: one text for all values that Postgres holds equal.

    :raises InvalidRowsError: when the value does not fit the column's type.
    """
    text = encode(column, value)
    if not has_utf8(text):
        raise misfit(column, value)
    match column.type:
        case "character" if column.feast is None:
            return text.rstrip(" ")
        case "numeric":
            return _trimmed(text)
    return text


def has_utf8(text: str) -> bool:
    """Whether the text is one that can be sent: without halves of characters."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def is_value(column: Column, text: str) -> bool:
    """Whether Postgres, too, would read the text as a value of the column's type."""
    try:
        value = decode(column, text)
        if encode_key(column, value) != text:
            return False
    except (OnlineDataError, InvalidRowsError):
        return False
    return column.type not in INTEGERS or value in INTEGERS[column.type]


def inferred_column(name: str, value: Any) -> Column:
    """A column for values like this one, when nothing is known of the source yet.

    :raises InvalidRowsError: when the value is of no type that Postgres has.
    """
    for kinds, type_name in _TYPE_BY_VALUE:
        if isinstance(value, kinds):
            if isinstance(value, datetime) and value.tzinfo is None:
                type_name = "timestamp without time zone"  # noqa: PLW2901
            return Column(name, type_name, ENCODING_BY_TYPE.get(type_name, Encoding.TEXT))
    raise InvalidRowsError(f"column {name!r}: values of type {type(value).__name__} cannot go online")


def misfit(column: Column, value: Any) -> InvalidRowsError:
    """The error for a value that does not fit its column's type."""
    return InvalidRowsError(f"column {column.name!r}: {_shown(value)} is no {column.type}")


def _damage(column: Column, value: Any, error: Exception) -> OnlineDataError:
    """The error for what is online and is not what this package writes."""
    shown = repr(value[:50]) if isinstance(value, str) else _shown(value)[:50]
    what = "nested too deeply for Python" if isinstance(error, RecursionError) else f"no {column.type}"
    return OnlineDataError(
        f"feature {column.name!r} holds {shown}, which is {what}; "
        "materialize the view with full=True, or push or erase the entity where it is not in the source"
    )


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; lists in lists in lists
        return f"a value of type {type(value).__name__}"


def _text_in_json(column: Column, value: Any) -> str:
    """The text of what stands in a JSON object: only numbers may stand there without quotes."""
    if type(value) in (int, float) and column.encoding in (Encoding.FLOAT, Encoding.NUMERIC):
        return repr(value)
    if type(value) is not str or column.encoding == Encoding.BOOLEAN:
        raise TypeError(value)
    return value


def _from_infinity(text: str, least: Any, greatest: Any, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(text)
    except ValueError:
        other = OTHER_TIME.fullmatch(text)
        if other is not None and (other["era"] or other["long"]):
            return text
        if text not in ("infinity", "-infinity"):
            raise
    return greatest if text == "infinity" else least


def _date(text: str) -> Any:
    return _from_infinity(text, date.min, date.max, date.fromisoformat)


def _timestamp(text: str) -> Any:
    return _from_infinity(text, datetime.min, datetime.max, datetime.fromisoformat)


def _instant(text: str) -> Any:
    return _from_infinity(text, FIRST_INSTANT, LAST_INSTANT, from_text)


def _time(text: str) -> time:
    # Postgres has an hour 24, which psycopg2 reads as 0.
    return time.fromisoformat("00" + text[2:] if text.startswith("24:") else text)


def _interval(text: str) -> Any:
    """As psycopg2 reckons: a year is 365 days, a month 30."""
    if text in ("infinity", "-infinity"):
        return text
    parts = DURATION.fullmatch(text)
    if parts is None:
        raise ValueError(text)
    years, months, days, hours, minutes, seconds = (Decimal(part or 0) for part in parts.groups())
    return timedelta(
        days=int(years * 365 + months * 30 + days), hours=int(hours), minutes=int(minutes),
        microseconds=int(seconds * 1_000_000),
    )  # fmt: skip


def _duration(value: timedelta) -> str:
    """As Postgres prints it in ``IntervalStyle`` ``iso_8601``: parts that are zero are left out."""
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    date_part = f"{value.days}D" if value.days else ""
    clock = [(f"{hours}H", hours), (f"{minutes}M", minutes),
             (_without_zeros(f"{seconds}.{value.microseconds:06}") + "S", seconds or value.microseconds)]  # fmt: skip
    time_part = "".join(text for text, number in clock if number)
    return f"P{date_part}" + (f"T{time_part}" if time_part else "") if date_part or time_part else "PT0S"


def _clock(value: time) -> str:
    """As Postgres prints it: without zeros at the end of a fraction, or of the zone."""
    naive = value.replace(tzinfo=None).isoformat()
    zone = value.isoformat().removeprefix(naive)
    while zone.endswith(":00"):
        zone = zone.removesuffix(":00")
    return _without_zeros(naive) + zone


def _without_zeros(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _number(value: Decimal | int) -> str:
    number = Decimal(value)
    if number.is_nan():
        return "NaN"
    return str(number) if number.is_infinite() else format(number, "f")


def _inet(text: str) -> str:
    interface = ip_interface(_without_scope(text))
    length = interface.network.prefixlen
    return _address(interface.ip) + (f"/{length}" if length < interface.max_prefixlen else "")


def _cidr(text: str) -> str:
    network = ip_network(_without_scope(text))
    return f"{_address(network.network_address)}/{network.prefixlen}"


def _without_scope(text: str) -> str:
    if "%" in text:
        raise ValueError("Postgres holds no scope of an address")
    return text


def _address(address: IPv4Address | IPv6Address) -> str:
    """As Postgres prints it: an IPv4 address inside one of IPv6 with dots."""
    number = int(address)
    if isinstance(address, IPv6Address) and number >> 16 and number >> 32 in (0, 0xFFFF):
        return f"::{'ffff:' if number >> 32 else ''}{IPv4Address(number & 0xFFFFFFFF)}"
    return str(address)


def _macaddr(text: str) -> str:
    digits = re.sub("[:.-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{12}", digits):
        raise ValueError(text)
    return _colons(digits)


def _macaddr8(text: str) -> str:
    digits = re.sub("[:.-]", "", text).lower()
    if not re.fullmatch("[0-9a-f]{12}|[0-9a-f]{16}", digits):
        raise ValueError(text)
    return _colons(digits if len(digits) == 16 else f"{digits[:6]}fffe{digits[6:]}")  # noqa: PLR2004


def _colons(digits: str) -> str:
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _trimmed(number: str) -> str:
    """The text of an exact number without trailing zeros, as ``trim_scale`` leaves it."""
    trimmed = _without_zeros(number)
    return "0" if trimmed == "-0" else trimmed


def _from_json(type_name: str, text: str) -> Any:
    return _from_parsed_json(type_name, _JSON_DECODERS.get(type_name, PLAIN_JSON).decode(text))


def _from_parsed_json(type_name: str, value: Any) -> Any:
    element = type_name.removesuffix(ARRAY_SUFFIX)
    if element == type_name:
        return value
    if not isinstance(value, list):
        raise TypeError(value)
    if element in ("json", "jsonb"):
        return value
    read = _FROM_JSON.get(element, _text if element in AS_PRINTED else None)
    return value if read is None else _each(value, read)


def _of_kind(kind: type) -> Callable[[Any], Any]:
    """What takes values of one type as they are, and no others."""

    def taken(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(value)
        return value

    return taken


_text, _boolean = _of_kind(str), _of_kind(bool)


def _whole(values: range, text: str) -> int:
    return _one_of(values, int(_made_of(INTEGER_CHARACTERS, text)))


def _one_of(values: range, number: Any) -> int:
    if type(number) is not int or number not in values:
        raise ValueError(number)
    return number


def floating(text: str) -> float:
    """The number of a text, which is infinite only where the text says so.

    :raises ValueError: when it is none.
    """
    number = float(_made_of(FLOAT_CHARACTERS, text))
    if math.isinf(number) and text not in INFINITE:
        raise ValueError(text)
    return number


def _made_of(characters: bytes, text: str) -> str:
    if text.encode().translate(None, characters):
        raise ValueError(text)
    return text


def _numeric(text: str) -> Decimal:
    if EXACT_NUMBER.fullmatch(text) is None:
        raise ValueError(text)
    return Decimal(text)


def _exact(value: Any) -> Decimal:
    """An exact number in JSON, which has no word for those that are none."""
    return Decimal(value) if type(value) in (int, Decimal) else _numeric(value)


def _plain(value: str | UUID) -> str:
    # What str() makes of a member of an Enum of texts is its name.
    text = str.__str__(value) if isinstance(value, str) else str(value)
    if "\0" in text:
        raise ValueError("Postgres holds no NUL character")
    return text


def _each(value: Any, read: Callable[[Any], Any]) -> Any:
    """The values of an array of any dimension, each read; NULL stays NULL."""
    if isinstance(value, list):
        return [_each(item, read) for item in value]
    return None if value is None else read(value)


def _array_text(column: Column, value: Any) -> str:
    """An array as Postgres prints it in JSON."""
    if column.element.encoding != Encoding.JSON and not _is_rectangular(value):
        raise misfit(column, value)
    return f"[{','.join(_item_text(column.element, item) for item in value)}]"


def _item_text(element: Column, item: Any) -> str:
    if item is None:
        return "null"
    if element.encoding == Encoding.JSON:
        return _json_text(item, element.type)
    if isinstance(item, (list, tuple)):
        return f"[{','.join(_item_text(element, inner) for inner in item)}]"
    check(element, item)
    return _element_text(element, item)


def _element_text(element: Column, value: Any) -> str:
    # A range looks for a member of an IntEnum by counting up to it.
    if element.type in INTEGERS and int(value) not in INTEGERS[element.type]:
        raise misfit(element, value)
    match element.encoding:
        case Encoding.INTEGER if element.type == "oid":
            return _quoted(str(value))
        case Encoding.FLOAT:
            if element.type == "real":
                struct.pack("<f", value)  # which tells whether it fits
            return _json_scalar(float(value), element.type)
        case Encoding.TIMESTAMP:
            return _json_scalar(value.replace(tzinfo=None), element.type)
        case Encoding.TEXT:
            return _quoted(encode(element, value))
        case Encoding.BASE64:
            return _json_scalar(bytes(value), element.type)
    return _json_scalar(value, element.type)


def _is_rectangular(items: Sequence[Any]) -> bool:
    """Whether lists in a list are of one length, all the way down."""
    parts = [item for item in items if isinstance(item, (list, tuple))]
    if not parts:
        return True
    is_even = len(parts) == len(items) and len({len(part) for part in parts}) == 1
    return is_even and _is_rectangular([item for part in parts for item in part])


def _json_text(value: Any, type_name: str) -> str:
    """JSON as Postgres prints it: of ``jsonb``, of a composite, or ``json`` as it was written."""
    if type(value).__name__ in NULL_TYPES:
        return "null"  # NaT would pass for a time.
    comma, colon = (", ", ": ") if type_name in ("json", "jsonb") else (",", ":")
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's
    if isinstance(value, Mapping):
        items = [(str(name), _json_text(item, type_name)) for name, item in value.items()]
        if type_name == "jsonb":
            items.sort(key=lambda item: (len(item[0].encode()), item[0].encode()))
        return "{" + comma.join(f"{_quoted(name)}{colon}{text}" for name, text in items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + comma.join(_json_text(item, type_name) for item in value) + "]"
    return _json_scalar(value, type_name)


def _json_scalar(value: Any, type_name: str) -> str:
    match value:
        case None | bool() | int():
            return json.dumps(value)
        case str() | UUID():
            return _quoted(value)
        case float() | Decimal():
            return _json_number(value, type_name)
        case datetime() if type_name in ("json", "jsonb"):
            return _quoted(to_text(value) if is_aware(value) else _naive_text(value))
        case datetime():
            naive = value.astimezone(UTC) if is_aware(value) else value
            return _quoted(_without_zeros(_naive_text(naive)) + ("+00:00" if is_aware(value) else ""))
        case date():
            return _quoted(value.isoformat())
        case time():
            return _quoted(_clock(value))
        case timedelta():
            return _quoted(_duration(value))
        case bytes():
            return _quoted("\\x" + value.hex())
    raise TypeError(f"{value!r} has no form in JSON")


def _json_number(value: float | Decimal, type_name: str) -> str:
    number = Decimal(float.__repr__(value)) if isinstance(value, float) else value
    if not number.is_finite():
        if type_name in ("json", "jsonb"):
            raise ValueError(f"JSON has no number {value}")
        return _quoted(_number(number))
    if isinstance(value, float) and type_name == "json":
        return float.__repr__(value)
    if isinstance(value, float) and type_name != "jsonb":
        # Postgres prints a floating number with an exponent from here on, Python a digit later.
        is_long = abs(number) >= MOST_PLAIN_FLOAT
        return format(number.normalize(), "e") if is_long else float.__repr__(value).removesuffix(".0")
    return format(number, "f")


def is_aware(moment: datetime) -> bool:
    """Whether it is an instant: a zone may leave open which."""
    return moment.utcoffset() is not None


def _naive_text(moment: datetime) -> str:
    # Not pandas' own form, which has nanoseconds.
    return datetime.isoformat(moment.replace(tzinfo=None))


def _quoted(text: str | UUID) -> str:
    return json.dumps(_plain(text), ensure_ascii=False)


_DECODE: dict[Encoding, Callable[[str], Any]] = {
    Encoding.BOOLEAN: {"true": True, "false": False}.__getitem__,
    Encoding.FLOAT: floating,
    Encoding.TEXT: str,
    Encoding.NUMERIC: _numeric,
    Encoding.DATE: _date,
    Encoding.TIMESTAMP: _timestamp,
    Encoding.INSTANT: _instant,
    Encoding.TIME: _time,
    Encoding.INTERVAL: _interval,
    Encoding.BASE64: lambda text: base64.b64decode(text, validate=True),
}

_DECODE_BYTES: dict[Encoding, Callable[[bytes], Any]] = {
    Encoding.BOOLEAN: {b"true": True, b"false": False}.__getitem__,
    Encoding.TEXT: bytes.decode,
}

# What a JSON parser gives for most values of an encoding, and what is to be given to the reader.
_READY_IN_JSON = {Encoding.BOOLEAN: bool, Encoding.FLOAT: float, Encoding.TEXT: str}

# What parses the JSON of arrays of numbers.
_JSON_DECODERS = {"numeric[]": EXACT_JSON, "real[]": FLOATING_JSON, "double precision[]": FLOATING_JSON}

# Types whose values have several texts, of which Postgres prints one.
CANONICAL: dict[str, Callable[[str], str]] = {
    "uuid": lambda text: str(UUID(text)),
    "inet": _inet,
    "cidr": _cidr,
    "macaddr": _macaddr,
    "macaddr8": _macaddr8,
}

# Elements of arrays, as Postgres writes them in JSON.
_FROM_JSON: dict[str, Callable[[Any], Any]] = {
    "boolean": _boolean,
    **{name: partial(_one_of, INTEGERS[name]) for name in ("smallint", "integer", "bigint")},
    "real": float,
    "double precision": float,
    "numeric": _exact,
    "date": _date,
    "timestamp without time zone": _timestamp,
    "timestamp with time zone": _instant,
    "time without time zone": _time,
    "time with time zone": _time,
    "interval": _interval,
    "oid": partial(_whole, INTEGERS["oid"]),
    "bytea": lambda text: bytes.fromhex(text.removeprefix("\\x")),
}

_ENCODE: dict[Encoding, tuple[Any, Callable[[Any], str]]] = {
    Encoding.BOOLEAN: (bool, lambda value: "true" if value else "false"),
    Encoding.INTEGER: (int, str),
    Encoding.FLOAT: ((float, int), lambda value: repr(float(value))),
    Encoding.TEXT: ((str, UUID), _plain),
    Encoding.NUMERIC: ((Decimal, int), _number),
    Encoding.DATE: (date, lambda value: value.isoformat()),
    Encoding.TIMESTAMP: (datetime, lambda value: value.replace(tzinfo=None).isoformat(timespec="microseconds")),
    Encoding.INSTANT: (datetime, to_text),
    Encoding.TIME: (time, _clock),
    Encoding.INTERVAL: (timedelta, _duration),
    Encoding.BASE64: ((bytes, bytearray, memoryview), lambda value: base64.b64encode(bytes(value)).decode()),
}

# The first that fits counts: bool is an int, and datetime a date.
_TYPE_BY_VALUE: tuple[tuple[Any, str], ...] = (
    (bool, "boolean"),
    (int, "bigint"),
    (float, "double precision"),
    (Decimal, "numeric"),
    (str, "text"),
    (UUID, "uuid"),
    (datetime, "timestamp with time zone"),
    (date, "date"),
    (time, "time without time zone"),
    (timedelta, "interval"),
    ((bytes, bytearray, memoryview), "bytea"),
    ((dict, list, tuple), "jsonb"),
)
