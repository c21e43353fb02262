"""What a run notes of its source beside the rows online, so that the next one can tell what has happened to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from online_features.common.instants import from_text, to_text


@dataclass(frozen=True, kw_only=True)
class RelationNote:
    """What is noted of a table, materialized view, foreign table or view; see ``offline/relations.sql``."""

    version: str
    inserted: int
    updated: int
    deleted: int
    live: int


@dataclass(frozen=True, kw_only=True)
class SourceNote:
    """What a run notes of its source, for the next one to compare; a field of the view's state.

    :param relations: by their oid.
    :param snapshot: of the transactions that had ended, as ``pg_current_snapshot()`` prints it.
    :param cursor: where increments begin to read after the run.
    """

    relations: Mapping[str, RelationNote]
    snapshot: str
    cursor: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {**asdict(self), "cursor": to_text(self.cursor)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> SourceNote:
        """Return what :meth:`to_dict` wrote."""
        relations = {oid: RelationNote(**noted) for oid, noted in stored["relations"].items()}
        return cls(relations=relations, snapshot=stored["snapshot"], cursor=from_text(stored["cursor"]))
