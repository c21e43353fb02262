"""Feast's value types, and which of them a Postgres type can become.

Numbers of types and fields are those of Feast's ``Value.proto``; the mapping is what Feast's own materialization from
Postgres does (``feast/type_map.py``), tested against Feast itself. Names are as Feast prints its types.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from online_features.types.postgres_types import ARRAY_SUFFIX


class FeastType(StrEnum):
    """A type of a feature or join key in Feast, scalar or list."""

    BYTES = "Bytes"
    STRING = "String"
    INT32 = "Int32"
    INT64 = "Int64"
    FLOAT64 = "Float64"
    FLOAT32 = "Float32"
    BOOL = "Bool"
    UNIX_TIMESTAMP = "UnixTimestamp"
    PDF_BYTES = "PdfBytes"
    IMAGE_BYTES = "ImageBytes"
    JSON = "Json"
    UUID = "Uuid"
    TIME_UUID = "TimeUuid"
    DECIMAL = "Decimal"
    BYTES_LIST = "Array(Bytes)"
    STRING_LIST = "Array(String)"
    INT32_LIST = "Array(Int32)"
    INT64_LIST = "Array(Int64)"
    FLOAT64_LIST = "Array(Float64)"
    FLOAT32_LIST = "Array(Float32)"
    BOOL_LIST = "Array(Bool)"
    UNIX_TIMESTAMP_LIST = "Array(UnixTimestamp)"
    JSON_LIST = "Array(Json)"
    UUID_LIST = "Array(Uuid)"
    TIME_UUID_LIST = "Array(TimeUuid)"
    DECIMAL_LIST = "Array(Decimal)"

    @property
    def is_list(self) -> bool:
        """Whether values are lists."""
        return self.value.startswith("Array(")

    @property
    def element(self) -> FeastType:
        """The type of a list's elements; of a scalar, the type itself."""
        return FeastType(self.value.removeprefix("Array(").removesuffix(")"))


# Number of each type's field in message Value.
FIELD_NUMBER = {
    FeastType.BYTES: 1, FeastType.STRING: 2, FeastType.INT32: 3, FeastType.INT64: 4, FeastType.FLOAT64: 5,
    FeastType.FLOAT32: 6, FeastType.BOOL: 7, FeastType.UNIX_TIMESTAMP: 8, FeastType.PDF_BYTES: 1,
    FeastType.IMAGE_BYTES: 1, FeastType.BYTES_LIST: 11, FeastType.STRING_LIST: 12, FeastType.INT32_LIST: 13,
    FeastType.INT64_LIST: 14, FeastType.FLOAT64_LIST: 15, FeastType.FLOAT32_LIST: 16, FeastType.BOOL_LIST: 17,
    FeastType.UNIX_TIMESTAMP_LIST: 18, FeastType.JSON: 32, FeastType.JSON_LIST: 33, FeastType.UUID: 36,
    FeastType.TIME_UUID: 37, FeastType.UUID_LIST: 38, FeastType.TIME_UUID_LIST: 39, FeastType.DECIMAL: 44,
    FeastType.DECIMAL_LIST: 45,
}  # fmt: skip

# Number of each type of a join key in enum ValueType.
KEY_NUMBER = {
    FeastType.BYTES: 1, FeastType.STRING: 2, FeastType.INT32: 3, FeastType.INT64: 4, FeastType.UNIX_TIMESTAMP: 8,
}  # fmt: skip

# What Feast has in a timestamp's place when it is NULL: numpy's "not a time".
NO_TIME = -(2**63)

TEXTS = frozenset({"text", "character varying", "character"})
TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})

_NUMBERS = (FeastType.INT32, FeastType.INT64, FeastType.FLOAT32, FeastType.FLOAT64)
_TEXTS = (FeastType.STRING, FeastType.UUID, FeastType.TIME_UUID, FeastType.DECIMAL, FeastType.JSON)

# The first is the default, Feast's own mapping; None where Feast's default (Map) is not one that it can materialize.
_BY_POSTGRES_TYPE: dict[str, tuple[FeastType | None, ...]] = {
    "boolean": (FeastType.BOOL,),
    "smallint": (FeastType.INT32, *_NUMBERS),
    "integer": (FeastType.INT32, *_NUMBERS),
    "bigint": (FeastType.INT64, *_NUMBERS),
    "real": (FeastType.FLOAT32, *_NUMBERS),
    "double precision": (FeastType.FLOAT64, *_NUMBERS),
    "numeric": (FeastType.FLOAT64, *_NUMBERS, FeastType.DECIMAL),
    **dict.fromkeys(TEXTS, _TEXTS),
    "bytea": (FeastType.BYTES, FeastType.PDF_BYTES, FeastType.IMAGE_BYTES),
    **dict.fromkeys(TIMES, (FeastType.UNIX_TIMESTAMP,)),
    "uuid": (FeastType.UUID, FeastType.TIME_UUID, FeastType.STRING),
    "json": (None, FeastType.JSON),
    "jsonb": (None, FeastType.JSON),
}

# Of arrays, elements of these Postgres types; their values can be of the same Feast types.
_ELEMENTS = (
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "text", "character varying",
    "character", "bytea", "date", "timestamp without time zone", "timestamp with time zone", "uuid",
)  # fmt: skip

_KEY_TYPES: dict[str, tuple[FeastType, ...]] = {
    **dict.fromkeys(TEXTS, (FeastType.STRING,)),
    "uuid": (FeastType.STRING,),
    "smallint": (FeastType.INT32, FeastType.INT64, FeastType.STRING),
    "integer": (FeastType.INT32, FeastType.INT64, FeastType.STRING),
    "bigint": (FeastType.INT64, FeastType.INT32, FeastType.STRING),
    "bytea": (FeastType.BYTES,),
    **dict.fromkeys(TIMES, (FeastType.UNIX_TIMESTAMP,)),
}


def feature_types(postgres_type: str) -> Collection[FeastType | None]:
    """Feast types that features of a Postgres type can have, the default first; empty when there is none."""
    element = postgres_type.removesuffix(ARRAY_SUFFIX)
    if element == postgres_type:
        return _BY_POSTGRES_TYPE.get(postgres_type, ())
    if element not in _ELEMENTS:
        return ()
    known = {kind.value: kind for kind in FeastType}
    lists = (known.get(f"Array({kind})") for kind in _BY_POSTGRES_TYPE[element])
    return [kind for kind in lists if kind is not None]


def key_types(postgres_type: str) -> Collection[FeastType]:
    """Feast types that join keys of a Postgres type can have, the default first; empty when there is none."""
    return _KEY_TYPES.get(postgres_type, ())
