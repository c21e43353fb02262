"""Map Postgres types to Feast's types, for the columns of views in layout ``feast``.

The mapping is that of Feast's own materialization from Postgres (``feast/type_map.py``), tested against Feast itself.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from online_features.errors import UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_types import FeastType
from online_features.schema import ARRAY_SUFFIX, UNKNOWN, Column

KEY, FEATURE = "join key", "feature"

TEXTS = frozenset({"text", "character varying", "character"})
TIMES = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})

_NUMBERS = (FeastType.INT32, FeastType.INT64, FeastType.FLOAT32, FeastType.FLOAT64)
_TEXTS = (FeastType.STRING, FeastType.UUID, FeastType.TIME_UUID, FeastType.DECIMAL, FeastType.JSON)

# The first is the default, Feast's own mapping; None where Feast cannot materialize its own default (Map).
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

# Elements of all other types can have the same Feast types in arrays.
_NOT_IN_ARRAYS = ("json", "jsonb")

_KEY_TYPES: dict[str, tuple[FeastType, ...]] = {
    **dict.fromkeys(TEXTS, (FeastType.STRING,)),
    "uuid": (FeastType.STRING,),
    "smallint": (FeastType.INT32, FeastType.INT64, FeastType.STRING),
    "integer": (FeastType.INT32, FeastType.INT64, FeastType.STRING),
    "bigint": (FeastType.INT64, FeastType.INT32, FeastType.STRING),
    "bytea": (FeastType.BYTES,),
    **dict.fromkeys(TIMES, (FeastType.UNIX_TIMESTAMP,)),
}


def feast_column(view: FeatureView, part: str, column: Column) -> Column:
    """Return the column with its type in Feast, where the view is in Feast's layout.

    :param part: role of the column; only a :data:`KEY` and a :data:`FEATURE` have a type in Feast.
    :raises UnsupportedTypeError: when Feast has no type for it, or not the one that the view names.
    """
    if view.layout != "feast" or part not in (KEY, FEATURE):
        return column
    return replace(column, feast=_type(view, part, column))


def feature_types(postgres_type: str) -> Collection[FeastType | None]:
    """Return the Feast types that features of a Postgres type can have, the default first."""
    element = postgres_type.removesuffix(ARRAY_SUFFIX)
    if element == postgres_type:
        return _BY_POSTGRES_TYPE.get(postgres_type, ())
    if element in _NOT_IN_ARRAYS:
        return ()
    known = {kind.value: kind for kind in FeastType}
    lists = (known.get(f"Array({kind})") for kind in _BY_POSTGRES_TYPE.get(element, ()))
    return [kind for kind in lists if kind is not None]


def key_types(postgres_type: str) -> Collection[FeastType]:
    """Return the Feast types that join keys of a Postgres type can have, the default first."""
    return _KEY_TYPES.get(postgres_type, ())


def _type(view: FeatureView, part: str, column: Column) -> FeastType:
    if column.type == UNKNOWN:
        return FeastType.STRING  # NULL is stored alike for all types but times
    possible = list(key_types(column.type) if part == KEY else feature_types(column.type))
    named = view.feast.types.get(column.name)
    chosen = FeastType(named) if named else next(iter(possible), None)
    if chosen is not None and chosen in possible:
        return chosen
    offered = [str(kind) for kind in dict.fromkeys(possible) if kind is not None]
    how = f"as {chosen}" if chosen else "by default" if offered else "at all"
    cure = (
        f"FeastOptions(types={{{column.name!r}: …}}) with {' or '.join(offered)}"
        if offered
        else "convert it in a query="
    )
    raise UnsupportedTypeError(
        f"feature view {view.name!r}: {part} {column.name!r} has type {column.type!r}, which Feast does not hold {how} "
        f"-> {cure}"
    )
