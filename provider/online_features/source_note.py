"""What a run notes of its source beside the rows online, so that the next one can tell what has happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from online_features.instants import from_text, to_text


@dataclass(frozen=True, kw_only=True)
class SourceNote:
    """What a run notes of its source, for the next one to compare; a field of the view's state.

    :param versions: of each relation, by its oid.
    :param changes: rows inserted and updated, of all relations.
    :param deletions: rows deleted, of all relations.
    :param xid: of the oldest transaction in flight: a row with an older one has not changed since.
    :param cursor: where increments begin to read after the run.
    """

    versions: Mapping[str, str]
    changes: int
    deletions: int
    xid: str
    cursor: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**vars(self), "versions": dict(self.versions), "cursor": to_text(self.cursor)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SourceNote:
        """Return what :meth:`to_dict` wrote."""
        return cls(**{**stored, "cursor": from_text(stored["cursor"])})
