"""Statements that read a source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ColumnElement, FromClause, Select
from sqlalchemy.sql.elements import quoted_name
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import GenerativeSelect, TableValuedAlias

from online_features.feature_view import PostgresSource
from online_features.offline.sql._feast_casts import as_feast
from online_features.offline.sql.source_rows import column_of, own_prefix, rows_of
from online_features.offline.sql.time_conditions import (
    bounded,
    inside,
    instant_of,
    is_rejected,
    is_valid,
    ordered,
    within,
)
from online_features.schema import Column, RowSchema
from online_features.types.registry import codec_of
from online_features.window import Arrivals, Window

# Types of join keys whose online text is cast to a value to find an entity.
COMPARED: dict[str, Any] = {
    "smallint": sa.SmallInteger, "integer": sa.Integer, "bigint": sa.BigInteger, "numeric": sa.Numeric,
    "text": sa.Text, "character varying": sa.Text, "uuid": postgresql.UUID, "boolean": sa.Boolean,
    "date": sa.Date, "timestamp without time zone": sa.TIMESTAMP,
    "timestamp with time zone": sa.TIMESTAMP(timezone=True),
}  # fmt: skip


def count(rows: GenerativeSelect) -> Select[*tuple[Any, ...]]:
    """Count the rows of a statement."""
    return sa.select(sa.func.count()).select_from(rows.subquery())


def no_rows(source: PostgresSource) -> Select[*tuple[Any, ...]]:
    """Select all columns of the source, and no rows."""
    return sa.select(sa.text("*")).select_from(rows_of(source)).limit(0)


def types(source: PostgresSource, schema: RowSchema) -> Select[*tuple[Any, ...]]:
    """Select one row: the type of each column as ``format_type`` prints it; of a domain, its base type."""
    one = sa.select(sa.literal(1)).subquery("one")
    # coalesce() with an untyped NULL turns a domain into its base type.
    bases = (sa.func.coalesce(column_of(column), sa.null()) for column in schema.columns)
    return sa.select(
        *(sa.cast(sa.func.pg_typeof(base), sa.Text).label(f"c{i}") for i, base in enumerate(bases))
    ).select_from(one.outerjoin(rows_of(source), sa.false()))


def newest_rows(
    source: PostgresSource, schema: RowSchema, window: Window | Arrivals, among: ColumnElement[bool] | None = None
) -> Select[*tuple[Any, ...]]:
    """Select the newest row of each entity in ``window``, in the form in which it goes online.

    :param among: a condition on the entities; ``None`` selects all of them.
    """
    keys = [column_of(key) for key in schema.keys]
    newest = (
        parts(source, schema)
        .where(
            is_valid(source, schema, window.latest),
            inside(source, schema, window),
            *([] if among is None else [among]),
        )
        .prefix_with(_distinct_on(keys))
        .order_by(*keys, ordered(source, schema.event_timestamp).desc(), *tie_breakers(source, schema))
        .subquery("newest")
    )
    return converted(source, schema, newest)


def parts(source: PostgresSource, schema: RowSchema) -> Select[*tuple[Any, ...]]:
    """Select the columns of a record batch from the source."""
    return sa.select(*(expression.label(label) for label, expression, _ in _parts(source, schema))).select_from(
        rows_of(source)
    )


def converted(source: PostgresSource, schema: RowSchema, newest: FromClause) -> Select[*tuple[Any, ...]]:
    """Convert the columns of :func:`parts` to the form in which they go online.

    The conversion is outside the choice of the newest rows, so that it runs on those only, not on all of history.
    """
    return sa.select(*(convert(newest.c[label]).label(label) for label, _, convert in _parts(source, schema)))


def _distinct_on(keys: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """Return DISTINCT ON, for which SQLAlchemy's own interface changed in 2.1."""
    return Function(quoted_name("DISTINCT ON", quote=False), *keys)


