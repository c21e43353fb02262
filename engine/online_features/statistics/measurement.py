"""Measures the rows of a run in passing, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from online_features.schema import RowSchema
from online_features.statistics._feature_measures import measure_of
from online_features.statistics._row_sample import RowSample
from online_features.statistics.view_statistics import ViewStatistics


@dataclass(frozen=True, kw_only=True)
class MeasurementContent:
    """What was measured, so that another process can merge it.

    :param rows: how many were measured.
    :param numbers: what was measured exactly, by feature; JSON-serializable.
    :param bound: of the sample: it has every row that drew less.
    :param drawn: the number that each row of the sample drew.
    :param columns: the values of the sample, by feature that is sampled; empty if nothing is.
    """

    rows: int
    numbers: Mapping[str, Sequence[Any]]
    bound: float
    drawn: np.ndarray
    columns: Sequence[pa.Array]


class Measurement:
    """Measures batches of rows; one thread adds them.

    :param schema: of the batches.
    :param random: chooses the rows of the sample.
    """

    def __init__(self, schema: RowSchema, random: np.random.Generator | None = None) -> None:
        self._schema = schema
        self._rows = 0
        self._measures = {feature.name: measure_of(feature) for feature in schema.features}
        self._sampled = [name for name, measure in self._measures.items() if measure.is_sampled]
        self._sample = RowSample(len(self._sampled), random)
        self._failure: pa.ArrowException | None = None

    def add(self, batch: pa.RecordBatch) -> None:
        """Measure the rows of a batch, without those that delete their entity.

        A value of another type fails later, in :meth:`statistics`: if a column was altered as the run began, reading
        the source to its end tells so.

        :param batch: columns as :class:`~online_features.schema.RowSchema` orders them.
        """
        if self._failure is None:
            try:
                self._add(batch)
            except pa.ArrowException as failure:
                self._failure = failure

    def merge(self, other: Measurement) -> None:
        """Add what another process has measured of other rows."""
        self._failure = self._failure or other._failure
        self._rows += other._rows
        for name, measure in self._measures.items():
            measure.merge(other._measures[name])
        self._sample.merge(other._sample)

    def content(self, rows: int) -> MeasurementContent:
        """Return what was measured, with a sample of up to so many rows.

        :raises pyarrow.ArrowException: when a value was not of the type of its column.
        """
        if self._failure is not None:
            raise self._failure
        bound, drawn, columns = self._sample.least(rows).content
        numbers = {name: measure.numbers() for name, measure in self._measures.items()}
        return MeasurementContent(rows=self._rows, numbers=numbers, bound=bound, drawn=drawn, columns=columns)

    @classmethod
    def of(cls, schema: RowSchema, content: MeasurementContent) -> Measurement:
        """Return the measurement that has this :meth:`content`.

        :raises ValueError: when it is not of these features; or a TypeError.
        """
        measurement = cls(schema)
        if content.numbers.keys() != measurement._measures.keys():
            raise ValueError("it has other features")
        if len(content.columns) not in (0, len(measurement._sampled)):
            raise ValueError("its sample has other columns")
        measurement._rows = content.rows
        for name, measure in measurement._measures.items():
            measure.restore(content.numbers[name])
        if content.columns:
            measurement._sample = RowSample.of(content.bound, content.drawn, content.columns)
        return measurement

    def statistics(self) -> ViewStatistics:
        """Return the statistics of all rows so far.

        :raises pyarrow.ArrowException: when a value was not of the type of its column.
        """
        if self._failure is not None:
            raise self._failure
        columns = dict(zip(self._sampled, self._sample.columns(), strict=False))  # none before the first batch
        return ViewStatistics(
            rows=self._rows,
            sampled=max(map(len, columns.values()), default=0),
            features={
                name: measure.statistics(self._rows, columns.get(name)) for name, measure in self._measures.items()
            },
        )

    def _add(self, batch: pa.RecordBatch) -> None:
        rows = self._without_deleted(batch)
        features = rows.columns[len(self._schema.columns) - len(self._schema.features) :]
        prepared = {}
        for (name, measure), column in zip(self._measures.items(), features, strict=True):
            prepared[name] = measure.prepared(column)
            measure.add(prepared[name])
        self._rows += len(rows)
        if self._sampled:
            self._sample.add([prepared[name] for name in self._sampled])

    def _without_deleted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        if self._schema.deleted is None:
            return batch
        deleted = batch.column(self._schema.columns.index(self._schema.deleted))
        return batch.filter(pc.invert(deleted)) if pc.any(deleted).as_py() else batch
