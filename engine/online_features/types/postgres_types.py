"""Which Postgres types can go online, and how each is written as text.

Every type of ``pg_catalog`` is decided here by name; a test reflects over ``pg_type``, so that a type nobody thought
of fails the suite. Names are what ``format_type`` prints without a modifier. The encodings are those of the
documented keyspace (``docs/keyspace.md``).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

ARRAY_SUFFIX = "[]"


class Encoding(StrEnum):
    """How values of a column are written as text."""

    BOOLEAN = "boolean"  # true, false
    INTEGER = "integer"  # decimal
    FLOAT = "float"  # shortest decimal that reads back the same; nan, inf, -inf
    TEXT = "text"  # as it is, or as Postgres prints it
    NUMERIC = "numeric"  # exact decimal
    DATE = "date"  # ISO-8601
    TIMESTAMP = "timestamp"  # ISO-8601 with microseconds and no zone
    INSTANT = "instant"  # ISO-8601 with microseconds, UTC, "Z"
    TIME = "time"  # ISO-8601
    INTERVAL = "interval"  # ISO-8601 duration
    BASE64 = "base64"  # RFC 4648, no line breaks
    JSON = "json"


ENCODING_BY_TYPE = {
    "boolean": Encoding.BOOLEAN,
    "smallint": Encoding.INTEGER,
    "integer": Encoding.INTEGER,
    "bigint": Encoding.INTEGER,
    "oid": Encoding.INTEGER,
    "real": Encoding.FLOAT,
    "double precision": Encoding.FLOAT,
    "numeric": Encoding.NUMERIC,
    "date": Encoding.DATE,
    "timestamp without time zone": Encoding.TIMESTAMP,
    "timestamp with time zone": Encoding.INSTANT,
    "time without time zone": Encoding.TIME,
    "time with time zone": Encoding.TIME,
    "interval": Encoding.INTERVAL,
    "bytea": Encoding.BASE64,
    "json": Encoding.JSON,
    "jsonb": Encoding.JSON,
}

# Written as Postgres prints them.
AS_PRINTED = frozenset({
    "text", "character varying", "character", "name", '"char"', "uuid",
    "inet", "cidr", "macaddr", "macaddr8", "money", "bit", "bit varying", "xml", "jsonpath",
    "point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery",
    "int4range", "int8range", "numrange", "tsrange", "tstzrange", "daterange",
    "int4multirange", "int8multirange", "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange",
    "regclass", "regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator", "regproc",
    "regprocedure", "regrole", "regtype", "int2vector", "oidvector",
    "xid", "xid8", "cid", "tid", "pg_lsn", "pg_snapshot", "txid_snapshot", "refcursor", "aclitem",
})  # fmt: skip

# What Postgres keeps for itself: no feature is of these types.
REFUSED = frozenset({
    "gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
})  # fmt: skip

# Types that can be join keys: equal values have one text, and different values different texts. Floats, intervals,
# JSON and the like are not among them, because 0.0 and -0.0, or 1 day and 24 hours, are equal but print differently.
KEY_TYPES = frozenset({
    "boolean", "smallint", "integer", "bigint", "oid", "numeric", "text", "character varying", "character", "name",
    '"char"', "uuid", "bytea", "date", "timestamp without time zone", "timestamp with time zone", "inet", "cidr",
    "macaddr", "macaddr8", "bit", "bit varying",
})  # fmt: skip

TIMESTAMP_TYPES = frozenset({"timestamp with time zone", "timestamp without time zone", "date"})

# Types that ORDER BY takes as they are; the others can be ordered by their text.
ORDERED = (frozenset(ENCODING_BY_TYPE) | AS_PRINTED) - {
    "json", "xml", "jsonpath", "point", "line", "lseg", "box", "path", "polygon", "circle", "cid", "xid", "aclitem",
    "pg_snapshot", "txid_snapshot", "refcursor", "int2vector",
}  # fmt: skip


@dataclass(frozen=True)
class PostgresType:
    """What ``pg_type`` tells of a type.

    :param name: as ``format_type`` prints it without a modifier.
    :param typtype: ``b`` base, ``c`` composite, ``d`` domain, ``e`` enum, ``m`` multirange, ``p`` pseudo, ``r`` range.
    :param is_array: whether it is an array type.
    :param is_built_in: whether it comes with Postgres, not with an extension or a user.
    """

    name: str
    typtype: str
    is_array: bool
    is_built_in: bool

    @property
    def encoding(self) -> Encoding | None:
        """How values are written, or ``None`` when they cannot go online."""
        if self.name in ENCODING_BY_TYPE:
            return ENCODING_BY_TYPE[self.name]
        if self.name in AS_PRINTED:
            return Encoding.TEXT
        if self.name in REFUSED or self.typtype == "p":
            return None
        if self.is_array or self.typtype == "c":
            return Encoding.JSON
        return None if self.is_built_in else Encoding.TEXT

    @property
    def can_be_key(self) -> bool:
        """Whether a column of the type can be a join key."""
        return self.name in KEY_TYPES or self.typtype == "e"
