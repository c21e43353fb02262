"""A model of the online store in plain Python, with which tests compare the real one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from online_features.common.instants import to_text

OUTCOMES = ("written", "stale", "expired", "deleted", "rejected")  # of a row that is read


@dataclass(frozen=True)
class Row:
    """A row of the source, or of a push."""

    id: str | None
    ts: datetime
    created: datetime | None
    gone: bool
    x: int | None
    y: str | None

    @property
    def stamp(self) -> tuple[datetime, str]:
        """The timestamps that decide which row is newest; a created timestamp that is NULL is oldest."""
        return self.ts, to_text(self.created) if self.created else ""

    @property
    def tie_breaker(self) -> tuple[Any, ...]:
        """The values that decide between rows of equal timestamps in the source."""
        return not self.gone, (self.x is not None, self.x or 0), (self.y is not None, self.y or "")


@dataclass
class Held:
    """An entity in the online store: the fields of its row, or a tombstone, which has none."""

    stamp: tuple[datetime, str]
    fields: dict[str, str] | None

    @property
    def hash(self) -> dict[str, str]:
        """The hash in Redis."""
        created = {"_created": self.stamp[1]} if self.stamp[1] else {}
        return {"_ts": to_text(self.stamp[0]), **created, **(self.fields or {})}


def newest(rows: Iterable[Row]) -> list[Row]:
    """Return the newest row of each entity."""
    chosen: dict[str | None, Row] = {}
    for row in rows:
        rival = chosen.get(row.id)
        if rival is None or (rival.stamp, rival.tie_breaker) < (row.stamp, row.tie_breaker):
            chosen[row.id] = row
    return list(chosen.values())


@dataclass
class Model:
    """Source, online store and feature view."""

    now: datetime
    is_feasts: bool = False  # layout feast keeps no created timestamps, and its rows and tombstones do not expire
    ttl: timedelta | None = None
    features: tuple[str, ...] = ("x", "y")
    source: list[Row] = field(default_factory=list)
    online: dict[str, Held] = field(default_factory=dict)
    unread: list[Row] = field(default_factory=list)  # by a run that moves the cursor
    has_cursor: bool = False
    defined: tuple[Any, ...] | None = None  # ttl and features of the view when the last run ended

    def insert(self, row: Row, *, is_stamped_now: bool) -> None:
        self.source.append(row)
        if is_stamped_now:
            self.unread.append(row)

    def write(self, row: Row) -> str:
        """Write one row under the guard and name its outcome."""
        assert row.id is not None
        held = self.online.get(row.id)
        is_past = self.ttl is not None and row.ts + self.ttl <= self.now and not self.is_feasts
        is_newest = held is None or held.stamp <= row.stamp
        if is_newest:
            self.online.pop(row.id, None)
        if is_past and not row.gone:
            return "expired"
        if not is_newest:
            return "stale"
        if row.gone:
            if not is_past:
                self.online[row.id] = Held(row.stamp, None)
            return "deleted"
        fields = {name: getattr(row, name) for name in self.features}
        texts = {name: str(value) for name, value in fields.items() if value is not None}
        self.online[row.id] = Held((row.ts, "") if self.is_feasts else row.stamp, texts)
        return "written"

    def push(self, rows: list[Row]) -> Counter[str]:
        return Counter(self.write(row) if row.id is not None else "rejected" for row in rows)

    def delete(self, ids: Iterable[str]) -> int:
        erased = 0
        for name in ids:
            held = self.online.get(name)
            erased += held is not None and held.fields is not None
            newest = max(self.now, held.stamp[0]) if held else self.now
            self.online[name] = Held((newest, to_text(datetime.max.replace(tzinfo=UTC))), None)
        return erased

    def run(self, kind: str, is_inside: Callable[[Row], bool] = lambda _: True) -> Counter[str]:
        """Run; a run of a view that has changed or has no cursor is a full one, whatever its kind."""
        definition = (self.ttl, self.features)
        if self.defined not in (None, definition) or (kind == "incremental" and not self.has_cursor):
            kind = "full"
        rows = {"full": self.source, "incremental": self.unread}.get(kind)
        if rows is None:
            rows = [row for row in self.source if is_inside(row)]
        outcomes = self.push(newest(row for row in rows if row.id is not None))
        outcomes.update("rejected" for row in rows if row.id is None)
        self.defined = definition
        if kind != "window":
            # Increments read rows of the future without a created timestamp again and again, until that time has come.
            self.unread = [row for row in self.unread if row.created is None]
            self.has_cursor = True
        return outcomes

    def prune(self) -> int:
        in_source = {row.id for row in self.source}
        gone = [
            name for name, held in self.online.items()
            if held.fields is not None and name not in in_source and held.stamp[0] <= self.now
        ]  # fmt: skip
        for name in gone:
            del self.online[name]
        return len(gone)

    def flush(self) -> None:
        self.online, self.has_cursor, self.defined = {}, False, None
