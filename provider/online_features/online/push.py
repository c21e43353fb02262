"""Push: a producer writes rows online directly, under the same guard as a materialization."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import chain, islice
from typing import Any

import pyarrow.compute as pc
import redis

from online_features.concurrency import made_ahead
from online_features.counters import RowCounts
from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.online import scripts
from online_features.online.given_rows import GivenBatch, batches
from online_features.online.layouts import encoder
from online_features.online.pushed_rows import PushedRows, pushed_rows, pushed_schema
from online_features.online.pushed_views import PushedView, PushedViews, note
from online_features.online.replies import text
from online_features.online.resp import Buffers
from online_features.online.writer import guarded_writer
from online_features.rejection import SAMPLE_ROWS, log_rejected
from online_features.schema import RowSchema

BATCH_ROWS = 50_000  # as in a materialization: by column at full speed, and memory stays flat


@dataclass(frozen=True, kw_only=True)
class PushResult(RowCounts):
    """What a push did.

    :param bytes_sent: of commands to Redis.
    :param seconds: wall time.
    :param max_event_timestamp: the newest among the rows pushed; ``None`` when there were none.
    """

    bytes_sent: int
    seconds: float
    max_event_timestamp: datetime | None


def push_rows(
    client: redis.Redis,
    views: PushedViews,
    view: FeatureView,
    rows: Any,
    *,
    now: datetime,
    batch_rows: int = BATCH_ROWS,
) -> PushResult:
    """Write the rows; see :meth:`~online_features.OnlineStore.push`."""
    began = time.monotonic()
    push = _Push(client, views, view, now)
    push.send(batches(rows, batch_rows))
    return PushResult(
        **asdict(push.counts),
        bytes_sent=push.bytes_sent,
        seconds=time.monotonic() - began,
        max_event_timestamp=push.max_event_timestamp,
    )


@dataclass(frozen=True, kw_only=True)
class _ReadyBatch:
    """A batch ready for the wire.

    :param given: what it was made of, should it have to be made again.
    :param known: the state of the view under which it was made.
    """

    given: GivenBatch
    known: PushedView
    schema: RowSchema
    pushed: PushedRows
    calls: list[Buffers]


class _Push:
    """One push: batches in, acknowledgements counted."""

    def __init__(self, client: redis.Redis, views: PushedViews, view: FeatureView, now: datetime) -> None:
        self.counts = RowCounts()
        self.bytes_sent = 0
        self.max_event_timestamp: datetime | None = None
        self._client = client
        self._views = views
        self._view = view
        self._now = now
        self._rejected: list[Sequence[Any]] = []

    def send(self, given: Iterator[GivenBatch]) -> None:
        """Write the batches, each made ready while the one before is being written."""
        sent = 0
        try:
            with closing(_made(self._ready, given)) as ready_batches:
                for ready in ready_batches:
                    self._write(ready)
                    sent += 1
        except InvalidRowsError as error:
            if sent == 0:
                raise
            raise InvalidRowsError(
                f"{error} (in batch {sent + 1}; {self.counts.rows_written} rows of earlier ones are online, each valid "
                "and guarded by itself, so that all may be pushed again)"
            ) from error
        finally:
            log_rejected(self._view, self.counts.rows_rejected, self._rejected)

    def _ready(self, given: GivenBatch) -> _ReadyBatch:
        known = self._views.known(self._view)
        try:
            return self._made_under(known, given)
        except InvalidRowsError:
            current = self._views.read(self._view)
            if current == known:
                raise
            return self._made_under(current, given)

    def _made_under(self, known: PushedView, given: GivenBatch) -> _ReadyBatch:
        schema = pushed_schema(self._view, known.schema, given)
        pushed = pushed_rows(self._view, schema, given, now=self._now)
        known = self._views.with_features(self._view, known, schema)
        layout = encoder(self._view, schema, known.features)
        return _ReadyBatch(
            given=given, known=known, schema=schema, pushed=pushed,
            calls=list(layout.calls(pushed.batch)),
        )  # fmt: skip

    def _write(self, ready: _ReadyBatch) -> None:
        newest = pc.max(ready.pushed.batch.column(len(ready.schema.keys))).as_py()
        counts = self._sent(ready, newest)
        while counts is None:
            # What online rows look like has changed: a run with another definition has ended, somebody else's first
            # push has told other types, or Redis was flushed. Under what is known now the rows are validated and
            # written again. That is safe after the first attempt, because equal timestamps overwrite.
            self._views.read(self._view)
            ready = self._ready(ready.given)
            counts = self._sent(ready, newest)
        rejected = ready.pushed.rejected
        self.counts += counts + RowCounts(rows_read=rejected, rows_rejected=rejected)
        self._rejected += ready.pushed.rejected_sample[: SAMPLE_ROWS - len(self._rejected)]
        self.max_event_timestamp = max(filter(None, (self.max_event_timestamp, newest)), default=None)

    def _sent(self, ready: _ReadyBatch, newest: datetime | None) -> RowCounts | None:
        """What became of the rows; ``None`` where they were made under a state that is no more."""
        known = ready.known
        if not known.is_materialized and known.schema != ready.schema:
            known = self._views.record(self._view, known, ready.schema)
            if known.schema != ready.schema:
                return None
        with guarded_writer(self._client, scripts.guarded("write", self._view.layout)) as writer:
            question = note(self._view, known.version, newest)
            counts, version = writer.write_and_ask(ready.pushed.batch.num_rows, iter(ready.calls), question)
            self.bytes_sent += writer.bytes_sent
        return counts if text(version) == known.version else None


def _made(make: Callable[[GivenBatch], _ReadyBatch], given: Iterator[GivenBatch]) -> Generator[_ReadyBatch, None, None]:
    first, second = list(islice(given, 1)), list(islice(given, 1))
    if second:
        every = chain(first, second, given)
        del first, second  # Each batch goes when it is written.
        yield from made_ahead(make, every)
    else:  # A single batch, which most pushes are, is not worth a thread.
        yield from map(make, first)
