"""The timestamps and flags that a row in Redis has beside its features."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from online_features.layouts.keyspace import PUSHED, TOMBSTONE


@dataclass(frozen=True, kw_only=True)
class Stamps:
    """Timestamps and flags of a row or a tombstone.

    :param created: created timestamp; ``None`` if the row has none.
    :param flags: of :mod:`~online_features.layouts.keyspace`; layout ``feast`` has only that of a tombstone.
    """

    timestamp: datetime
    created: datetime | None
    flags: int = 0

    @property
    def is_tombstone(self) -> bool:
        """Whether the entity is deleted or erased."""
        return bool(self.flags & TOMBSTONE)

    @property
    def is_pushed(self) -> bool:
        """Whether a producer has pushed the row, or deleted the entity by a push."""
        return bool(self.flags & PUSHED)
