"""What Redis keeps of a build in parts: its plan, and what becomes of each part. One hash, which expires."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from online_features.layouts import keyspace
from online_features.online.generations.generation_list import Access, read_on_primary
from online_features.online.generations.removal import LATE_FOR
from online_features.online.generations.view_state import json_object, named
from online_features.resp.replies import optional_text

KEPT_MILLISECONDS = LATE_FOR.total_seconds() * 1000  # after each write: longer than the lease of the build


class PartLedger:
    """Keeps and reads the plan and the reports of one build."""

    def __init__(self, access: Access, view: keyspace.Named, generation: str) -> None:
        self._access = access
        self._key = keyspace.parts_key(view, generation)

    def keep_plan(self, plan: Mapping[str, Any]) -> None:
        """Keep the plan, as JSON."""
        self._keep(plan=json.dumps(plan))

    def keep_progress(self, number: int, progress: Mapping[str, Any]) -> None:
        """Keep how far a part has come."""
        self._keep(**{f"progress:{number}": json.dumps(progress)})

    def keep_report(self, number: int, report: Mapping[str, Any], statistics: str) -> None:
        """Keep what became of all rows of a part; if it is copied twice, the last report counts.

        :param statistics: a measurement of its rows, as text.
        """
        self._keep(**{f"report:{number}": json.dumps(report), f"statistics:{number}": statistics})

    def plan(self) -> dict[str, Any] | None:
        """Read the plan; ``None`` if it is gone.

        :raises OnlineDataError: when this package has not written it; also below.
        """
        return self._objects(["plan"])[0]

    def progress(self, parts: int) -> list[dict[str, Any] | None]:
        """Read how far each part has come; ``None`` for those that nobody has begun."""
        return self._objects([f"progress:{number}" for number in range(parts)])

    def reports(self, parts: int) -> list[dict[str, Any] | None]:
        """Read the report of each part; ``None`` for those that are not written."""
        return self._objects([f"report:{number}" for number in range(parts)])

    def statistics(self, number: int) -> str | None:
        """Read the measurement of a part."""
        return optional_text(read_on_primary(self._access, "HGET", self._key, f"statistics:{number}"))

    def drop_statistics(self, parts: int) -> None:
        """Remove the measurements of all parts, when those of the whole are kept."""
        self._access.command("HDEL", self._key, *(f"statistics:{number}" for number in range(parts)))

    @property
    def key(self) -> str:
        """Where all of it is, for messages."""
        return self._key

    def _keep(self, **fields: str) -> None:
        self._access.command("HSET", self._key, *(word for field in fields.items() for word in field))
        self._access.command("PEXPIRE", self._key, int(KEPT_MILLISECONDS))

    def _objects(self, fields: list[str]) -> list[dict[str, Any] | None]:
        found = map(optional_text, read_on_primary(self._access, "HMGET", self._key, *fields))
        with named(self._key):
            return [None if text is None else json_object(text) for text in found]