def any_rows(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> Select[*tuple[Any, ...]]:
    """Select whether there is any row in ``window`` that can go online."""
    rows = sa.select(sa.literal(1)).select_from(rows_of(source)).where(
        is_valid(source, schema, window.latest), inside(source, schema, window)
    )  # fmt: skip
    return sa.select(rows.exists())


def rejected_rows(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> Select[*tuple[Any, ...]]:
    """Select, in the columns of :func:`shown`, the rows in ``window`` without an entity or a valid event timestamp."""
    return shown(schema, rows_of(source)).where(
        is_rejected(source, schema, window.latest), inside(source, schema, window)
    )  # fmt: skip


def any_outside(
    source: PostgresSource, schema: RowSchema, part: FromClause, condition: ColumnElement[bool], arrivals: Arrivals
) -> Select[Any]:
    """Select whether a partition has a row that is not among the arrivals.

    :param part: the partition, or the table that it belongs to.
    :param condition: which of its rows are in the partition.
    """
    outside = inside(source, schema, arrivals).is_not(sa.true())
    rows = sa.select(sa.literal(1)).select_from(part)
    return sa.select(rows.where(condition, column_of(schema.event_timestamp).is_not(None), outside).exists())


def of_part(oid: int, bound: str | None) -> ColumnElement[bool]:
    """Select rows of a table that are in one of its partitions or children.

    :param bound: the condition of the partition's rows, which lets the planner skip the other partitions.
    """
    is_there = sa.column("tableoid") == sa.cast(sa.literal(oid), postgresql.OID)
    return is_there if bound is None else sa.and_(is_there, sa.literal_column(f"({bound})"))


def changed_unseen(
    source: PostgresSource, schema: RowSchema, arrivals: Arrivals, snapshot: str, percent: float
) -> Select[int, int]:
    """Count, in a sample of the table's pages, rows that changed without being among the arrivals.

    There are two counts: of rows up to now, and of rows of the future, which increments read when that time comes.

    :param snapshot: of an earlier run, as ``pg_current_snapshot()`` prints it: rows that it did not see have changed.
    :param percent: of the table's pages to look at, above 0 and at most 100.
    """
    # Postgres keeps the lower 32 bits of a transaction's id with a row; age() compares within two billions.
    _, next_id, in_progress = snapshot.split(":")
    next_xid: ColumnElement[Any] = sa.literal_column(f"'{int(next_id) % 2**32}'::xid")
    xids = [str(int(xid) % 2**32) for xid in in_progress.split(",") if xid]
    xmin: ColumnElement[Any] = sa.column("xmin")
    sample = sa.tablesample(rows_of(source), sa.func.system(percent), name="sample")
    is_future = (
        within(source, schema.event_timestamp, arrivals.event_until, None) if arrivals.event_until else sa.false()
    )
    return (
        sa.select(sa.func.count().filter(sa.not_(is_future)), sa.func.count().filter(is_future))
        .select_from(sample)
        .where(
            sa.or_(sa.func.age(xmin).between(0, sa.func.age(next_xid)), sa.cast(xmin, sa.Text).in_(xids)),
            is_valid(source, schema, arrivals.latest),
            inside(source, schema, arrivals).is_not(sa.true()),
        )
    )


def shown(schema: RowSchema, rows: FromClause) -> Select[*tuple[Any, ...]]:
    """Select join keys and event timestamp of rows of the source, as text."""
    columns = (*schema.keys, schema.event_timestamp)
    return sa.select(
        *(sa.cast(column_of(column), sa.Text).label(f"shown_{i}") for i, column in enumerate(columns))
    ).select_from(rows)


def existing_entities(source: PostgresSource, schema: RowSchema, entities: Sequence[Sequence[str]]) -> Select[Any]:
    """Select the positions, from 1, of the entities of which the source has any row.

    :param entities: the texts of join keys, as they go online.
    """
    given = _unnested(source, schema, entities, with_ordinality="place")
    held = sa.exists().select_from(rows_of(source)).where(*_are_keys(schema, given))
    return sa.select(given.c.place).where(held)


def is_among(source: PostgresSource, schema: RowSchema, entities: Sequence[Sequence[str]]) -> ColumnElement[bool]:
    """Select rows of the entities.

    :param entities: the texts of join keys, as they go online.
    """
    given = _unnested(source, schema, entities)
    return sa.exists().select_from(given).where(*_are_keys(schema, given))


def is_sampled(
    source: PostgresSource, schema: RowSchema, latest: datetime, *, size: int, percent: float | None
) -> ColumnElement[bool]:
    """Select rows of a random sample of the entities.

    :param latest: the last valid event timestamp.
    :param size: the number of entities; fewer if there are not so many.
    :param percent: of the pages of the source, which is a table, to look for entities in; ``None`` looks at all rows.
    """
    own = own_prefix(source, schema)
    rows = rows_of(source)
    if percent is not None:
        rows = sa.tablesample(rows, sa.func.system(percent), name=f"{own}pages")
    keys = [column_of(key) for key in schema.keys]
    labelled = (key.label(f"{own}key_{i}") for i, key in enumerate(keys))
    found = sa.select(*labelled).distinct().select_from(rows).where(is_valid(source, schema, latest)).subquery()
    # Postgres evaluates it once, because it is volatile.
    sampled = sa.select(found).order_by(sa.func.random()).limit(size).cte(f"{own}sampled")
    return sa.tuple_(*keys).in_(sa.select(sampled))


def _unnested(
    source: PostgresSource, schema: RowSchema, entities: Sequence[Sequence[str]], **options: str
) -> TableValuedAlias:
    """Return the texts of join keys as a table."""
    arrays = map(_array, zip(*entities, strict=True))
    own = own_prefix(source, schema)
    names = [f"{own}key_{i}" for i in range(len(schema.keys))]
    return sa.func.unnest(*arrays).table_valued(*names, **options).render_derived(name=f"{own}given")


def _array(texts: Sequence[str]) -> ColumnElement[Any]:
    """Return texts as an array, which is written as one text: SQLAlchemy 1.4 has no literals of arrays."""
    quoted = (text.replace("\\", r"\\").replace('"', r"\"") for text in texts)
    written = "{" + ",".join(f'"{text}"' for text in quoted) + "}"
    return sa.cast(sa.literal(written, sa.Text), postgresql.ARRAY(sa.Text))


def _are_keys(schema: RowSchema, given: TableValuedAlias) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that rows have the join keys whose texts are given."""
    return (_is_key(key, text) for key, text in zip(schema.keys, given.c, strict=False))


def _is_key(column: Column, text: ColumnElement[Any]) -> ColumnElement[bool]:
    """Compare the join key with its text in Redis: as a value if the type allows it, so that an index serves."""
    if column.type == "character":
        return sa.cast(column_of(column), sa.Text) == sa.func.rtrim(text)
    if column.type in COMPARED:
        return column_of(column) == sa.cast(text, COMPARED[column.type])
    return sa.cast(codec_of(column).selected(_key(column)), sa.Text) == text


def _parts(
    source: PostgresSource, schema: RowSchema
) -> Iterator[tuple[str, ColumnElement[Any], Callable[[ColumnElement[Any]], ColumnElement[Any]]]]:
    """Yield label, expression and conversion of each column of a record batch."""
    own = own_prefix(source, schema)
    for i, key in enumerate(schema.keys):
        yield f"{own}key_{i}", _key(key), partial(_as_online, key)
    yield f"{own}event_timestamp", instant_of(source, schema.event_timestamp), lambda instant: instant
    if schema.created_timestamp is not None:
        yield f"{own}created_timestamp", instant_of(source, schema.created_timestamp), bounded
    if schema.deleted is not None:
        yield f"{own}deleted", column_of(schema.deleted), lambda deleted: sa.func.coalesce(deleted, sa.false())
    for i, feature in enumerate(schema.features):
        yield f"{own}feature_{i}", column_of(feature), partial(_as_online, feature)


def _key(column: Column) -> ColumnElement[Any]:
    """Normalize the join key, so that 1.0 equals 1.00, and padded characters equal unpadded ones."""
    match column.type:
        case "character" if column.feast:
            return column_of(column)  # Feast keeps the padding
        case "numeric":
            return sa.func.trim_scale(column_of(column))
        case "character":
            return sa.cast(column_of(column), sa.Text)
        case _:
            return column_of(column)


def tie_breakers(source: PostgresSource, schema: RowSchema) -> Iterator[ColumnElement[Any]]:
    """Yield the order of rows of one entity with equal event timestamps.

    The row created last comes first, then a live row before a deleted one, then the greater value, feature by feature;
    NULL is least.
    """
    if schema.created_timestamp is not None:
        yield ordered(source, schema.created_timestamp).desc().nulls_last()
    if schema.deleted is not None:
        yield column_of(schema.deleted).asc().nulls_first()
    for feature in schema.features:
        value = column_of(feature) if codec_of(feature).is_ordered else sa.cast(column_of(feature), sa.Text)
        yield value.desc().nulls_last()


def _as_online(column: Column, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Convert the value to the form from which the view's layout is encoded."""
    return codec_of(column).selected(value) if column.feast is None else as_feast(column, column.feast, value)
