"""Which Postgres types can go online, and how each is written as text.

The text encodings are those of the documented keyspace (``docs/keyspace.md``); names of types are what
``format_type`` prints without a modifier.
"""

from __future__ import annotations

from enum import StrEnum

ARRAY_SUFFIX = "[]"


class Encoding(StrEnum):
    """How values of a column are written as text."""

    BOOLEAN = "boolean"  # true, false
    INTEGER = "integer"  # decimal
    FLOAT = "float"  # shortest decimal that reads back the same; nan, inf, -inf
    TEXT = "text"  # as it is
    NUMERIC = "numeric"  # exact decimal
    DATE = "date"  # ISO-8601
    TIMESTAMP = "timestamp"  # ISO-8601 with microseconds and no zone
    INSTANT = "instant"  # ISO-8601 with microseconds, UTC, "Z"
    BASE64 = "base64"  # RFC 4648, no line breaks
    JSON = "json"


ENCODING_BY_TYPE = {
    "boolean": Encoding.BOOLEAN,
    "smallint": Encoding.INTEGER,
    "integer": Encoding.INTEGER,
    "bigint": Encoding.INTEGER,
    "real": Encoding.FLOAT,
    "double precision": Encoding.FLOAT,
    "text": Encoding.TEXT,
    "character varying": Encoding.TEXT,
    "character": Encoding.TEXT,
    "numeric": Encoding.NUMERIC,
    "date": Encoding.DATE,
    "timestamp without time zone": Encoding.TIMESTAMP,
    "timestamp with time zone": Encoding.INSTANT,
    "uuid": Encoding.TEXT,
    "bytea": Encoding.BASE64,
    "json": Encoding.JSON,
    "jsonb": Encoding.JSON,
}

TIMESTAMP_TYPES = ("timestamp with time zone", "timestamp without time zone", "date")


def encoding_of(type_name: str) -> Encoding | None:
    """The encoding of a Postgres type, or ``None`` when values of it cannot go online."""
    if type_name.endswith(ARRAY_SUFFIX):
        return Encoding.JSON if type_name.removesuffix(ARRAY_SUFFIX) in ENCODING_BY_TYPE else None
    return ENCODING_BY_TYPE.get(type_name)
