"""Parts of a source: whole entities, and each row without an entity in exactly one part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from online_features.offline.sql.source_rows import literally
from online_features.schema import Column, RowSchema

# Types without a hash function in Postgres; equal values of them have equal texts.
HASHED_AS_TEXT = ("bit", "bit varying")

POSITIVE = 0x7FFFFFFF  # the bits of a hash that make a number from 0 on


@dataclass(frozen=True, kw_only=True)
class KeyRange:
    """Rows with a join key in ``[lower, upper)``, in the order of the database.

    :param column: name of the join key.
    :param lower: as Postgres prints it; ``None`` leaves that side open, and includes rows in which the key is NULL.
    :param upper: as Postgres prints it; ``None`` leaves that side open.
    """

    column: str
    lower: str | None = None
    upper: str | None = None

    @property
    def has_nulls(self) -> bool:
        """Whether rows in which the key is NULL are in the part."""
        return self.lower is None

    def entities(self, schema: RowSchema) -> ColumnElement[bool]:  # noqa: ARG002 - other parts need it
        """Select the rows of the part that have an entity; an index serves."""
        bounds = ((self._key.__ge__, self.lower), (self._key.__lt__, self.upper))
        return sa.and_(sa.true(), *(compare(_untyped(bound)) for compare, bound in bounds if bound is not None))

    def rows(self, schema: RowSchema) -> ColumnElement[bool]:
        """Select all rows of the part."""
        entities = self.entities(schema)
        return sa.or_(entities, self._key.is_(None)) if self.has_nulls and self.upper is not None else entities

    @property
    def _key(self) -> ColumnElement[str]:
        return sa.column(literally(self.column), sa.Text)


@dataclass(frozen=True, kw_only=True)
class HashClass:
    """Rows whose join keys have hashes that leave the same remainder.

    :param number: the remainder.
    :param of: how many classes there are.
    """

    number: int
    of: int

    def entities(self, schema: RowSchema) -> ColumnElement[bool]:
        """Select the rows of the part that have an entity, and others."""
        return self.rows(schema)

    def rows(self, schema: RowSchema) -> ColumnElement[bool]:
        """Select all rows of the part."""
        hashed: ColumnElement[int] = sa.func.hash_record(sa.func.row(*map(_hashable, schema.keys)), type_=sa.Integer)
        return hashed.op("&")(POSITIVE) % self.of == self.number


@dataclass(frozen=True, kw_only=True)
class PartitionGroup:
    """Some partitions of a table that is partitioned by join keys.

    :param tables: as ``"schema.table"``, split at the first dot.
    """

    tables: tuple[str, ...]


Part: TypeAlias = KeyRange | HashClass | PartitionGroup

KINDS: Mapping[str, Callable[..., Part]] = {"range": KeyRange, "hash": HashClass, "partitions": PartitionGroup}


def part_to_dict(part: Part) -> dict[str, Any]:
    """Return a part as JSON-serializable values."""
    (kind,) = (name for name, of_kind in KINDS.items() if type(part) is of_kind)
    return {"kind": kind, **asdict(part)}


def part_from_dict(stored: Mapping[str, Any]) -> Part:
    """Read what :func:`part_to_dict` wrote."""
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in stored.items()}
    return KINDS[str(fields.pop("kind"))](**fields)


def _untyped(text: str) -> ColumnElement[str]:
    """Return a literal that Postgres reads in the type of the column that it is compared with."""
    return sa.literal(text, sa.Text)


def _hashable(key: Column) -> ColumnElement[object]:
    column: ColumnElement[object] = sa.column(literally(key.name))
    return sa.cast(column, sa.Text) if key.type in HASHED_AS_TEXT else column
