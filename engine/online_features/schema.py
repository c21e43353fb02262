"""The shape of a feature view's rows: which columns play which part, and their Postgres types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from online_features.layouts.feast.feast_types import FeastType
from online_features.types.postgres_types import ARRAY_SUFFIX, AS_PRINTED, ENCODING_BY_TYPE, Encoding

UNKNOWN = "unknown"  # type of a column of which only NULLs have been pushed yet


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

    @property
    def element(self) -> Column:
        """A column for the elements of an array; of types of users nothing is known but how they look in JSON."""
        element = self.type.removesuffix(ARRAY_SUFFIX)
        encoding = ENCODING_BY_TYPE.get(element, Encoding.TEXT if element in AS_PRINTED else Encoding.JSON)
        return Column(self.name, element, encoding, self.feast.element if self.feast else None)


@dataclass(frozen=True, kw_only=True)
class RowSchema:
    """Columns of one row by the part they play.

    Record batches that carry such rows hold the columns in exactly this order: ``keys``, ``event_timestamp``,
    ``created_timestamp`` and ``deleted`` where declared, then ``features``.

    :param created_resolution: how far before its writing a row may be stamped, because of how coarsely created
        timestamps are kept.
    :param event_resolution: the same of event timestamps.
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
        """The same rows as layouts of text have them: without types of Feast's."""
        return replace(
            self,
            keys=tuple(replace(key, feast=None) for key in self.keys),
            features=tuple(replace(feature, feast=None) for feature in self.features),
        )

    def has_entities(self, names: Sequence[str]) -> bool:
        """Whether these are the join keys, in this order."""
        return [key.name for key in self.keys] == list(names)
