"""The SQL that reads a feature view: built with SQLAlchemy, so that every name and value is quoted by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql import ColumnElement, FromClause, Select, TableClause
from sqlalchemy.sql.elements import ColumnClause, quoted_name
from sqlalchemy.sql.functions import Function
from sqlalchemy.sql.selectable import GenerativeSelect

from online_features.common.instants import to_text
from online_features.feature_view import PostgresSource
from online_features.layouts.feast.feast_types import FeastType
from online_features.schema import ARRAY_SUFFIX, Column, RowSchema
from online_features.types.registry import codec_of
from online_features.window import FIRST_INSTANT, LAST_INSTANT, Arrivals, Window

# A paramstyle without percent signs: the text goes to COPY as it is, with values rendered as literals.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]

# Types of join keys whose text is read back as a value to look an entity up.
COMPARED: dict[str, Any] = {
    "smallint": sa.SmallInteger, "integer": sa.Integer, "bigint": sa.BigInteger, "numeric": sa.Numeric,
    "text": sa.Text, "character varying": sa.Text, "uuid": postgresql.UUID, "boolean": sa.Boolean,
    "date": sa.Date, "timestamp without time zone": sa.TIMESTAMP,
    "timestamp with time zone": sa.TIMESTAMP(timezone=True),
}  # fmt: skip

# Postgres types in which the driver hands over values of Feast types.
FEAST_SQL_TYPES: dict[FeastType, Any] = {
    FeastType.BYTES: postgresql.BYTEA, FeastType.PDF_BYTES: postgresql.BYTEA, FeastType.IMAGE_BYTES: postgresql.BYTEA,
    FeastType.INT32: sa.Integer, FeastType.INT64: sa.BigInteger, FeastType.FLOAT32: sa.REAL,
    FeastType.FLOAT64: postgresql.DOUBLE_PRECISION, FeastType.BOOL: sa.Boolean,
    FeastType.UNIX_TIMESTAMP: sa.TIMESTAMP,
}  # fmt: skip
TEXT_SQL_TYPES: dict[str, Any] = {"text": sa.Text, "character varying": sa.VARCHAR, "character": sa.CHAR}
FEAST_INTEGERS = (FeastType.INT32, FeastType.INT64)
FRACTIONAL = ("real", "double precision", "numeric")

# How far before the cursor a row that does not say when it was created may have been true.
UNDATED_LOOKBACK = timedelta(hours=1)

# The lexemes of a query: comments, literals, quoted names, white space, and single characters.
# https://www.postgresql.org/docs/current/sql-syntax-lexical.html
LEXEME = re.compile(
    r"--[^\n]*|/\*.*?\*/|(?<!\w)[eE]'(?:\\.|''|[^'\\])*'|'(?:''|[^'])*'|"
    r'"(?:""|[^"])*"|(?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|\s+|.',
    re.DOTALL,
)

# No zone is further than this from UTC, so a naive timestamp is never further from its instant read as UTC.
WIDEST_UTC_OFFSET = timedelta(hours=26)


def sql(statement: GenerativeSelect) -> str:
    """The statement as SQL text with its values as literals."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


def count(rows: GenerativeSelect) -> Select[*tuple[Any, ...]]:
    """Counts what the statement selects."""
    return sa.select(sa.func.count()).select_from(rows.subquery())


def index_on(source: PostgresSource, columns: Sequence[Column]) -> str:
    """The statement that creates an index on columns of a table."""
    assert source.table is not None
    names = ", ".join(str(column_of(column)) for column in columns)
    return f"CREATE INDEX ON {name_of(table_of(source.table))} ({names})"


def name_of(table: TableClause) -> str:
    """The name of the table as SQL has it."""
    return _DIALECT.identifier_preparer.format_table(table)


def no_rows(source: PostgresSource) -> Select[*tuple[Any, ...]]:
    """Selects no rows but all columns of the source: its shape."""
    return sa.select(sa.text("*")).select_from(rows_of(source)).limit(0)


def types(source: PostgresSource, schema: RowSchema) -> Select[*tuple[Any, ...]]:
    """Selects one row: the type of each column as ``format_type`` prints it, of a domain that of its base type."""
    one = sa.select(sa.literal(1)).subquery("one")
    # Beside an untyped NULL, Postgres takes a domain for its base type.
    bases = (sa.func.coalesce(column_of(column), sa.null()) for column in schema.columns)
    return sa.select(
        *(sa.cast(sa.func.pg_typeof(base), sa.Text).label(f"c{i}") for i, base in enumerate(bases))
    ).select_from(one.outerjoin(rows_of(source), sa.false()))


