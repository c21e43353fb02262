"""Event timestamps of the rows of a run or a push; those in the future do not count for freshness."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from online_features.common.instants import to_text
from online_features.common.log_lines import say
from online_features.feature_view import FeatureView
from online_features.rejection import SAMPLE_ROWS
from online_features.window import FUTURE_TOLERANCE

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EventTimes:
    """The newest event timestamp of some rows, and those in the future.

    :param newest: the latest that is not in the future, if any.
    :param future_rows: how many are in the future.
    :param furthest: the latest of those.
    :param sample: join keys and event timestamp of a few of those.
    """

    newest: datetime | None = None
    future_rows: int = 0
    furthest: datetime | None = None
    sample: tuple[tuple[Any, ...], ...] = ()

    @classmethod
    def of(cls, keys: Sequence[pa.Array], instants: pa.Array, now: datetime) -> EventTimes:
        """Summarize the event timestamps of a batch.

        :param keys: join keys of the rows.
        :param instants: timestamps with a time zone, without NULLs.
        """
        # Imported here: a process that only reads needs no Arrow.
        import pyarrow.compute as pc

        latest = pc.max(instants).as_py()
        if latest is None or latest <= now + FUTURE_TOLERANCE:
            return cls(newest=latest)
        is_future = pc.greater(instants, now + FUTURE_TOLERANCE)
        few = pc.indices_nonzero(is_future)[:SAMPLE_ROWS]
        return cls(
            newest=pc.max(instants.filter(pc.invert(is_future))).as_py(),
            future_rows=pc.sum(is_future).as_py(),
            furthest=latest,
            sample=tuple(zip(*(column.take(few).to_pylist() for column in (*keys, instants)), strict=True)),
        )

    def __add__(self, other: EventTimes) -> EventTimes:
        return EventTimes(
            newest=_later(self.newest, other.newest),
            future_rows=self.future_rows + other.future_rows,
            furthest=_later(self.furthest, other.furthest),
            sample=(self.sample + other.sample)[:SAMPLE_ROWS],
        )


def warn_of_future(view: FeatureView, times: EventTimes) -> None:
    """Log a warning about rows of the future that went online, because they keep out every row of the present."""
    if times.furthest is not None and view.source.future_rows == "warn":
        for *keys, instant in times.sample:
            entity = ", ".join(f"{name}={key!r}" for name, key in zip(view.entities, keys, strict=True))
            say(log.warning, f"Feature view {view.name!r} has a row of the future: {entity}, {to_text(instant)}")
        say(
            log.warning,
            f"Feature view {view.name!r}: {times.future_rows} row(s) have an event timestamp in the future, up to "
            f"{to_text(times.furthest)}; until then no row of the present replaces them "
            "-> correct the source and see 'A row from the future' in docs/operating.md, or give the source "
            "future_rows='reject', or 'allow' where they are meant",
        )


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((instant for instant in (one, other) if instant is not None), default=None)
