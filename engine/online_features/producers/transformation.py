"""Transform on write: a user's function makes the features online from rows of the source or of a producer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pyarrow as pa

from online_features.errors import InvalidRowsError, TransformError
from online_features.feature_view import FeatureView, transforms
from online_features.layouts.feast.feast_coercion import as_encoded, coerced_for_layout, inferred_feature
from online_features.producers.given_rows import GivenBatch, columns_of
from online_features.producers.pushed_rows import naming
from online_features.schema import UNKNOWN, Column, Encoding, RowSchema
from online_features.types import values
from online_features.types.arrow.coercion import WIDEST, arrow_type
from online_features.types.arrow.instants import UTC_MICROSECONDS, instants_of
from online_features.types.arrow.texts import texts
from online_features.types.arrow.values import Values
from online_features.types.registry import element_of, typed_column

if TYPE_CHECKING:
    import pandas as pd

# The Arrow types in which a function gets columns that arrive as text; others it gets as they are.
NATURAL = {
    Encoding.NUMERIC: pa.float64(),
    **{encoding: WIDEST[encoding] for encoding in (Encoding.DATE, Encoding.TIMESTAMP, Encoding.INSTANT)},
}

# Arrays of these elements reach the function as lists; others as their text.
ELEMENTS = (
    "boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "character varying",
)  # fmt: skip


class Transformation:
    """Applies a view's function to batches of its source; without a function, returns them as they are.

    :param schema: of the view's rows; types of features are those that the function returns for an empty batch.
    :param source: of the batches to apply it to: as for the layout, or without Feast's types where there is a function
        or rows are appended.
    :raises TransformError: when the function fails, or its result for an empty batch has no types.
    """

    def __init__(self, view: FeatureView, described: RowSchema, *, in_texts: bool = False) -> None:
        self.schema = described
        self.source = described.in_texts if in_texts or view.transform else described
        self._view = view
        self._batches = 0
        if view.transform is not None:
            self.schema = replace(described, features=tuple(self._described_features()))

    def apply(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with the features that the view serves.

        :raises TransformError: when the function fails, or what it returns does not fit.
        """
        if self._view.transform is None and self.source == self.schema:
            return batch
        count = batch.num_columns - len(self.source.features)
        own, features = batch.columns[:count], batch.columns[count:]
        if self._view.transform is None:
            features = list(map(as_encoded, self.schema.features, features))
        else:
            self._batches += 1
            with _named(self._view, f"batch {self._batches}"):
                made = _call(self._view, self._natural(batch))
                features = [coerced_for_layout(feature, made[feature.name]) for feature in self.schema.features]
        columns = [*map(as_encoded, self.schema.columns[:count], own), *features]
        return pa.record_batch(columns, names=[str(i) for i in range(len(columns))])

    def _described_features(self) -> Iterator[Column]:
        with _named(self._view, "an empty batch, which determines the types"):
            for name, given in _call(self._view, self._natural(self._no_rows())).items():
                column = inferred_feature(self._view, name, given)
                if column.type == UNKNOWN:
                    raise InvalidRowsError(f"feature {name!r} has no type; give it one, for example .astype('float64')")
                yield column

    def _no_rows(self) -> pa.RecordBatch:
        times = (self.source.event_timestamp, self.source.created_timestamp)
        columns = [
            pa.array([], UTC_MICROSECONDS)
            if column in times
            else coerced_for_layout(column, pa.nulls(0), is_key=column in self.source.keys)
            for column in self.source.columns
        ]
        return pa.record_batch(columns, names=[str(i) for i in range(len(columns))])

    def _natural(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        pairs = zip(self.source.columns, batch.columns, strict=True)
        return {
            column.name: _natural(column, array) if column in self.source.features else array for column, array in pairs
        }


def transformed(view: FeatureView, given: GivenBatch, number: int) -> GivenBatch:
    """Apply the view's function, if it has one, to a producer's batch.

    :param number: of the batch in its push, from 1.
    :raises TransformError: when the function fails, or what it returns does not fit.
    """
    if view.transform is None:
        return given
    with naming(view):
        columns = {**given.columns, **_instants(view, given)}
    with _named(view, f"batch {number}"):
        features = _call(view, {name: _array(name, column) for name, column in columns.items()})
    own = {name: column for name, column in given.columns.items() if name in _guarded(view)}
    return GivenBatch({**own, **features}, given.num_rows)


def _call(view: FeatureView, columns: Mapping[str, pa.Array]) -> dict[str, Values]:
    """Call the function and return the features."""
    assert view.transform is not None
    assert view.features is not None
    table = pa.table(dict(columns))
    result = columns_of(view.transform(_frame(table) if transforms(view.transform) == "DataFrame" else table))
    for name in (*view.features, *(name for name in _guarded(view) if name in columns)):
        if name not in result:
            raise InvalidRowsError(f"it returns no column {name!r}")
        if len(result[name]) != table.num_rows:
            raise InvalidRowsError(f"it returns {len(result[name])} rows for {table.num_rows}; it must keep every row")
    for name in _guarded(view):
        if name in columns and not _is_same(columns[name], result[name]):
            raise InvalidRowsError(f"it changes or reorders column {name!r}, which identifies the row")
    return {name: result[name] for name in view.features}


def _frame(table: pa.Table) -> pd.DataFrame:
    """Convert to a DataFrame in which integers and booleans keep their types beside NULLs."""
    import pandas as pd

    with_nulls = {pa.bool_(): pd.BooleanDtype()}
    for bits in (8, 16, 32, 64):
        with_nulls[getattr(pa, f"int{bits}")()] = getattr(pd, f"Int{bits}Dtype")()
        with_nulls[getattr(pa, f"uint{bits}")()] = getattr(pd, f"UInt{bits}Dtype")()
    frame: pd.DataFrame = table.to_pandas(types_mapper=with_nulls.get, integer_object_nulls=True)
    return frame


def _instants(view: FeatureView, given: GivenBatch) -> dict[str, pa.TimestampArray]:
    """Return event and created timestamps as instants; :func:`.pushed_rows` checks later whether they may be naive."""
    zone = ZoneInfo(view.source.timezone)
    names = (view.source.timestamp_field, view.source.created_timestamp_column)
    return {
        name: instants_of(typed_column(name, "date"), given.columns[name], zone)
        for name in names if name is not None and name in given.columns
    }  # fmt: skip


def _guarded(view: FeatureView) -> list[str]:
    """Return the columns that no function may change."""
    source = view.source
    optional = (source.created_timestamp_column, source.deleted_field)
    return [*view.entities, source.timestamp_field, *(name for name in optional if name is not None)]


def _is_same(before: pa.Array, after: Values) -> bool:
    try:
        # pandas turns integers beside a NULL into floats, and texts into large ones.
        return bool(before.equals((pa.array(after) if isinstance(after, list) else after).cast(before.type)))
    except pa.ArrowException:
        return False


def _natural(column: Column, array: pa.Array) -> pa.Array:
    if column.encoding in NATURAL:
        return array.cast(NATURAL[column.encoding])
    if column.is_array and (element := element_of(column)).type in ELEMENTS:
        lists = [None if text is None else values.decode(column, text) for text in array.to_pylist()]
        return pa.array(lists, pa.list_(arrow_type(element)))
    return texts(array) if pa.types.is_binary(array.type) else array


def _array(name: str, given: Values) -> pa.Array:
    """Convert a producer's column to what a function gets."""
    try:
        array = given if isinstance(given, pa.Array) else pa.array(given, from_pandas=True)
    except (pa.ArrowException, OverflowError) as error:
        raise InvalidRowsError(f"column {name!r} cannot be passed to it: {error}") from error
    return array.cast(pa.float64()) if pa.types.is_decimal(array.type) else array


@contextmanager
def _named(view: FeatureView, what: str) -> Iterator[None]:
    """Turn any error of a user's function into one that names the view and the function."""
    try:
        yield
    except Exception as error:
        name = getattr(view.transform, "__qualname__", repr(view.transform))
        said = str(error) if isinstance(error, InvalidRowsError) else f"{type(error).__name__}: {error}"
        raise TransformError(f"feature view {view.name!r}, transform {name!r}, {what}: {said}") from error
