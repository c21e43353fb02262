"""Convert rows in any form that producers have to bounded batches of columns."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

from online_features.errors import InvalidRowsError
from online_features.producers.producer_errors import with_noted_errors
from online_features.types.arrow.values import Values
from online_features.types.codec import NULL_TYPES

if TYPE_CHECKING:
    import pandas as pd

    PushableRows: TypeAlias = (
        pd.DataFrame | pa.Table | pa.RecordBatch | pa.RecordBatchReader | Iterable[Mapping[str, Any]]
    )

BATCH_ROWS = 50_000  # as in a materialization: enough for full speed, and memory stays bounded

# Wide rows make shorter batches: encoding takes a few times the memory, and an Arrow column holds 2 GiB at most.
BATCH_BYTES = 64 * 1024 * 1024
NUMBER_BYTES = 16  # of a number or a time as text, roughly

Part = TypeVar("Part")  # a frame or a record batch


@dataclass(frozen=True)
class GivenBatch:
    """A batch of rows as a producer gives it.

    :param columns: name to values, all of one length.
    :param num_rows: that length.
    """

    columns: Mapping[str, Values]
    num_rows: int


def batches(rows: Any, batch_rows: int) -> Iterator[GivenBatch]:
    """Split the rows into batches of bounded size.

    :param rows: a DataFrame, anything that Arrow can read (a table, a record batch, a reader), an iterable of mappings,
        or an iterable of DataFrames or Arrow data.
    :param batch_rows: that a batch has at most.
    :raises InvalidRowsError: when the rows are none of these.
    """
    if _is_frame(rows):
        return _of_frame(rows, batch_rows)
    if hasattr(rows, "__arrow_c_stream__"):
        return _of_arrow(pa.RecordBatchReader.from_stream(rows), batch_rows)
    if hasattr(rows, "__arrow_c_array__"):
        return _of_arrow([pa.record_batch(rows)], batch_rows)
    if isinstance(rows, Iterable) and not isinstance(rows, (str, bytes, Mapping)):
        return _of_iterable(rows, batch_rows)
    raise InvalidRowsError(
        f"rows of type {type(rows).__name__} cannot be pushed: give a DataFrame, an Arrow table, record batch or "
        "reader, or a list or other iterable of mappings, one per row"
    )


def columns_of(table: pd.DataFrame | pa.Table) -> dict[str, Values]:
    """Return the columns of a DataFrame or of an Arrow table.

    :raises InvalidRowsError: when it is neither.
    """
    if _is_frame(table):
        _refuse_doubles(table.columns)
        return {str(name): _of_series(table[name]) for name in table.columns}
    if isinstance(table, pa.Table):
        _refuse_doubles(table.column_names)
        return {name: _decoded(name, _whole(table.column(name))) for name in table.column_names}
    raise InvalidRowsError(f"neither a DataFrame nor an Arrow table, but {type(table).__name__}")


def _of_iterable(rows: Iterable[Any], batch_rows: int) -> Iterator[GivenBatch]:
    rest = with_noted_errors(rows)
    first = list(islice(rest, 1))
    if first and (
        _is_frame(first[0]) or hasattr(first[0], "__arrow_c_array__") or hasattr(first[0], "__arrow_c_stream__")
    ):
        for piece in chain(first, rest):
            yield from batches(piece, batch_rows)
    else:
        rest = chain(first, rest)
        while some := list(_next_rows(rest, batch_rows)):
            yield _of_mappings(some)


def _next_rows(rows: Iterator[Any], batch_rows: int) -> Iterator[Any]:
    """Return the next rows, as many as a batch holds."""
    weight = 0
    for row in islice(rows, batch_rows):
        yield row
        weight += _bytes_of_row(row)
        if weight >= BATCH_BYTES:
            return


def _bytes_of_row(row: Any) -> int:
    try:
        return _bytes_of_value(row)
    except RecursionError as error:
        raise InvalidRowsError("a row holds a value that is nested too deeply for Python") from error


def _bytes_of_value(value: Any) -> int:
    """Estimate the length of the value's text."""
    match value:
        case None | int() | float():  # first, because most frequent
            return NUMBER_BYTES
        case str() | bytes() | bytearray() | memoryview():
            return len(value)
        case Mapping():
            return sum(_bytes_of_value(item) for item in value.values())
        case list() | tuple():
            return sum(map(_bytes_of_value, value))
        case np.ndarray():
            return NUMBER_BYTES * value.size
    return NUMBER_BYTES


def _of_mappings(rows: Sequence[Mapping[str, Any]]) -> GivenBatch:
    for row in rows:
        if not isinstance(row, Mapping):
            raise InvalidRowsError(f"a row must be a mapping from column to value, not {type(row).__name__}")
    names = dict.fromkeys(name for row in rows for name in row)
    return GivenBatch({name: [_plain(row.get(name)) for row in rows] for name in names}, len(rows))


def _of_arrow(arriving: Iterable[pa.RecordBatch], batch_rows: int) -> Iterator[GivenBatch]:
    for batch in with_noted_errors(arriving):
        _refuse_doubles(batch.schema.names)
        for part in _bounded(batch.slice, batch.num_rows, batch_rows, _bytes_of_batch):
            columns = {
                name: _decoded(name, column) for name, column in zip(part.schema.names, part.columns, strict=True)
            }
            yield GivenBatch(columns, part.num_rows)


