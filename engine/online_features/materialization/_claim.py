"""The claim of a full run: up to when its source is online."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from online_features.common.instants import from_text, to_text
from online_features.source_note import SourceNote

if TYPE_CHECKING:
    from online_features.materialization._survey import Survey


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The claim of a full run, which holds when all its rows are online.

    :param until: everything in the source up to then.
    :param cursor: where increments go on; ``None`` if that cannot be told.
    :param note: on the source, for the next run; ``None`` without a cursor.
    """

    until: datetime
    cursor: datetime | None
    note: SourceNote | None

    @classmethod
    def of(cls, survey: Survey) -> Claim:
        """Return the claim of a run that reads all of history after this survey."""
        return cls(until=min(survey.horizon.claim, survey.now), cursor=survey.plan.cursor, note=survey.note)

    @classmethod
    def earliest(cls, claims: Iterable[Claim]) -> Claim:
        """Return what holds for rows that were read after different surveys."""
        first = min(claims := list(claims), key=lambda claim: (claim.cursor is not None, claim.cursor or claim.until))
        return replace(first, until=min(claim.until for claim in claims))

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as JSON-serializable values."""
        return {
            "until": to_text(self.until),
            "cursor": to_text(self.cursor) if self.cursor else None,
            "note": self.note.to_dict() if self.note else None,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Claim:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            until=from_text(stored["until"]),
            cursor=from_text(stored["cursor"]) if stored["cursor"] else None,
            note=SourceNote.from_dict(stored["note"]) if stored["note"] else None,
        )
