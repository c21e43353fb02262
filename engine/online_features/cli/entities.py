"""Entities, written as ``key=value`` words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.schema import RowSchema
from online_features.types import values


def entity_of(view: FeatureView, schema: RowSchema, words: Sequence[str]) -> dict[str, Any]:
    """Return join keys and values of an entity, each of the type that the schema has for it.

    :param words: ``key=value``, one for each join key; a value is written as docs/keyspace.md encodes it as text.
    :raises InvalidRowsError: when one is missing, unknown, named twice, or does not fit its type.
    """
    columns = {column.name: column for column in schema.keys}
    example = " ".join(f"{name}=…" for name in columns)
    entity: dict[str, Any] = {}
    for word in words:
        # A join key may have "=" in its name.
        name = max((each for each in columns if word.startswith(f"{each}=")), key=len, default="")
        text = word[len(name) + 1 :]
        if name not in columns or name in entity:
            what = "is named twice" if name in entity else "is not a join key of it with its value"
            raise InvalidRowsError(f"feature view {view.name!r}: {word!r} {what} -> write {example}")
        entity[name] = values.parse(columns[name], text)
    if missing := [name for name in columns if name not in entity]:
        raise InvalidRowsError(f"feature view {view.name!r}: join key {missing[0]!r} is missing -> write {example}")
    return entity