def _of_frame(frame: pd.DataFrame, batch_rows: int) -> Iterator[GivenBatch]:
    _refuse_doubles(frame.columns)

    def slice_of(start: int, count: int) -> pd.DataFrame:
        return frame.iloc[start : start + count]

    for part in _bounded(slice_of, len(frame), batch_rows, _bytes_of_frame):
        yield GivenBatch({name: _of_series(part[name]) for name in part.columns}, len(part))


def _bounded(
    slice_of: Callable[[int, int], Part], rows: int, batch_rows: int, bytes_of: Callable[[Part], float]
) -> Iterator[Part]:
    """Split rows into parts that have at most ``batch_rows`` rows and, if more than one row, ``BATCH_BYTES``."""
    spans = [(start, min(batch_rows, rows - start)) for start in reversed(range(0, rows, batch_rows))]
    while spans:
        start, count = spans.pop()
        part = slice_of(start, count)
        if count > 1 and bytes_of(part) > BATCH_BYTES:
            half = count // 2
            spans += [(start + half, count - half), (start, half)]
        else:
            yield part


def _bytes_of_batch(batch: pa.RecordBatch) -> float:
    return sum(map(_bytes_of_array, batch.columns))


def _bytes_of_array(array: pa.Array) -> float:
    if kinds.is_dictionary(array.type):  # each row has a value of its own when it is decoded
        return len(array) * float(array.dictionary.nbytes) / max(1, len(array.dictionary))
    return float(array.nbytes)


def _bytes_of_frame(frame: pd.DataFrame) -> float:
    return sum(_bytes_of_series(frame[name]) for name in frame.columns)


def _bytes_of_series(series: pd.Series[Any]) -> float:
    if series.dtype == "category":
        categories = series.cat.categories
        return len(series) * float(categories.memory_usage(deep=True)) / max(1, len(categories))
    return float(series.memory_usage(index=False, deep=True))


def _of_series(series: pd.Series[Any]) -> Values:
    """Convert a column of a DataFrame, in which NaN stands for NULL."""
    if series.dtype == object and _is_mixed(series):
        return _of_objects(series)  # deeply nested lists overflow Arrow's stack
    try:
        array = _whole(pa.array(series, from_pandas=True))
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return _of_objects(series)
    array = _decoded(str(series.name), array)
    if series.dtype == object and not _is_plain(array.type):
        return _of_objects(series)  # Arrow would give all decimals one scale, and all objects the same fields
    return pc.if_else(pc.is_nan(array), None, array) if kinds.is_floating(array.type) else array


def _is_mixed(series: pd.Series[Any]) -> bool:
    """Tell whether there are objects other than texts, numbers, booleans and times."""
    from pandas.api.types import infer_dtype

    return infer_dtype(series, skipna=True) in ("mixed", "mixed-integer")


def _of_objects(series: pd.Series[Any]) -> list[Any]:
    values = (_plain(value) for value in series)
    return [None if isinstance(value, float) and np.isnan(value) else value for value in values]


def _plain(value: Any) -> Any:
    """Convert NumPy's values to Python's, and pandas' NULLs to ``None``."""
    if isinstance(value, (np.ndarray, np.generic)):
        microseconds = {"M": "datetime64[us]", "m": "timedelta64[us]"}.get(value.dtype.kind)
        return (value.astype(microseconds) if microseconds else value).tolist()
    return None if type(value).__name__ in NULL_TYPES else value


def _is_plain(kind: pa.DataType) -> bool:
    """Tell whether Arrow converts objects to this type without loss."""
    return any(
        is_kind(kind) for is_kind in (kinds.is_null, kinds.is_boolean, kinds.is_integer, kinds.is_floating,
                                      kinds.is_string, kinds.is_large_string)
    )  # fmt: skip


def _decoded(name: str, array: pa.Array) -> pa.Array:
    """Decode dictionaries, runs and views, for which Arrow lacks functions.

    :raises InvalidRowsError: when Arrow cannot decode them, or the values do not match their type.
    """
    try:
        array.validate(full=True)  # readers could not decode text that is not UTF-8
        return _in_plain_form(array)
    except pa.ArrowException as error:
        raise InvalidRowsError(
            f"column {name!r}: values of Arrow type {array.type} cannot be read ({error}) -> cast the column to "
            "another type, or correct its values"
        ) from error


def _in_plain_form(array: pa.Array) -> pa.Array:
    kind = array.type
    if kinds.is_dictionary(kind):
        # Polars' categoricals are dictionaries of views, which Arrow does not decode.
        plain = pa.DictionaryArray.from_arrays(array.indices, _in_plain_form(array.dictionary))
        return plain.dictionary_decode()
    if kinds.is_run_end_encoded(kind):
        return _in_plain_form(pc.run_end_decode(array))
    if kinds.is_string_view(kind):
        return array.cast(pa.large_string())
    if kinds.is_binary_view(kind):
        return array.cast(pa.large_binary())
    return array


def _whole(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _is_frame(rows: Any) -> bool:
    pandas = sys.modules.get("pandas")  # imported already if the rows are a DataFrame
    return pandas is not None and isinstance(rows, pandas.DataFrame)


def _refuse_doubles(names: Iterable[Any]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise InvalidRowsError(f"the rows have column {name!r} twice")
