"""Conditions on the timestamps of rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from online_features.common.instants import to_text
from online_features.feature_view import PostgresSource
from online_features.offline.sql.source_rows import column_of
from online_features.schema import Column, RowSchema
from online_features.window import FIRST_INSTANT, LAST_INSTANT, Arrivals, Window

# How far before the cursor the event timestamp of a new row without a created timestamp may be.
UNDATED_LOOKBACK = timedelta(hours=1)

# No zone is further than this from UTC, so a naive timestamp read as UTC is no further than this from its instant.
WIDEST_UTC_OFFSET = timedelta(hours=26)


def inside(source: PostgresSource, schema: RowSchema, window: Window | Arrivals) -> ColumnElement[bool]:
    """Select rows in the window, or among the arrivals; an index can serve each part of the condition."""
    if isinstance(window, Window):
        return within(source, schema.event_timestamp, window.start, window.end)
    by_event = within(source, schema.event_timestamp, window.event_since, window.event_until)
    if schema.created_timestamp is None or window.created_since is None:
        return by_event
    # A row without a created timestamp is found by its event timestamp, however far in the future.
    undated = sa.and_(
        column_of(schema.created_timestamp).is_(None),
        within(source, schema.event_timestamp, _shifted(window.created_since, -UNDATED_LOOKBACK), None),
    )
    return sa.or_(within(source, schema.created_timestamp, window.created_since, None), undated, by_event)


def is_valid(source: PostgresSource, schema: RowSchema, latest: datetime) -> ColumnElement[bool]:
    """Select rows with an entity and a valid event timestamp.

    :param latest: the last valid event timestamp.
    """
    timestamp = ordered(source, schema.event_timestamp)
    return sa.and_(
        *(column_of(key).is_not(None) for key in schema.keys),
        timestamp.between(*first_and_last(source, schema.event_timestamp, latest)),
    )


def is_rejected(source: PostgresSource, schema: RowSchema, latest: datetime) -> ColumnElement[bool]:
    """Select all other rows than :func:`is_valid`. Indexes can serve each alternative, so that no table is scanned."""
    timestamp = ordered(source, schema.event_timestamp)
    first, last = first_and_last(source, schema.event_timestamp, latest)
    return sa.or_(
        *(column_of(column).is_(None) for column in (*schema.keys, schema.event_timestamp)),
        timestamp < first,
        timestamp > last,
    )


def first_and_last(
    source: PostgresSource, column: Column, latest: datetime
) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Return the bounds of a valid timestamp, to compare with the expression of :func:`ordered`."""
    is_naive = is_in_order(source, column) and column.type != "timestamp with time zone"
    literal = literal_naive if is_naive else literal_instant
    return literal(FIRST_INSTANT), literal(latest)


def ordered(source: PostgresSource, column: Column) -> ColumnElement[Any]:
    """Return an expression in the order of the instants: where possible the bare column, so that an index serves."""
    return column_of(column) if is_in_order(source, column) else instant_of(source, column)


def is_in_order(source: PostgresSource, column: Column) -> bool:
    """Return whether the bare column is in the order of the instants.

    In zones with daylight saving it is not: naive times in the skipped hour are later than the ones after it.
    """
    return source.timezone == "UTC" or column.type == "timestamp with time zone"


def instant_of(source: PostgresSource, column: Column) -> ColumnElement[Any]:
    """Return the column as timestamp with time zone."""
    match column.type:
        case "timestamp with time zone":
            return column_of(column)
        case "timestamp without time zone":
            return sa.func.timezone(source.timezone, column_of(column))
        case _:
            return sa.func.timezone(source.timezone, sa.cast(column_of(column), sa.TIMESTAMP))


def bounded(instant: ColumnElement[Any]) -> ColumnElement[Any]:
    """Limit the instant to those that have an ISO-8601 text; NULL stays NULL."""
    nearest = sa.func.least(
        sa.func.greatest(instant, literal_instant(FIRST_INSTANT)), literal_instant(LAST_INSTANT)
    )  # fmt: skip
    return sa.case((instant.is_not(None), nearest))


def within(
    source: PostgresSource, column: Column, start: datetime | None, end: datetime | None
) -> ColumnElement[bool]:  # fmt: skip
    """Select rows with a timestamp in ``[start, end)``; ``None`` leaves that side open."""
    instant = instant_of(source, column)
    # An index on a naive column cannot serve the comparison of instants, so a coarse comparison of the column is added.
    is_naive = column.type != "timestamp with time zone"
    conditions: list[ColumnElement[bool]] = []
    if start is not None:
        conditions.append(instant >= literal_instant(start))
        if is_naive:
            conditions.append(column_of(column) >= literal_naive(_shifted(start, -WIDEST_UTC_OFFSET)))
    if end is not None:
        conditions.append(instant < literal_instant(end))
        if is_naive:
            conditions.append(column_of(column) <= literal_naive(_shifted(end, WIDEST_UTC_OFFSET)))
    return sa.and_(sa.true(), *conditions)


def _shifted(instant: datetime, by: timedelta) -> datetime:
    try:
        return instant + by
    except OverflowError:
        return FIRST_INSTANT if by < timedelta(0) else LAST_INSTANT


def literal_instant(instant: datetime) -> ColumnElement[Any]:
    """Return the instant as a timestamp with time zone."""
    return sa.cast(sa.literal(to_text(instant)), sa.TIMESTAMP(timezone=True))


def literal_naive(instant: datetime) -> ColumnElement[Any]:
    """Return the instant, in UTC, as a timestamp without time zone."""
    return sa.cast(sa.literal(instant.astimezone(UTC).replace(tzinfo=None).isoformat()), sa.TIMESTAMP)
