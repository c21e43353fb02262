"""The plan of a build in parts as Redis keeps it, and what is reported of each part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from online_features.common.instants import from_text, to_text
from online_features.counters import RowCounts
from online_features.event_times import EventTimes
from online_features.materialization._build import BuildStart
from online_features.materialization._claim import Claim
from online_features.offline.division.part import Part, part_from_dict, part_to_dict
from online_features.online.redis.servers import Server


@dataclass(frozen=True, kw_only=True)
class KeptPlan:
    """What the tasks of a build share.

    :param collation: on which the order of ranges rests; see :class:`.Division`.
    :param claim: of the survey before all parts.
    :param servers: that held the rows when the build began.
    :param expected_rows: of all parts, by the planner of Postgres.
    :param prune: whether pushed rows are left out that the source should have by now.
    """

    parts: Sequence[Part]
    collation: tuple[str, str | None] | None
    start: BuildStart
    claim: Claim
    servers: frozenset[Server]
    expected_rows: int
    began: datetime
    prune: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON-serializable values."""
        return {
            **asdict(self),
            "parts": [part_to_dict(part) for part in self.parts],
            "start": _to_texts(asdict(self.start)),
            "claim": self.claim.to_dict(),
            "servers": [asdict(server) for server in self.servers],
            "began": to_text(self.began),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> KeptPlan:
        """Read what :meth:`to_dict` wrote."""
        start = _from_texts(stored["start"], "base_newest", "horizon", "now", "newest")
        return cls(**{
            **stored,
            "parts": [part_from_dict(part) for part in stored["parts"]],
            "collation": tuple(stored["collation"]) if stored["collation"] else None,
            "start": BuildStart(**{**start, "pointer": tuple(start["pointer"])}),
            "claim": Claim.from_dict(stored["claim"]),
            "servers": frozenset(Server(**server) for server in stored["servers"]),
            "began": from_text(stored["began"]),
        })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PartReport:
    """What is known of a part when all its rows are online.

    :param times: event timestamps of the rows, without examples.
    :param claim: of the survey before the part.
    :param row_bytes: the mean size of a row in Redis; ``None`` if it is unknown.
    :param stages: busy seconds of each stage.
    """

    counts: RowCounts
    times: EventTimes
    claim: Claim
    row_bytes: int | None
    stages: Mapping[str, float]
    bytes_sent: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serializable values."""
        return {
            **asdict(self), "times": _to_texts({**asdict(self.times), "sample": ()}), "claim": self.claim.to_dict()
        }  # fmt: skip

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PartReport:
        """Read what :meth:`to_dict` wrote."""
        return cls(**{
            **stored,
            "counts": RowCounts(**stored["counts"]),
            "times": EventTimes(**{**_from_texts(stored["times"], "newest", "furthest"), "sample": ()}),
            "claim": Claim.from_dict(stored["claim"]),
        })  # fmt: skip


def _to_texts(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: to_text(value) if isinstance(value, datetime) else value for name, value in fields.items()}


def _from_texts(fields: Mapping[str, Any], *instants: str) -> dict[str, Any]:
    """Return the fields, with these read as instants."""
    return {**fields, **{name: from_text(fields[name]) for name in instants if fields[name] is not None}}
