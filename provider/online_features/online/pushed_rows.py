"""Rows handed over by a producer, as the record batches that a materialization would read from the source."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.online import values
from online_features.postgres_types import Encoding
from online_features.schema import Column, RowSchema

Row = Mapping[str, Any]

UTC_MICROSECONDS = pa.timestamp("us", "UTC")

MOST_COLUMNS = 1600  # of a Postgres table; a Redis script can handle twice as many

UNKNOWN = "unknown"  # type of a column of which only NULLs have been pushed yet

# Types whose values Arrow holds as a materialization reads them; values of the others are encoded one by one.
ARROW_TYPES = {
    "boolean": pa.bool_(),
    "smallint": pa.int16(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "text": pa.string(),
    "character varying": pa.string(),
}


@dataclass(frozen=True)
class PushedRows:
    """Rows ready to be encoded, and those that no entity or no instant can be told from."""

    batch: pa.RecordBatch
    rejected: Sequence[Row]


def pushed_schema(view: FeatureView, stored: RowSchema | None, rows: Sequence[Row]) -> RowSchema:
    """The parts and types of pushed columns: as recorded online, else told from the values.

    :raises InvalidRowsError: when columns are missing or unknown.
    """
    source = view.source
    given = dict.fromkeys(name for row in rows for name in row)
    known = {column.name: column for column in stored.columns} if stored else {}
    parts = [*view.entities, source.timestamp_field]
    optional = [name for name in (source.created_timestamp_column, source.deleted_field) if name is not None]
    if view.features is not None:
        features = list(view.features)
    elif stored is not None:
        features = [column.name for column in stored.features]
    else:
        features = [name for name in given if name not in {*parts, *optional}]
    view.check_feature_names(features)
    _check_columns(view, given, [*parts, *features], optional)

    def column(name: str) -> Column:
        if name in known and known[name].type != UNKNOWN:
            return known[name]
        value = next((row[name] for row in rows if row.get(name) is not None), None)
        return Column(name, UNKNOWN, Encoding.TEXT) if value is None else values.inferred_column(name, value)

    def instant(name: str | None) -> Column | None:
        return None if name is None else known.get(name) or Column(name, "timestamp with time zone", Encoding.INSTANT)

    event_timestamp = instant(source.timestamp_field)
    assert event_timestamp is not None
    return RowSchema(
        keys=tuple(map(column, view.entities)),
        event_timestamp=event_timestamp,
        created_timestamp=instant(source.created_timestamp_column),
        deleted=Column(source.deleted_field, "boolean", Encoding.BOOLEAN) if source.deleted_field else None,
        features=tuple(map(column, features)),
    )


def _check_columns(view: FeatureView, given: Collection[str], needed: Sequence[str], optional: Sequence[str]) -> None:
    if len(needed) > MOST_COLUMNS:
        raise InvalidRowsError(
            f"feature view {view.name!r}: {len(needed)} columns; Postgres has at most {MOST_COLUMNS}"
        )
    for name in needed:
        if name not in given:
            raise InvalidRowsError(
                f"feature view {view.name!r}: the rows lack column {name!r}; a row replaces the whole row online, so "
                "give every column, None for NULL"
            )
    for name in given:
        if name not in {*needed, *optional}:
            raise InvalidRowsError(
                f"feature view {view.name!r}: the rows have column {name!r}, which is none of the view's; it takes "
                f"{', '.join(map(repr, (*needed, *optional)))}"
            )


def pushed_rows(view: FeatureView, schema: RowSchema, rows: Sequence[Row], *, now: datetime) -> PushedRows:
    """The rows as a record batch.

    :param now: created timestamp of rows that come without that column.
    :raises InvalidRowsError: when a value does not fit its column.
    """
    needed = (*view.entities, view.source.timestamp_field)
    whole = [row for row in rows if all(row.get(name) is not None for name in needed)]
    columns: list[pa.Array] = [_texts(view, key, whole, values.encode_key) for key in schema.keys]
    columns.append(_instants(view, schema.event_timestamp, whole, missing=None))
    if schema.created_timestamp is not None:
        columns.append(_instants(view, schema.created_timestamp, whole, missing=now))
    if schema.deleted is not None:
        name = schema.deleted.name
        columns.append(_arrow(view, schema.deleted, [row.get(name) or False for row in whole]))
    for feature in schema.features:
        if feature.type in ARROW_TYPES:
            columns.append(_arrow(view, feature, [row.get(feature.name) for row in whole]))
        else:
            columns.append(_texts(view, feature, whole, values.encode))
    rejected = [row for row in rows if not all(row.get(name) is not None for name in needed)]
    return PushedRows(pa.record_batch(columns, names=[str(i) for i in range(len(columns))]), rejected)


def _arrow(view: FeatureView, column: Column, given: Sequence[Any]) -> pa.Array:
    try:
        for value in given:
            if value is not None:  # Arrow would take a boolean for a number, and cut off a fraction.
                values.check(column, value)
        return pa.array(given, ARROW_TYPES[column.type])
    except InvalidRowsError as error:
        raise InvalidRowsError(f"feature view {view.name!r}: {error}") from error
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeError) as error:
        raise InvalidRowsError(
            f"feature view {view.name!r}: column {column.name!r} holds values that are no {column.type}: {error}"
        ) from error


def _texts(view: FeatureView, column: Column, rows: Sequence[Row], encode: Any) -> pa.StringArray:
    given = (row.get(column.name) for row in rows)
    try:
        return pa.array([None if value is None else encode(column, value) for value in given], pa.string())
    except InvalidRowsError as error:
        raise InvalidRowsError(f"feature view {view.name!r}: {error}") from error


def _instants(view: FeatureView, column: Column, rows: Sequence[Row], *, missing: datetime | None) -> pa.Array:
    given = (row.get(column.name, missing) for row in rows)
    return pa.array([None if value is None else _instant(view, column, value) for value in given], UTC_MICROSECONDS)


def _instant(view: FeatureView, column: Column, value: Any) -> datetime:
    if not isinstance(value, datetime) and (not isinstance(value, date) or column.type != "date"):
        raise _misfit(view, column, value)
    moment = value if isinstance(value, datetime) else datetime.combine(value, time())
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        if column.type != "timestamp with time zone":
            return as_postgres_reads(moment, ZoneInfo(view.source.timezone))
    except (OverflowError, ValueError) as error:
        raise _misfit(view, column, value) from error
    raise InvalidRowsError(
        f"feature view {view.name!r}: column {column.name!r}: {moment.isoformat()} has no time zone; add one, for "
        "example tzinfo=timezone.utc"
    )


def as_postgres_reads(naive: datetime, zone: ZoneInfo) -> datetime:
    """The instant of a naive time in a zone: where clocks go back or forward, standard time is meant."""
    either = (naive.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return max(local.astimezone(UTC) for local in either)


def _misfit(view: FeatureView, column: Column, value: Any) -> InvalidRowsError:
    return InvalidRowsError(f"feature view {view.name!r}: column {column.name!r}: {value!r} is no {column.type}")
