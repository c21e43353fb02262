"""Reads a row of layout msgpack by the documented keyspace alone (docs/keyspace.md): plain Python, no packages."""

import json
import struct
from datetime import date, datetime, timedelta
from uuid import UUID

CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}
NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
           0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}  # fmt: skip
LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}  # bytes of the length
ARRAYS = {1: "h", 2: "i", 3: "q", 4: "e", 5: "f", 6: "d"}  # by extension type


def row_of(stored, features):
    """Return event timestamp and values of a row, None for a tombstone; features: those of the schema, in its order."""
    count, timestamp, flags = struct.unpack_from(">xHxQ9xB", stored)
    if flags & 1:
        return None
    values, at = [], 22
    for _ in range(count - 3):
        value, at = value_at(stored, at)
        values.append(value)
    values += [None] * (len(features) - len(values))  # a row from before a feature was added ends earlier
    named = {
        feature["name"]: read(feature["encoding"], value) for feature, value in zip(features, values, strict=False)
    }
    return read("instant", timestamp - 1), named


def value_at(stored, at):
    """Return the MessagePack value at a place, and the place after it."""
    head, at = stored[at], at + 1
    if head in CONSTANTS:
        return CONSTANTS[head], at
    if head in NUMBERS:
        return struct.unpack_from(NUMBERS[head], stored, at)[0], at + struct.calcsize(NUMBERS[head])
    if head < 0x80 or head >= 0xE0:
        return head if head < 0x80 else head - 0x100, at
    width = LENGTHS.get(head, 0)
    length = int.from_bytes(stored[at : at + width]) if width else head - 0xA0
    start = at + width + (0xC7 <= head <= 0xC9)
    data, end = stored[start : start + length], start + length
    if 0xC7 <= head <= 0xC9:
        return numbers(ARRAYS[stored[start - 1]], data), end
    return data if 0xC4 <= head <= 0xC6 else data.decode(), end


def numbers(form, data):
    """Return the numbers of an array."""
    found = struct.unpack(f"<{len(data) // struct.calcsize(form)}{form}", data)
    return [shortest(number) for number in found] if form in "ef" else list(found)


def shortest(number):
    """Return the shortest decimal of a number of 32 bits, which is what Postgres prints."""
    decimals = (float(f"{number:.{digits}e}") for digits in range(9))
    return next(decimal for decimal in decimals if struct.pack("<f", decimal) == struct.pack("<f", number))


def read(encoding, value):
    """Return a value as the text layouts have it: times and exact decimals as text."""
    if isinstance(value, int) and encoding == "date":
        return (date.min + timedelta(days=value)).isoformat()
    if isinstance(value, int) and encoding in ("timestamp", "instant"):
        text = (datetime.min + timedelta(microseconds=value)).isoformat(timespec="microseconds")
        return text + ("Z" if encoding == "instant" else "")
    if isinstance(value, bytes) and encoding == "text":
        return str(UUID(bytes=value))
    return json.loads(value) if isinstance(value, str) and encoding in ("json", "vector") else value
