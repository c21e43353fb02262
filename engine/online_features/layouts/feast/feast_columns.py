"""Columns of views in layout ``feast``, with the types that they have in Feast."""

from __future__ import annotations

from dataclasses import replace

from online_features.errors import UnsupportedTypeError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_types import FeastType, feature_types, key_types
from online_features.schema import UNKNOWN, Column

KEY, FEATURE = "join key", "feature"


def feast_column(view: FeatureView, part: str, column: Column) -> Column:
    """The column with its type in Feast, where the view is in Feast's layout.

    :param part: that the column plays; those beside :data:`KEY` and :data:`FEATURE` have no such type.
    :raises UnsupportedTypeError: when Feast has no type for it, or not the one that the view names.
    """
    if view.layout != "feast" or part not in (KEY, FEATURE):
        return column
    return replace(column, feast=_type(view, part, column))


def _type(view: FeatureView, part: str, column: Column) -> FeastType:
    if column.type == UNKNOWN:
        return FeastType.STRING  # a NULL looks alike in all but one
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
