"""The schema of a feature view's rows: the columns of each part, and their types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum

from online_features.layouts.feast.feast_types import FeastType

UNKNOWN = "unknown"  # type of a column in which only NULLs have been pushed yet
ARRAY_SUFFIX = "[]"  # what the names of array types end with


class Encoding(StrEnum):
    """How values of a column are written as text; ``docs/keyspace.md`` describes it for readers."""

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
    VECTOR = "vector"  # JSON array of numbers
    JSON = "json"


@dataclass(frozen=True)
class Column:
    """A column of the source.

    :param name: as in the source.
    :param type: Postgres type name as ``format_type`` prints it without a modifier, e.g. ``"integer"``, ``"text[]"``.
    :param encoding: how its values are written as text.
    :param feast: how they are written in layout ``feast``; ``None`` in the others.
    """

    name: str
    type: str
    encoding: Encoding
    feast: FeastType | None = None

    @property
    def is_array(self) -> bool:
        """Whether its values are arrays."""
        return self.type.endswith(ARRAY_SUFFIX)


@dataclass(frozen=True, kw_only=True)
class RowSchema:
    """Columns of one row by the part they play.

    Record batches that carry such rows hold the columns in exactly this order: ``keys``, ``event_timestamp``,
    ``created_timestamp`` and ``deleted`` where declared, then ``features``.

    :param created_resolution: how much earlier than the writing of a row its created timestamp may be, because the
        column is coarse.
    :param event_resolution: the same for event timestamps.
    """

    keys: tuple[Column, ...]
    event_timestamp: Column
    created_timestamp: Column | None
    deleted: Column | None
    features: tuple[Column, ...]
    created_resolution: timedelta = timedelta(0)
    event_resolution: timedelta = timedelta(0)

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, in the order of a record batch."""
        optional = (column for column in (self.created_timestamp, self.deleted) if column is not None)
        return (*self.keys, self.event_timestamp, *optional, *self.features)

    @property
    def in_texts(self) -> RowSchema:
        """The schema without Feast's types, as layouts of text need it."""
        return replace(
            self,
            keys=tuple(replace(key, feast=None) for key in self.keys),
            features=tuple(replace(feature, feast=None) for feature in self.features),
        )

    def has_entities(self, names: Sequence[str]) -> bool:
        """Return whether these are the join keys, in this order."""
        return [key.name for key in self.keys] == list(names)