def newest_rows(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> Select[*tuple[Any, ...]]:
    """Selects the newest row of each entity in ``window``, in the form in which it goes online."""
    keys = [column_of(key) for key in schema.keys]
    newest = (
        parts(source, schema)
        .where(_is_valid(source, schema, window.latest), inside(source, schema, window))
        .prefix_with(_distinct_on(keys))
        .order_by(*keys, ordered(source, schema.event_timestamp).desc(), *tie_breakers(source, schema))
        .subquery("newest")
    )
    return converted(source, schema, newest)


def parts(source: PostgresSource, schema: RowSchema) -> Select[*tuple[Any, ...]]:
    """Selects the columns of a record batch from the source."""
    return sa.select(*(expression.label(label) for label, expression, _ in _parts(source, schema))).select_from(
        rows_of(source)
    )


def converted(source: PostgresSource, schema: RowSchema, newest: FromClause) -> Select[*tuple[Any, ...]]:
    """Selects what :func:`parts` selected in the form in which it goes online.

    Conversions stand outside, so that they are paid for the newest rows only, not for all of history.
    """
    return sa.select(*(convert(newest.c[label]).label(label) for label, _, convert in _parts(source, schema)))


def _distinct_on(keys: Sequence[ColumnElement[Any]]) -> ColumnElement[Any]:
    """What Postgres takes after SELECT. SQLAlchemy's own words for it are other ones before 2.1 and since."""
    return Function(quoted_name("DISTINCT ON", quote=False), *keys)


def any_rows(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> Select[*tuple[Any, ...]]:
    """Selects whether there is any row in ``window`` that can go online."""
    rows = sa.select(sa.literal(1)).select_from(rows_of(source)).where(
        _is_valid(source, schema, window.latest), inside(source, schema, window)
    )  # fmt: skip
    return sa.select(rows.exists())


def rejected_rows(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> Select[*tuple[Any, ...]]:
    """Selects, as :func:`shown` does, the rows in ``window`` that no entity or no instant can be told from."""
    # "Not valid" must also hold where a NULL makes validity unknown.
    return shown(schema, rows_of(source)).where(
        _is_valid(source, schema, window.latest).is_not(sa.true()), inside(source, schema, window)
    )


def any_outside(
    source: PostgresSource, schema: RowSchema, part: FromClause, condition: ColumnElement[bool], arrivals: Arrivals
) -> Select[Any]:
    """Selects whether a partition has a row that is not among the arrivals.

    :param part: the partition, or the table that it belongs to.
    :param condition: which rows of that are meant.
    """
    outside = inside(source, schema, arrivals).is_not(sa.true())
    rows = sa.select(sa.literal(1)).select_from(part)
    return sa.select(rows.where(condition, column_of(schema.event_timestamp).is_not(None), outside).exists())


def of_part(oid: int, bound: str | None) -> ColumnElement[bool]:
    """Whether a row of a table is in one of its partitions or children.

    :param bound: the condition that rows of a partition meet, by which the planner leaves out the others.
    """
    is_there = sa.column("tableoid") == sa.cast(sa.literal(oid), postgresql.OID)
    return is_there if bound is None else sa.and_(is_there, sa.literal_column(f"({bound})"))


def changed_unseen(
    source: PostgresSource, schema: RowSchema, arrivals: Arrivals, snapshot: str, percent: float
) -> Select[int, int]:
    """Counts, in a sample of the table's pages, rows that changed without being among the arrivals.

    Two counts: of rows up to now, and of rows of the future, which arrive when their time comes.

    :param snapshot: of an earlier run, as ``pg_current_snapshot()`` prints it: rows that it did not show have changed.
    :param percent: of the table's pages to look at, above 0 and at most 100.
    """
    # Postgres keeps the lower 32 bits of a transaction's id with a row; age() compares within two billions.
    _, next_id, in_progress = snapshot.split(":")
    next_xid: ColumnElement[Any] = sa.literal_column(f"'{int(next_id) % 2**32}'::xid")
    xids = [str(int(xid) % 2**32) for xid in in_progress.split(",") if xid]
    xmin: ColumnElement[Any] = sa.column("xmin")
    sample = sa.tablesample(rows_of(source), sa.func.system(percent), name="sample")
    is_future = (
        _within(source, schema.event_timestamp, arrivals.event_until, None) if arrivals.event_until else sa.false()
    )
    return (
        sa.select(sa.func.count().filter(sa.not_(is_future)), sa.func.count().filter(is_future))
        .select_from(sample)
        .where(
            sa.or_(sa.func.age(xmin).between(0, sa.func.age(next_xid)), sa.cast(xmin, sa.Text).in_(xids)),
            _is_valid(source, schema, arrivals.latest),
            inside(source, schema, arrivals).is_not(sa.true()),
        )
    )


def shown(schema: RowSchema, rows: FromClause) -> Select[*tuple[Any, ...]]:
    """Selects join keys and event timestamp of rows of the source, as text."""
    columns = (*schema.keys, schema.event_timestamp)
    return sa.select(
        *(sa.cast(column_of(column), sa.Text).label(f"shown_{i}") for i, column in enumerate(columns))
    ).select_from(rows)


def existing_entities(source: PostgresSource, schema: RowSchema, entities: Sequence[Sequence[str]]) -> Select[Any]:
    """Selects the places, from 1, of those entities of which the source has any row.

    :param entities: the texts of join keys, as they go online.
    """
    arrays = (sa.cast(sa.literal(list(texts)), postgresql.ARRAY(sa.Text)) for texts in zip(*entities, strict=True))
    names = [f"key_{i}" for i in range(len(schema.keys))]
    unnested = sa.func.unnest(*arrays).table_valued(*names, with_ordinality="place")
    given = unnested.render_derived(name="given")
    held = sa.exists().select_from(rows_of(source)).where(
        *(_is_key(key, given.c[f"key_{i}"]) for i, key in enumerate(schema.keys))
    )  # fmt: skip
    return sa.select(given.c.place).where(held)


def _is_key(column: Column, text: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the join key has the value that goes online as ``text``: compared as a value where an index can serve."""
    if column.type == "character":
        return sa.cast(column_of(column), sa.Text) == sa.func.rtrim(text)
    if column.type in COMPARED:
        return column_of(column) == sa.cast(text, COMPARED[column.type])
    return sa.cast(codec_of(column).selected(_key(column)), sa.Text) == text


def rows_of(source: PostgresSource) -> FromClause:
    """What the source is after FROM."""
    if source.table is not None:
        return table_of(source.table)
    # The query's own colons are no bind parameters, and its last line may be a comment.
    query = alone(source.query or "").replace(":", r"\:") + "\n"
    return sa.text(query).columns().subquery("source")


def alone(query: str) -> str:
    """The user's query as it stands in ours, between parentheses: without semicolons and comments at its end."""
    lexemes = [lexeme[0] for lexeme in LEXEME.finditer(query.strip())]
    while lexemes and (lexemes[-1] == ";" or lexemes[-1].isspace() or lexemes[-1].startswith(("--", "/*"))):
        lexemes.pop()
    return "".join(lexemes)


def _parts(
    source: PostgresSource, schema: RowSchema
) -> Iterator[tuple[str, ColumnElement[Any], Callable[[ColumnElement[Any]], ColumnElement[Any]]]]:
    """Label, expression and conversion of each column of a record batch."""
    own = own_prefix(source, schema)
    for i, key in enumerate(schema.keys):
        yield f"{own}key_{i}", _key(key), partial(_as_online, key)
    yield f"{own}event_timestamp", _instant(source, schema.event_timestamp), lambda instant: instant
    if schema.created_timestamp is not None:
        yield f"{own}created_timestamp", _instant(source, schema.created_timestamp), _bounded
    if schema.deleted is not None:
        yield f"{own}deleted", column_of(schema.deleted), lambda deleted: sa.func.coalesce(deleted, sa.false())
    for i, feature in enumerate(schema.features):
        yield f"{own}feature_{i}", column_of(feature), partial(_as_online, feature)


def own_prefix(source: PostgresSource, schema: RowSchema) -> str:
    """What our own names begin with and none of the source's does.

    ORDER BY takes a name for a label before it takes it for a column, and FROM for a common table expression before it
    takes it for a table.
    """
    theirs = [column.name for column in schema.columns] + (source.table.split(".") if source.table else [])
    own = "_"
    while any(name.startswith(own) for name in theirs):
        own += "_"
    return own


def _bounded(instant: ColumnElement[Any]) -> ColumnElement[Any]:
    """The instant, or the nearest one that has an ISO-8601 text; NULL stays NULL."""
    bounded = sa.func.least(
        sa.func.greatest(instant, _literal_instant(FIRST_INSTANT)), _literal_instant(LAST_INSTANT)
    )  # fmt: skip
    return sa.case((instant.is_not(None), bounded))


def _key(column: Column) -> ColumnElement[Any]:
    """The join key in a form in which equal values are one: 1.0 and 1.00, and padded and unpadded characters."""
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
    """Decides between rows of one entity with equal event timestamps.

    The one created last comes first, then a live row before a deleted one, then the greater values, feature by feature,
    NULL being least.
    """
    if schema.created_timestamp is not None:
        yield ordered(source, schema.created_timestamp).desc().nulls_last()
    if schema.deleted is not None:
        yield column_of(schema.deleted).asc().nulls_first()
    for feature in schema.features:
        value = column_of(feature) if codec_of(feature).is_ordered else sa.cast(column_of(feature), sa.Text)
        yield value.desc().nulls_last()


def _as_online(column: Column, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The value in the form in which the driver can hand it over and the view's layout is encoded from it."""
    return codec_of(column).selected(value) if column.feast is None else _as_feast(column, column.feast, value)


def _as_feast(column: Column, kind: FeastType, value: ColumnElement[Any]) -> ColumnElement[Any]:
    """The value as the driver can hand it over in the Arrow type that Feast's type is encoded from."""
    converted = _cast_to_feast(column.type.removesuffix(ARRAY_SUFFIX), kind, value)
    refused = [(is_unfit, _refused(column, what, value, converted)) for what, is_unfit in _unfit(kind, value)]
    return sa.case(*refused, else_=converted) if refused else converted


def _cast_to_feast(element_type: str, kind: FeastType, value: ColumnElement[Any]) -> ColumnElement[Any]:
    if element_type in TEXT_SQL_TYPES:
        # Left as it is: a cast would take the padding from character(n).
        sql_type = TEXT_SQL_TYPES[element_type]()
        return sa.type_coerce(value, postgresql.ARRAY(sql_type) if kind.is_list else sql_type)
    if kind in FEAST_INTEGERS and element_type in FRACTIONAL:
        # As Python's int() does it; NaN is no number, thus NULL.
        value = sa.func.trunc(sa.func.nullif(value, sa.literal_column("'NaN'")))
    sql_type = FEAST_SQL_TYPES.get(kind.element, sa.Text)()
    if element_type == "timestamp with time zone":
        sql_type = sa.TIMESTAMP(timezone=True)
    return sa.cast(value, postgresql.ARRAY(sql_type) if kind.is_list else sql_type)


def _unfit(kind: FeastType, value: ColumnElement[Any]) -> Iterator[tuple[str, ColumnElement[bool]]]:
    """What the value may be that Feast cannot hold, and whether it is."""
    if kind.is_list:
        yield "arrays of several dimensions", sa.func.array_ndims(value) > 1
    if kind.element == FeastType.UNIX_TIMESTAMP:
        first, last = _literal_naive(FIRST_INSTANT), _literal_naive(LAST_INSTANT)
        beyond = (
            sa.or_(first > sa.any_(value), last < sa.any_(value))
            if kind.is_list
            else sa.or_(value < first, value > last)
        )
        yield "times that are infinite, before our era or after the year 9999", beyond


def _refused(column: Column, what: str, value: ColumnElement[Any], converted: ColumnElement[Any]) -> ColumnElement[Any]:
    """An expression of the type of ``converted`` that fails with our words where it is evaluated.

    SQL cannot raise an error of its own, but a cast that fails quotes what it was given. That the text depends on the
    value, of which it takes nothing, keeps Postgres from evaluating it while it plans.
    """
    nothing = sa.func.left(sa.cast(value, sa.Text), 0)
    words = sa.func.concat(f"column {column.name!r} holds {what}, which Feast does not", nothing)
    return sa.cast(sa.cast(sa.cast(words, sa.Integer), sa.Text), converted.type)


def _is_valid(source: PostgresSource, schema: RowSchema, latest: datetime) -> ColumnElement[bool]:
    timestamp = ordered(source, schema.event_timestamp)
    return sa.and_(
        *(column_of(key).is_not(None) for key in schema.keys),
        timestamp.between(*first_and_last(source, schema.event_timestamp, latest)),
    )


def first_and_last(
    source: PostgresSource, column: Column, latest: datetime
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """The bounds of a valid timestamp, to be compared with what :func:`ordered` gives."""
    is_naive = is_in_order(source, column) and column.type != "timestamp with time zone"
    literal = _literal_naive if is_naive else _literal_instant
    return literal(FIRST_INSTANT), literal(latest)


def inside(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> ColumnElement[bool]:
    """Whether a row lies in the window, or has arrived; each part of the condition can be served by an index."""
    if isinstance(window, Window):
        return _within(source, schema.event_timestamp, window.start, window.end)
    by_event = _within(source, schema.event_timestamp, window.event_since, window.event_until)
    if schema.created_timestamp is None or window.created_since is None:
        return by_event
    # A row that does not say when it was created is found by its event timestamp, however far in the future.
    undated = sa.and_(
        column_of(schema.created_timestamp).is_(None),
        _within(source, schema.event_timestamp, _shifted(window.created_since, -UNDATED_LOOKBACK), None),
    )
    return sa.or_(_within(source, schema.created_timestamp, window.created_since, None), undated, by_event)


def _within(
    source: PostgresSource, column: Column, start: datetime | None, end: datetime | None
) -> ColumnElement[bool]:  # fmt: skip
    instant = _instant(source, column)
    # Beside the exact comparison of instants, one that an index on a naive column can serve.
    is_naive = column.type != "timestamp with time zone"
    conditions: list[ColumnElement[bool]] = []
    if start is not None:
        conditions.append(instant >= _literal_instant(start))
        if is_naive:
            conditions.append(column_of(column) >= _literal_naive(_shifted(start, -WIDEST_UTC_OFFSET)))
    if end is not None:
        conditions.append(instant < _literal_instant(end))
        if is_naive:
            conditions.append(column_of(column) <= _literal_naive(_shifted(end, WIDEST_UTC_OFFSET)))
    return sa.and_(sa.true(), *conditions)


def _shifted(instant: datetime, by: timedelta) -> datetime:
    try:
        return instant + by
    except OverflowError:
        return FIRST_INSTANT if by < timedelta(0) else LAST_INSTANT


def _instant(source: PostgresSource, column: Column) -> ColumnElement[Any]:
    """The column as timestamp with time zone."""
    match column.type:
        case "timestamp with time zone":
            return column_of(column)
        case "timestamp without time zone":
            return sa.func.timezone(source.timezone, column_of(column))
        case _:
            return sa.func.timezone(source.timezone, sa.cast(column_of(column), sa.TIMESTAMP))


def ordered(source: PostgresSource, column: Column) -> ColumnElement[Any]:
    """What orders as the instants do: the bare column where it can, for the sake of an index on it."""
    return column_of(column) if is_in_order(source, column) else _instant(source, column)


def is_in_order(source: PostgresSource, column: Column) -> bool:
    """Whether the bare column orders as the instants do.

    In zones with daylight saving it does not: naive times in the skipped hour are later than the ones after it.
    """
    return source.timezone == "UTC" or column.type == "timestamp with time zone"


def column_of(column: Column) -> ColumnElement[Any]:
    """The column as the source has it."""
    return sa.column(literally(column.name))


def table_of(name: str, *columns: ColumnClause[Any]) -> TableClause:
    """The table of that name, ``"table"`` or ``"schema.table"``."""
    schema, dot, table = name.partition(".")
    return (
        sa.table(literally(table), *columns, schema=literally(schema)) if dot else sa.table(literally(schema), *columns)
    )


def literally(name: str) -> quoted_name:
    """The name as it is, case kept."""
    return quoted_name(name, quote=True)


def _literal_instant(instant: datetime) -> ColumnElement[Any]:
    return sa.cast(sa.literal(to_text(instant)), sa.TIMESTAMP(timezone=True))


def _literal_naive(instant: datetime) -> ColumnElement[Any]:
    return sa.cast(sa.literal(instant.astimezone(UTC).replace(tzinfo=None).isoformat()), sa.TIMESTAMP)
