"""Convert rows of a producer to record batches, like those that a materialization reads from the source."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.layouts.feast.feast_coercion import coerced_for_layout, inferred_feature
from online_features.layouts.feast.feast_columns import KEY, feast_column
from online_features.producers.given_rows import GivenBatch
from online_features.rejection import SAMPLE_ROWS
from online_features.schema import UNKNOWN, Column, RowSchema
from online_features.types.arrow.coercion import coerced, inferred_key
from online_features.types.arrow.instants import UTC_MICROSECONDS, coerced_instants, midnights
from online_features.types.arrow.values import Values, is_present
from online_features.types.registry import typed_column
from online_features.window import FUTURE_TOLERANCE

MOST_COLUMNS = 1600  # of a Postgres table; a Redis script can handle twice as many


@dataclass(frozen=True, kw_only=True)
class PushedRows:
    """Rows ready to be encoded, and how many were rejected because they lack an entity or an event timestamp.

    :param batch: columns as :class:`RowSchema` orders them.
    :param rejected: number of rejected rows.
    :param rejected_sample: join keys and event timestamp of a few of them.
    """

    batch: pa.RecordBatch
    rejected: int
    rejected_sample: Sequence[Sequence[Any]]


def pushed_schema(view: FeatureView, stored: RowSchema | None, given: GivenBatch) -> RowSchema:
    """Return the roles and types of pushed columns, as recorded online, or else inferred from the values.

    :raises InvalidRowsError: when columns are missing or unknown.
    """
    source = view.source
    known = {column.name: column for column in stored.columns if column.type != UNKNOWN} if stored else {}
    parts = [*view.entities, source.timestamp_field]
    optional = [name for name in (source.created_timestamp_column, source.deleted_field) if name is not None]
    if view.features is not None:
        features = list(view.features)
    elif stored is not None:
        features = [column.name for column in stored.features]
    else:
        features = [name for name in given.columns if name not in {*parts, *optional}]
    view.check_feature_names(features)
    _check_columns(view, given.columns, [*parts, *features], optional)

    def instant(name: str) -> Column:
        return known.get(name) or typed_column(name, "timestamp with time zone")

    def key(name: str) -> Column:
        return known.get(name) or feast_column(view, KEY, inferred_key(name, given.columns[name]))

    def feature(name: str) -> Column:
        return known.get(name) or inferred_feature(view, name, given.columns[name])

    created, deleted = source.created_timestamp_column, source.deleted_field
    with naming(view):
        return RowSchema(
            keys=tuple(map(key, view.entities)),
            event_timestamp=instant(source.timestamp_field),
            created_timestamp=instant(created) if created else None,
            deleted=typed_column(deleted, "boolean") if deleted else None,
            features=tuple(map(feature, features)),
        )


def pushed_rows(view: FeatureView, schema: RowSchema, given: GivenBatch, *, now: datetime) -> PushedRows:
    """Convert the rows to a record batch.

    :param now: created timestamp of rows without that column; later event timestamps are in the future.
    :raises InvalidRowsError: when a value does not fit its column.
    """
    zone = ZoneInfo(view.source.timezone)
    shown = [given.columns[column.name] for column in (*schema.keys, schema.event_timestamp)]
    with naming(view):
        instants = coerced_instants(schema.event_timestamp, shown[-1], zone)
        is_whole = reduce(pc.and_, map(is_present, shown[:-1]), _is_acceptable(view, instants, now))
        whole = _chosen(given, is_whole)
        columns = [coerced_for_layout(key, whole.columns[key.name], is_key=True) for key in schema.keys]
        columns.append(instants.filter(is_whole))
        if schema.created_timestamp is not None:
            columns.append(_created(schema.created_timestamp, whole, zone, now))
        if schema.deleted is not None:
            columns.append(_deleted(schema.deleted, whole))
        columns += [coerced_for_layout(feature, whole.columns[feature.name]) for feature in schema.features]
    return PushedRows(
        batch=pa.record_batch(columns, names=[str(i) for i in range(len(columns))]),
        rejected=given.num_rows - whole.num_rows,
        rejected_sample=_sample(shown, pc.invert(is_whole)),
    )


def aligned(schema: RowSchema, batch: pa.RecordBatch, wanted: RowSchema) -> pa.RecordBatch:
    """Return the rows with the columns of another schema: NULL where they have none, without those it does not have.

    :param schema: of the batch.
    :raises InvalidRowsError: when a column is of another type, the join keys are others, or a row deletes its entity
        and the other schema has no such column.
    """
    if schema == wanted:
        return batch
    given = {column.name: (column, values) for column, values in zip(schema.columns, batch.columns, strict=True)}
    if schema.deleted is not None and wanted.deleted is None and pc.any(given[schema.deleted.name][1]).as_py():
        raise InvalidRowsError(f"column {schema.deleted.name!r} is new, and what is online cannot hold deletions yet")
    columns = []
    for column in wanted.columns:
        own, values = given.get(column.name, (None, None))
        if own is None or own.type == UNKNOWN:
            columns.append(_nulls(wanted, column, batch.num_rows))
        elif own.type == column.type:
            columns.append(values)
        else:
            raise InvalidRowsError(f"column {column.name!r} is {own.type}, not {column.type}")
    return pa.record_batch(columns, names=[str(i) for i in range(len(columns))])


def _nulls(schema: RowSchema, column: Column, rows: int) -> pa.Array:
    if column == schema.deleted:
        return pa.repeat(pa.scalar(value=False), rows)
    if column == schema.created_timestamp:
        return pa.nulls(rows, UTC_MICROSECONDS)
    if column in (*schema.keys, schema.event_timestamp):
        raise InvalidRowsError(f"the rows lack column {column.name!r}")
    return coerced_for_layout(column, [None] * rows)


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
                f"feature view {view.name!r}: the rows have column {name!r}, which the view does not have; its columns "
                f"are {', '.join(map(repr, (*needed, *optional)))}"
            )


def _created(column: Column, given: GivenBatch, zone: ZoneInfo, now: datetime) -> pa.Array:
    if column.name not in given.columns:
        instants = pa.repeat(pa.scalar(now, UTC_MICROSECONDS), given.num_rows)
        return midnights(instants, zone) if column.type == "date" else instants
    return coerced_instants(column, given.columns[column.name], zone)


def _is_acceptable(view: FeatureView, instants: pa.Array, now: datetime) -> pa.BooleanArray:
    """Tell which event timestamps are present, and not in the future where the source rejects such rows."""
    if view.source.future_rows != "reject":
        return instants.is_valid()
    return pc.less_equal(instants, now + FUTURE_TOLERANCE).fill_null(fill_value=False)


def _deleted(column: Column, given: GivenBatch) -> pa.Array:
    if column.name not in given.columns:
        return pa.repeat(pa.scalar(value=False), given.num_rows)
    return coerced(column, given.columns[column.name]).fill_null(fill_value=False)


def _chosen(given: GivenBatch, mask: pa.BooleanArray) -> GivenBatch:
    if pc.all(mask).as_py() is not False:
        return given
    indexes = pc.indices_nonzero(mask).to_pylist()

    def chosen(column: Values) -> Values:
        return column.filter(mask) if isinstance(column, pa.Array) else [column[i] for i in indexes]

    return GivenBatch({name: chosen(column) for name, column in given.columns.items()}, len(indexes))


def _sample(shown: Sequence[Values], mask: pa.BooleanArray) -> list[list[Any]]:
    indexes = pc.indices_nonzero(mask)[:SAMPLE_ROWS].to_pylist()
    return [[_python(column[i]) for column in shown] for i in indexes]


def _python(value: Any) -> Any:
    if not isinstance(value, pa.Scalar):
        return value
    try:
        return value.as_py()
    except (OverflowError, ValueError):  # a time outside the years that Python has
        return f"{value.value} {value.type}"


@contextmanager
def naming(view: FeatureView) -> Iterator[None]:
    """Put the name of the view in front of errors that name a column."""
    try:
        yield
    except InvalidRowsError as error:
        raise InvalidRowsError(f"feature view {view.name!r}: {error}") from error
