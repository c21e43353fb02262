"""The choice of how to divide a source into parts of about as many rows.

- A table that is partitioned by join keys is divided into groups of its partitions.
- Any other table is divided into ranges of a join key: of the leading column of the index that the run walks, of one
  with which an index begins, or of the first join key that has values enough.
- A query, a view or a foreign table, of which no sample can be drawn, is divided by a hash of the join keys; so is a
  table in which no single join key makes even ranges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa

from online_features.feature_view import PostgresSource
from online_features.offline.division._cuts import cuts
from online_features.offline.division.part import HashClass, KeyRange, Part, PartitionGroup
from online_features.offline.postgres import sql_files
from online_features.offline.sql.skip_scan import SkipScan
from online_features.offline.sql.source_rows import column_of, name_of, own_prefix, rows_of, table_of
from online_features.schema import Column, RowSchema

SAMPLE_BYTES = 4 * 1024 * 1024  # of a table, whose keys show where to cut: 512 pages, so a cut is off by a few percent

EVEN = 2.0  # the heaviest part is at most so many times as heavy as the lightest one

# Types whose names, as format_type prints them, mean a single character or bit.
UNBOUNDED = {"character": "bpchar", "bit": "bit varying"}


@dataclass(frozen=True, kw_only=True)
class Division:
    """Parts of a source that together have each of its rows once.

    :param parts: at least one.
    :param scan: by which ranges are read; ``None`` reads the newest rows by ``DISTINCT ON``.
    :param collation: on which the order of ranges rests: its name and its version on this server; ``None`` if they
        rest on none.
    :param in_words: by what the source was divided, and why.
    :param unevenness: why the parts are uneven; else empty.
    """

    parts: tuple[Part, ...]
    scan: SkipScan | None = None
    collation: tuple[str, str | None] | None = None
    in_words: str
    unevenness: str = ""


@dataclass(frozen=True, kw_only=True)
class DivisibleTable:
    """A table as ``divisible.sql`` describes it.

    :param name: quoted as in SQL.
    """

    name: str
    size: int
    has_statistics: bool
    leading: Sequence[str]
    collations: Mapping[str, tuple[str, str | None]]
    partitions: Sequence[tuple[str, int]] | None


@dataclass(frozen=True, kw_only=True)
class WeightedBounds:
    """Values of a join key in the order of the database.

    :param values: as Postgres prints them.
    :param weights: what share of the rows each stands for, in any unit.
    :param origin: in words.
    """

    values: Sequence[str]
    weights: Sequence[float]
    origin: str


def divide(
    connection: sa.Connection, source: PostgresSource, schema: RowSchema, parts: int, *, scan: SkipScan | None = None
) -> Division:
    """Divide a source.

    :param parts: how many to make; fewer where there are fewer entities.
    :param scan: by which a run would read the whole source, if it is one.
    """
    table = _table(connection, source, schema)
    if table is None:
        return _by_hash(parts, f"{source.description} cannot be sampled")
    if table.partitions and (groups := _groups(table.partitions, parts)):
        return Division(
            parts=tuple(groups),
            in_words=f"groups of its {len(table.partitions)} partitions, because it is partitioned by join keys",
        )
    divider = _Divider(connection, source, schema, table, parts)
    best, *others = divider.keys(scan)
    by_best = divider.by_range(best, scan)
    if not by_best.unevenness or len(schema.keys) == 1 or scan is not None:
        return by_best
    for key in others:
        if not (found := divider.by_range(key, None)).unevenness:
            return found
    return _by_hash(parts, "no single join key makes even ranges")


def collation_of(
    connection: sa.Connection, source: PostgresSource, schema: RowSchema, column: str
) -> tuple[str, str | None] | None:
    """Return the collation of a join key, and its version on this server; ``None`` if it has none."""
    table = _table(connection, source, schema)
    return _collation(table, column) if table is not None else None


@dataclass(frozen=True)
class _Divider:
    """Divides a table into ranges."""

    connection: sa.Connection
    source: PostgresSource
    schema: RowSchema
    table: DivisibleTable
    parts: int

    def keys(self, scan: SkipScan | None) -> list[Column]:
        """Return the join keys whose ranges can be read, the best first."""
        if scan is not None:
            return [key for key in self.schema.keys if key.name == scan.index.columns[0]]
        return sorted(self.schema.keys, key=lambda key: key.name not in self.table.leading)

    def by_range(self, key: Column, scan: SkipScan | None) -> Division:
        """Divide into ranges of a join key."""
        bounds = self._bounds(key)
        if not bounds.values:
            return Division(parts=(KeyRange(column=key.name),), scan=scan, in_words="one: the table has no keys")
        places = cuts(bounds.weights, self.parts)
        ends = [None, *(bounds.values[place] for place in places), None]
        total = sum(bounds.weights)
        shares = [sum(bounds.weights[a:b]) / total for a, b in pairwise([0, *places, len(bounds.values)])]
        collation = _collation(self.table, key.name)
        ordered = f", in the order of collation {collation[0]} {collation[1] or '(no version)'}" if collation else ""
        return Division(
            parts=tuple(KeyRange(column=key.name, lower=lower, upper=upper) for lower, upper in pairwise(ends)),
            scan=scan,
            collation=collation,
            in_words=f"ranges of {key.name!r}, by {bounds.origin}{ordered}",
            unevenness=self._unevenness(key, shares),
        )

    def _unevenness(self, key: Column, shares: Sequence[float]) -> str:
        if len(shares) == self.parts and max(shares) <= EVEN * min(shares):
            return ""
        if len(shares) < self.parts:
            return f"{key.name!r} has only {len(shares)} values to divide by"
        whole = "an entity" if len(self.schema.keys) == 1 else "a value"
        return f"{whole} of {key.name!r} has about {max(shares):.0%} of the rows, and cannot be divided"

    def _bounds(self, key: Column) -> WeightedBounds:
        is_leading = key.name in self.table.leading
        if is_leading and self.table.has_statistics and (bounds := self._known_bounds(key)).values:
            return bounds
        why = "its statistics are missing or old" if is_leading else "no index begins with it"
        return self._sampled_bounds(key, why)

    def _known_bounds(self, key: Column) -> WeightedBounds:
        collation, _ = self.table.collations.get(key.name, ("", None))
        statement = sql_files.text("weighted_bounds").format(
            type=UNBOUNDED.get(key.type, key.type), collation=f"COLLATE {collation}" if collation else ""
        )
        parameters = {"table": self.table.name, "column": key.name}
        found = self.connection.execute(sa.text(statement), parameters).all()
        return _weighted(found, "the histogram in the statistics of Postgres, because an index begins with it")

    def _sampled_bounds(self, key: Column, why: str) -> WeightedBounds:
        percent = 100 * min(1.0, SAMPLE_BYTES / max(self.table.size, 1))
        own = own_prefix(self.source, self.schema)
        column = column_of(key)
        rows = sa.tablesample(rows_of(self.source), sa.func.system(percent), name=f"{own}pages")
        statement = (
            sa.select(sa.cast(column, sa.Text).label(f"{own}value"), sa.func.count().label(f"{own}rows"))
            .select_from(rows)
            .where(column.is_not(None))
            .group_by(column)
            .order_by(column)
        )
        found = self.connection.execute(statement).all()
        rows_sampled = sum(count for _, count in found)
        return _weighted(found, f"a sample of {rows_sampled:,} keys, because {why}")


def _table(connection: sa.Connection, source: PostgresSource, schema: RowSchema) -> DivisibleTable | None:
    """Return the table of the source; ``None`` if it cannot be sampled."""
    if source.table is None:
        return None
    name = name_of(table_of(source.table))
    parameters = {"table": name, "keys": [key.name for key in schema.keys]}
    found = connection.execute(sql_files.statement("divisible"), parameters).mappings().one_or_none()
    return DivisibleTable(name=name, **found) if found is not None else None


def _collation(table: DivisibleTable, column: str) -> tuple[str, str | None] | None:
    found = table.collations.get(column)
    return (found[0], found[1]) if found is not None else None


def _groups(partitions: Sequence[tuple[str, int]], parts: int) -> list[PartitionGroup]:
    """Return partitions in groups of about the same size; none if the groups cannot be even."""
    sizes, groups = [0] * parts, [list[str]() for _ in range(parts)]
    for name, size in sorted(partitions, key=lambda partition: -partition[1]):
        smallest = sizes.index(min(sizes))
        sizes[smallest] += size
        groups[smallest].append(name)
    if not min(sizes) or max(sizes) > EVEN * min(sizes):
        return []
    return [PartitionGroup(tables=tuple(group)) for group in groups]


def _by_hash(parts: int, why: str) -> Division:
    return Division(
        parts=tuple(HashClass(number=number, of=parts) for number in range(parts)),
        in_words=f"classes of a hash of the join keys, because {why}; each process reads all rows",
    )


def _weighted(found: Sequence[sa.Row[str, float]], origin: str) -> WeightedBounds:
    values, weights = zip(*found, strict=True) if found else ((), ())
    return WeightedBounds(values=values, weights=weights, origin=origin)
