"""The class of an entity, from what both stores hold of it. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from online_features.layouts.stamps import Stamps
from online_features.offline.sql.time_conditions import UNDATED_LOOKBACK
from online_features.online.write.erasure import LAST_OF_ALL
from online_features.verification.report import SkewClass
from online_features.window import Arrivals


@dataclass(frozen=True, kw_only=True)
class SourceRow:
    """The newest row of an entity in the source.

    :param is_deleted: whether it says that the entity is gone.
    :param is_expired: whether Redis may have dropped it, because it is past the view's ttl.
    """

    timestamp: datetime
    created: datetime | None
    is_deleted: bool
    is_expired: bool

    @property
    def is_absent(self) -> bool:
        """Whether the entity should not be online."""
        return self.is_deleted or self.is_expired


def judge(source: SourceRow, online: Stamps | None, *, has_same_values: bool) -> SkewClass:
    """Return the class of an entity that the source has.

    :param online: of the row or tombstone there; ``None`` if there is nothing.
    :param has_same_values: whether both are rows, and their features are equal.
    """
    if online is None or (online.is_tombstone and source.is_absent):
        return SkewClass.EQUAL if source.is_absent else SkewClass.MISSING
    is_erased = online.is_tombstone and online.created == LAST_OF_ALL
    if is_erased and source.timestamp <= online.timestamp:
        return SkewClass.EQUAL
    if has_same_values and source.timestamp == online.timestamp:
        return SkewClass.EQUAL
    if _is_before(online.timestamp, online.created, source):
        return SkewClass.MISSING if online.is_tombstone else SkewClass.BEHIND
    if online.is_pushed or (online.timestamp, online.created) != (source.timestamp, source.created):
        return SkewClass.AHEAD
    return SkewClass.DIFFERENT


def judge_absent(online: Stamps | None, *, may_be_pushed: bool) -> SkewClass | None:
    """Return the class of an entity that the source lacks; ``None`` if it is rightly absent.

    :param may_be_pushed: whether a row without a mark may have been pushed.
    """
    if online is None or online.is_tombstone:
        return None
    return SkewClass.AHEAD if online.is_pushed or may_be_pushed else SkewClass.EXTRA


def has_arrived(source: SourceRow, arrivals: Arrivals) -> bool:
    """Return whether a row of the source is among the arrivals, as the conditions of their query say."""
    timestamp, created = source.timestamp, source.created
    if timestamp >= arrivals.event_since and (arrivals.event_until is None or timestamp < arrivals.event_until):
        return True
    if arrivals.created_since is None:
        return False
    if created is None:
        return timestamp >= arrivals.created_since - UNDATED_LOOKBACK
    return created >= arrivals.created_since


def _is_before(timestamp: datetime, created: datetime | None, source: SourceRow) -> bool:
    """Return whether a row online is older; without a created timestamp it is older than one that has it."""
    if timestamp != source.timestamp:
        return timestamp < source.timestamp
    return source.created is not None and (created is None or created < source.created)
