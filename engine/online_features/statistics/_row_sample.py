"""A uniform sample of rows that come in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as kinds

SAMPLE_ROWS = 20_000  # a quantile of them is off by a third of a percent of the rows, or less
SAMPLE_VALUES = 2_000_000  # of all features: some tens of MiB, so that wide views get a smaller sample
TEXT_CHARACTERS = 32  # of a text in the sample


class RowSample:
    """Keeps the rows that drew the least of random numbers: each row is as likely to be among them.

    :param columns: how many there are.
    :param random: draws the numbers.
    """

    def __init__(self, columns: int, random: np.random.Generator | None = None) -> None:
        self._size = min(SAMPLE_ROWS, SAMPLE_VALUES // max(columns, 1))
        self._random = random or np.random.default_rng()
        self._bound = 1.0  # a row that draws as much or more is not among the least
        self._drawn: list[np.ndarray] = []
        self._parts: list[list[pa.Array]] = []

    def add(self, columns: Sequence[pa.Array]) -> None:
        """Sample the rows of a batch; texts are shortened."""
        drawn = self._random.random(len(columns[0]))
        chosen = np.flatnonzero(drawn < self._bound)
        self._drawn.append(drawn[chosen])
        self._parts.append([_shortened(column.take(pa.array(chosen))) for column in columns])
        if sum(map(len, self._drawn)) > 2 * self._size:  # so that a row is copied twice at most, on average
            self._shrink()

    def merge(self, other: RowSample) -> None:
        """Sample the rows that another sample has seen: together they keep the rows that drew the least.

        A row that drew as much as one of them has left out, or more, goes, so that rows of both are equally likely.
        """
        self._drawn += other._drawn
        self._parts += other._parts
        self._bound = min(self._bound, other._bound)
        if self._parts:
            self._shrink()

    def least(self, rows: int) -> RowSample:
        """Return a sample of up to so many rows."""
        cut = RowSample(0, self._random)
        cut._size, cut._bound, cut._drawn, cut._parts = min(rows, self._size), self._bound, self._drawn, self._parts
        if cut._parts:
            cut._shrink()
        return cut

    @property
    def content(self) -> tuple[float, np.ndarray, list[pa.Array]]:
        """The bound, and of each row the number that it drew, and its values by column."""
        columns = self.columns()
        return self._bound, self._drawn[0] if columns else np.array([]), columns

    @classmethod
    def of(cls, bound: float, drawn: np.ndarray, columns: Sequence[pa.Array]) -> RowSample:
        """Return the sample that has this :attr:`content`."""
        sample = cls(len(columns))
        sample._bound, sample._drawn, sample._parts = bound, [drawn], [[*columns]]
        return sample

    def columns(self) -> list[pa.Array]:
        """Return the columns of the sample; an empty list before the first batch."""
        if self._parts:
            self._shrink()
        return self._parts[0] if self._parts else []

    def _shrink(self) -> None:
        drawn = np.concatenate(self._drawn)
        columns = [pa.concat_arrays(parts) for parts in zip(*self._parts, strict=True)]
        if not (kept := drawn < self._bound).all():
            drawn, columns = drawn[kept], [column.filter(pa.array(kept)) for column in columns]
        if len(drawn) > self._size:
            order = np.argpartition(drawn, self._size)
            # That of the first row that is left out: with that of the last one kept, rows of small parts are too rare.
            self._bound = float(drawn[order[self._size]])
            kept = np.sort(order[: self._size])  # in order, which copies faster
            drawn, columns = drawn[kept], [column.take(pa.array(kept)) for column in columns]
        self._drawn, self._parts = [drawn], [columns]


def _shortened(column: pa.Array) -> pa.Array:
    """Cut long texts, so that the sample stays small."""
    if not kinds.is_string(column.type) or (pc.max(pc.binary_length(column)).as_py() or 0) <= TEXT_CHARACTERS:
        return column
    return pc.utf8_slice_codeunits(column, 0, TEXT_CHARACTERS)
