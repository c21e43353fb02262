"""Keys of rows, made from the entities that users give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from online_features.errors import InvalidRowsError
from online_features.layouts.feast.feast_columns import KEY, feast_column
from online_features.layouts.layout import Key, RowLayout
from online_features.schema import Column
from online_features.types import values

Entity: TypeAlias = Mapping[str, Any]

# Python types whose str() is the text of the value.
PLAIN_TYPES = {"smallint": int, "integer": int, "bigint": int, "text": str, "character varying": str}


def entity_key(layout: RowLayout, keys: Sequence[Column] | None, entity: Entity) -> Key:
    """Return the key of an entity's row.

    :param keys: the join key columns; ``None`` infers them from the values.
    :raises InvalidRowsError: when a join key is missing or does not fit.
    """
    view = layout.view
    if not isinstance(entity, Mapping):
        raise InvalidRowsError(
            f"feature view {view.name!r}: an entity must be a mapping from join key to value, not {entity!r}"
        )
    missing = [name for name in view.entities if entity.get(name) is None]
    if missing:
        raise InvalidRowsError(f"feature view {view.name!r}: entity {dict(entity)!r} lacks join key {missing[0]!r}")
    plain = {name: plain_value(entity[name]) for name in view.entities}
    columns = keys or [feast_column(view, KEY, values.inferred_column(name, plain[name])) for name in view.entities]
    try:
        return layout.key(columns, [values.encode_key(column, plain[column.name]) for column in columns])
    except InvalidRowsError as error:
        raise InvalidRowsError(f"feature view {view.name!r}, entity {dict(entity)!r}: {error}") from error


def entity_keys(layout: RowLayout, columns: Sequence[Column]) -> Callable[[Sequence[Entity]], Sequence[Key]]:
    """Return :func:`entity_key` for many entities, faster where ``str()`` of all values is their text."""
    plain = [(column.name, PLAIN_TYPES.get(column.type)) for column in columns]
    keys_of = layout.keys(columns)

    def keys(entities: Sequence[Entity]) -> Sequence[Key]:
        try:
            return keys_of([_plain_texts(entities, *column) for column in plain])
        except (KeyError, TypeError, ValueError):  # entity_key finds the one at fault, and names it
            return [entity_key(layout, columns, entity) for entity in entities]

    return keys


def _plain_texts(entities: Sequence[Entity], name: str, kind: type | None) -> Sequence[str]:
    """Return the texts of a join key.

    :raises KeyError: or ``TypeError`` or ``ValueError``, when ``str()`` of a value is not its text.
    """
    found = [entity[name] for entity in entities]
    if not {*map(type, found)} <= {kind} or not {*map(type, entities)} <= {dict}:
        raise TypeError(name)
    if kind is not str:
        return list(map(str, found))
    joined = "".join(found)
    if "\0" in joined or not values.has_utf8(joined):
        raise ValueError(name)
    return found


def plain_value(value: Any) -> Any:
    """Convert a NumPy scalar, as data frames yield them, to a Python value."""
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
