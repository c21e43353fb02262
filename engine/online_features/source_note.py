"""The note that a run keeps on its source, so that the next run can find changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from online_features.common.instants import from_text, to_text


@dataclass(frozen=True, kw_only=True)
class RelationNote:
    """The note on one table, materialized view, foreign table or view; see ``offline/postgres/relations.sql``."""

    version: str
    inserted: int
    updated: int
    deleted: int
    live: int


@dataclass(frozen=True, kw_only=True)
class SourceNote:
    """The note on all relations of a source; a field of the view's state.

    :param relations: by their oid.
    :param snapshot: of the transactions that had ended, as ``pg_current_snapshot()`` prints it.
    :param cursor: where increments begin to read after the run.
    """

    relations: Mapping[str, RelationNote]
    snapshot: str
    cursor: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the note as JSON-serializable values."""
        return {**asdict(self), "cursor": to_text(self.cursor)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SourceNote:
        """Read the note that :meth:`to_dict` wrote."""
        relations = {oid: RelationNote(**noted) for oid, noted in stored["relations"].items()}
        return cls(relations=relations, snapshot=stored["snapshot"], cursor=from_text(stored["cursor"]))
