"""Where the rows of a feature view are in Redis: at keys of their own, or in layout ``feast`` at Feast's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeAlias

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.feast import feast_format
from online_features.resp.replies import text
from online_features.schema import Column

Key: TypeAlias = "str | bytes"

GLOB = re.compile(rb"[*?\[\]\\]")


class RowKeys(Protocol):
    """The keys of one feature view's rows."""

    def key(self, columns: Sequence[Column], texts: Sequence[str]) -> Key:
        """Key of one entity's row, from the texts of its join keys."""

    def keys(self, columns: Sequence[Column]) -> Callable[[Sequence[str]], Key]:
        """:meth:`key` of many entities with these join keys."""

    def pattern(self, columns: Sequence[Column]) -> Key:
        """A glob that the keys of all entities match."""

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:
        """The texts of the join keys in a key that matches the pattern; ``None`` when it is none of the view's."""

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:
        """The words that every guarded script begins with.

        :param features: of a row that the script is to write, in their order.
        :param left: others that rows of the view may have, because they have left the view.
        """
        ...


class OwnKeys:
    """Layouts ``hash`` and ``json``: a key holds one row of one view."""

    def __init__(self, view: FeatureView) -> None:
        self._view = view

    def key(self, columns: Sequence[Column], texts: Sequence[str]) -> Key:  # noqa: ARG002
        """Key of one entity's row."""
        return keyspace.entity_key(self._view, texts)

    def keys(self, columns: Sequence[Column]) -> Callable[[Sequence[str]], Key]:  # noqa: ARG002
        """Keys of many entities' rows."""
        prefix = keyspace.entity_prefix(self._view)
        return lambda texts: prefix + keyspace.SEPARATOR.join(map(keyspace.escape, texts))

    def pattern(self, columns: Sequence[Column]) -> Key:  # noqa: ARG002
        """A glob that the keys of all entities match."""
        return f"{keyspace.entity_prefix(self._view)}*"

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:  # noqa: ARG002
        """The texts of the join keys in a key."""
        return keyspace.entity_values(self._view, text(key))

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:  # noqa: ARG002
        """No words but their number."""
        return ["0"]


class FeastKeys:
    """Layout ``feast``: a key holds the rows that all views of a project have of an entity."""

    def __init__(self, view: FeatureView) -> None:
        self._view = view
        self._project = view.project.encode()

    def key(self, columns: Sequence[Column], texts: Sequence[str]) -> Key:
        """Key of one entity's row."""
        return feast_format.entity_key(columns, texts) + self._project

    def keys(self, columns: Sequence[Column]) -> Callable[[Sequence[str]], Key]:
        """Keys of many entities' rows."""
        key_of, project = feast_format.entity_keys(columns), self._project
        return lambda texts: key_of(texts) + project

    def pattern(self, columns: Sequence[Column]) -> Key:
        """A glob that the keys of all entities match, and some others."""
        prefix = feast_format.key_prefix([column.name for column in columns])
        return GLOB.sub(rb"\\\g<0>", prefix) + b"*" + self._project

    def texts(self, columns: Sequence[Column], key: Key) -> list[str] | None:
        """The texts of the join keys in a key."""
        try:
            texts, project = feast_format.entity_texts(columns, key if isinstance(key, bytes) else key.encode())
        except ValueError:
            return None
        return texts if project == self._project else None

    def script_words(self, features: Sequence[str], left: Iterable[str] = ()) -> list[Key]:
        """The key's ttl in seconds (0: none), how many fields a row has, and their names; see ``feast.lua``."""
        ttl = self._view.feast.key_ttl
        fields = (feast_format.feature_field(self._view.name, feature) for feature in (*features, *sorted(left)))
        words: list[Key] = [
            str(int(ttl.total_seconds())) if ttl else "0",
            str(len(features) + 1),
            feast_format.tombstone_field(self._view.name),
            feast_format.timestamp_field(self._view.name),
            *fields,
        ]
        return [str(len(words)), *words]


def row_keys(view: FeatureView) -> RowKeys:
    """The keys of the view's rows."""
    return FeastKeys(view) if view.layout == "feast" else OwnKeys(view)
