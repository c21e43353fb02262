"""The messages between the process of a run and the processes of its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from online_features.counters import RowCounts
from online_features.event_times import EventTimes
from online_features.feature_view import FeatureView
from online_features.schema import RowSchema
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.division.part import Part
    from online_features.offline.sql.skip_scan import SkipScan
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore
    from online_features.online.write.write_grant import WriteGrant
    from online_features.statistics.measurement import Measurement


@dataclass(frozen=True, kw_only=True)
class PartTask:
    """All that a process needs to copy a part.

    :param described: the columns of the source.
    :param window: to read.
    :param scan: of the division.
    :param snapshot: to import, while the process of the run exports it.
    :param now: later event timestamps are in the future.
    :param batch_rows: the largest number of rows in memory per batch.
    :param retry_for: how long to retry in total while Redis cannot be reached.
    :param log_level: of records that the process of the run logs.
    """

    view: FeatureView
    offline: OfflineStore
    online: OnlineStore
    described: RowSchema
    window: Window
    part: Part
    scan: SkipScan | None
    snapshot: str
    grant: WriteGrant
    now: datetime
    batch_rows: int
    retry_for: timedelta
    log_level: int


@dataclass(frozen=True, kw_only=True)
class SnapshotImported:
    """The part reads the snapshot of the run, which need not be exported to it any longer."""


@dataclass(frozen=True, kw_only=True)
class BatchWritten:
    """A batch was written, and all its rows are acknowledged."""

    counts: RowCounts
    times: EventTimes


@dataclass(frozen=True, kw_only=True)
class RowsRejected:
    """The part has rows that cannot go online.

    :param sample: join keys and event timestamp of a few of them.
    """

    rows: int
    sample: list[tuple[str | None, ...]]


@dataclass(frozen=True, kw_only=True)
class PartDone:
    """All rows of the part are counted.

    :param stages: busy seconds of each.
    :param bytes_sent: of commands to Redis.
    """

    measurement: Measurement
    stages: Mapping[str, float]
    bytes_sent: int


@dataclass(frozen=True, kw_only=True)
class PartFailed:
    """The part has ended with an error.

    :param retry_left: what is left of the time for retries.
    """

    error: BaseException
    retry_left: timedelta
