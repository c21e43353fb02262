"""What of the features has moved from one generation to another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from online_features.statistics.view_statistics import FeatureStatistics, Histogram, ViewStatistics

# From which differences on a feature counts as moved.
NULL_SHARE = 0.01
MEAN_DEVIATIONS = 0.25  # of the older generation
COMMON_SHARE = 0.05

HEIGHT = 100.0  # of the greatest bar of a histogram; its width is 100, too


class Bar(NamedTuple):
    """A bar of a histogram, in percent of the plot."""

    x: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A feature in two generations.

    :param older: its statistics in the older one; ``None`` if it has none there.
    :param moved: names of the measures that moved: ``nulls``, ``mean``, ``values``.
    :param bars: of the histograms of both, on one axis; empty where there is none.
    """

    name: str
    type: str
    older: FeatureStatistics | None
    newer: FeatureStatistics | None
    moved: frozenset[str]
    bars: tuple[Sequence[Bar], Sequence[Bar]]


def movements(older: ViewStatistics | None, newer: ViewStatistics | None) -> list[Movement]:
    """Compare the features of two generations, in their order; those that moved are first."""
    ours, theirs = (dict(statistics.features) if statistics else {} for statistics in (older, newer))
    found = [_movement(name, ours.get(name), theirs.get(name)) for name in {**theirs, **ours}]
    return sorted(found, key=lambda each: not each.moved)


def _movement(name: str, older: FeatureStatistics | None, newer: FeatureStatistics | None) -> Movement:
    one = newer or older
    assert one is not None
    return Movement(
        name=name,
        type=one.type,
        older=older,
        newer=newer,
        moved=frozenset(_moved(older, newer)) if older and newer else frozenset(),
        bars=_bars(older.histogram if older else None, newer.histogram if newer else None),
    )


def _moved(older: FeatureStatistics, newer: FeatureStatistics) -> Iterator[str]:
    if abs(newer.null_share - older.null_share) >= NULL_SHARE:
        yield "nulls"
    if older.mean is not None and newer.mean is not None:
        apart = abs(newer.mean - older.mean)
        if apart > MEAN_DEVIATIONS * (older.deviation or 0.0):
            yield "mean"
    if older.commonest and newer.commonest:
        before = {common.value: common.share for common in older.commonest}
        if any(abs(common.share - before.get(common.value, 0.0)) >= COMMON_SHARE for common in newer.commonest):
            yield "values"


def _bars(older: Histogram | None, newer: Histogram | None) -> tuple[Sequence[Bar], Sequence[Bar]]:
    edges = [_position(edge) for histogram in (older, newer) if histogram for edge in histogram.edges]
    if not edges:
        return (), ()
    low, span = min(edges), (max(edges) - min(edges)) or 1.0
    one, other = ([] if each is None else list(_bars_of(each, low, span)) for each in (older, newer))
    return one, other


def _bars_of(histogram: Histogram, low: float, span: float) -> Iterator[Bar]:
    most, edges = max(histogram.counts, default=0) or 1, histogram.edges
    for count, begin, end in zip(histogram.counts, edges, edges[1:], strict=False):
        x = 100 * (_position(begin) - low) / span
        width = max(100 * (_position(end) - _position(begin)) / span, 1.0)
        yield Bar(x, width, HEIGHT * count / most, f"{begin} to {end}: {count:,}")


def _position(edge: Any) -> float:
    """Return a number or a time as a place on an axis."""
    return (edge.replace(tzinfo=None) - datetime.min).total_seconds() if isinstance(edge, datetime) else float(edge)
