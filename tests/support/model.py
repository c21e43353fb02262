"""A model of the online store in plain Python, with which tests compare the real one."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from online_features.common.instants import to_text

OUTCOMES = ("written", "stale", "expired", "deleted", "rejected")  # of a row that is read
EARLIEST = datetime.min.replace(tzinfo=UTC)
LAST_OF_ALL = to_text(datetime.max.replace(tzinfo=UTC))  # the created timestamp of what was erased


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
    """An entity in the online store: the fields of its row, or a tombstone, which has none.

    :param is_pushed: whether a producer has pushed it, and no run has written it since.
    """

    stamp: tuple[datetime, str]
    fields: dict[str, str] | None
    is_pushed: bool = False

    @property
    def hash(self) -> dict[str, str]:
        """The hash in Redis."""
        created = {"_created": self.stamp[1]} if self.stamp[1] else {}
        return {"_ts": to_text(self.stamp[0]), **created, **(self.fields or {})}


class RefusedError(Exception):
    """The model refuses what was asked, and nothing has changed."""


def newest(rows: Iterable[Row]) -> list[Row]:
    """Return the newest row of each entity."""
    chosen: dict[str | None, Row] = {}
    for row in rows:
        rival = chosen.get(row.id)
        if rival is None or (rival.stamp, rival.tie_breaker) < (row.stamp, row.tie_breaker):
            chosen[row.id] = row
    return list(chosen.values())


@dataclass(eq=False)
class Generation:
    """One complete set of online rows.

    :param number: greater than those of all generations before; 0 for rows from before any build.
    :param unread: rows that the next increment reads.
    :param defined: ttl and features of the view when the last run ended.
    :param commits: how many runs have ended in it.
    :param synced: the published generation and its commits, as of when the build read the source.
    :param id: in Redis; tests set it, and the watermark.
    """

    number: int = 0
    state: str = "published"
    online: dict[str, Held] = field(default_factory=dict)
    unread: list[Row] = field(default_factory=list)
    has_cursor: bool = False
    defined: tuple[Any, ...] | None = None
    commits: int = 0
    synced: tuple[int, int] | None = None
    before: Generation | None = None
    id: str = "0"
    watermark: datetime | None = None

    @property
    def has_rows(self) -> bool:
        """Whether a build without rows may not replace it."""
        return any(held.fields is not None for held in self.online.values())


@dataclass
class Model:
    """Source, online store and feature view.

    :ivar generations: all that may yet be published, in the order of their builds.
    :ivar erased: entities, and up to when their rows stay out.
    """

    now: datetime
    is_feasts: bool = False  # layout feast: one generation, no created timestamps, rows and tombstones do not expire
    ttl: timedelta | None = None
    features: tuple[str, ...] = ("x", "y")
    source: list[Row] = field(default_factory=list)
    undated: list[Row] = field(default_factory=list)  # without a created timestamp, and from the future
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.flush()

    @property
    def online(self) -> dict[str, Held]:
        """What readers see."""
        return self.published.online

    def insert(self, row: Row, *, is_stamped_now: bool) -> None:
        self.source.append(row)
        if is_stamped_now:
            for generation in self.generations:
                generation.unread.append(row)
            if row.created is None:
                self.undated.append(row)

    def remove(self, name: str) -> None:
        """Remove an entity from the source."""
        for rows in (self.source, self.undated, *(generation.unread for generation in self.generations)):
            rows[:] = [row for row in rows if row.id != name]

    def push(self, rows: list[Row]) -> Counter[str]:
        for generation in self.generations:
            outcomes = Counter(
                self._write(generation, row, is_pushed=True) if row.id is not None else "rejected" for row in rows
            )
            if generation is self.published:
                found = outcomes
        return found

    def delete(self, ids: Iterable[str]) -> int:
        erased = 0
        for name in ids:
            there = [generation.online[name] for generation in self.generations if name in generation.online]
            erased += name in self.online and self.online[name].fields is not None
            until = max([self.now, *(held.stamp[0] for held in there)])
            self.erased[name] = max(until, self.erased.get(name, until))
            for generation in self.generations:
                generation.online[name] = Held((until, LAST_OF_ALL), None)
        return erased

    def unerase(self, ids: Iterable[str]) -> int:
        taken = 0
        for name in ids:
            taken += self.erased.pop(name, None) is not None
            for generation in self.generations:
                if name in generation.online and generation.online[name].stamp[1] == LAST_OF_ALL:
                    del generation.online[name]
        return taken

    def run(self, kind: str, is_inside: Callable[[Row], bool] = lambda _: True, **options: bool) -> Counter[str] | None:
        """Run, and return the outcomes of rows; ``None`` if the run is skipped.

        A run of a view that has changed or has no cursor is a full one, whatever its kind.

        :param options: those of the build; ``in_place``.
        """
        asked, now = kind, (self.ttl, self.features)
        in_place = options.pop("in_place", False)
        if self.is_held and (kind != "full" or in_place):
            return None
        is_changed = self.published.defined not in (None, now)
        if is_changed or self.needs_full or (kind == "incremental" and not self.published.has_cursor):
            kind = "full"
        if kind == "full" and not self.is_feasts and not in_place:
            others = [each for each in self.generations[1:] if each is not self.published]
            if asked != "full" and is_changed and any(each.defined == now for each in others):
                raise RefusedError
            return self._build(**options)
        if in_place and is_changed and self.published.defined[1] != self.features:  # type: ignore[index]
            raise RefusedError
        return self._run_in_place(kind, is_inside)

    def prune(self) -> int:
        in_source = {row.id for row in self.source}
        gone = [
            name for name, held in self.online.items()
            if held.fields is not None and name not in in_source and held.stamp[0] <= self.now
        ]  # fmt: skip
        for name in gone:
            del self.online[name]
        return len(gone)

    def dispensable(self) -> set[str]:
        """Return the entities with a pushed row that a pruning build does not carry over."""
        rows = ((name, held) for name, held in self.online.items() if held.is_pushed and held.fields is not None)
        return {name for name, held in rows if held.stamp[0] <= self.now}

    def publish(self, target: Generation | None = None) -> Generation:
        """Publish a generation, or the newest that is ready, and return what is published."""
        if target is None:
            last = max((each for each in self.generations if each.state == "ready"), key=by_number, default=None)
            if last is None or last.number < self.published.number:
                if self.published.number == 0 or self.is_held:
                    raise RefusedError
                return self.published
            target = last
        if target is self.published:
            return target
        goes_back = (self.published.watermark or EARLIEST) > (target.watermark or EARLIEST)
        if target.state == "ready" and target.number < self.published.number:
            raise RefusedError
        has_runs = self.published.number > 0 or self.published.commits > 0
        is_synced = target.synced == (self.published.number, self.published.commits)
        if goes_back or (target.state == "ready" and has_runs and not is_synced):
            raise RefusedError
        target.before = self.published if self.published.number else None
        self._switch(target, "unpublished")
        self.is_held = self.needs_full = False
        return target

    def rollback(self) -> Generation:
        """Go back to what was published before."""
        if self.published.before is None:
            raise RefusedError
        self._switch(self.published.before, "rolled back")
        self.is_held = True
        return self.published

    def release(self) -> None:
        self.needs_full = self.needs_full or self.is_held
        self.is_held = False

    def flush(self) -> None:
        self.published = Generation()
        self.generations = [self.published]
        self.erased: dict[str, datetime] = {}
        self.is_held = self.needs_full = False

    def _run_in_place(self, kind: str, is_inside: Callable[[Row], bool]) -> Counter[str]:
        into = self.published
        rows = {"full": self.source, "incremental": into.unread}.get(kind)
        if rows is None:
            rows = [row for row in self.source if is_inside(row)]
        into.defined = (self.ttl, self.features)
        outcomes = self._copy(rows, into)
        into.commits += 1
        if kind != "window":
            # Increments read rows of the future without a created timestamp again and again, until that time has come.
            into.unread = list(self.undated)
            into.has_cursor = True
        self._retire()
        return outcomes

    def _build(self, *, publish: bool = True, prune: bool = False, allow_empty: bool = False) -> Counter[str]:
        """Build a generation: what was erased, what was pushed, and what the source has."""
        build = Generation(
            number=next(self.numbers), state="ready", has_cursor=True, unread=list(self.undated), commits=1,
            defined=(self.ttl, self.features), synced=(self.published.number, self.published.commits),
            watermark=datetime.max.replace(tzinfo=UTC),  # until the test sets it
            online={name: Held((until, LAST_OF_ALL), None) for name, until in self.erased.items()},
        )  # fmt: skip
        carried = Counter(
            self._put(build, name, held.stamp, held.fields and self._of_view(held.fields), is_pushed=True)
            for name, held in self.online.items()
            if held.is_pushed and not (prune and held.stamp[0] <= self.now)
        )
        outcomes = self._copy(self.source, build)
        written = carried["written"] + outcomes["written"]
        if self.published.has_rows and not written and not allow_empty:
            raise RefusedError
        self.generations.append(build)
        if publish and not self.is_held:
            self.publish(build)
        self._retire()
        return outcomes

    def _copy(self, rows: Iterable[Row], into: Generation) -> Counter[str]:
        outcomes = Counter(self._write(into, row) for row in newest(row for row in rows if row.id is not None))
        outcomes.update("rejected" for row in rows if row.id is None)
        return outcomes

    def _write(self, into: Generation, row: Row, *, is_pushed: bool = False) -> str:
        """Write one row under the guard and name its outcome."""
        assert row.id is not None
        names = set(self.features).intersection(into.defined[1] if into.defined else self.features)
        values = {name: getattr(row, name) for name in names}
        texts = {name: str(value) for name, value in values.items() if value is not None}
        return self._put(into, row.id, row.stamp, None if row.gone else texts, is_pushed=is_pushed)

    def _put(
        self, into: Generation, name: str, stamp: tuple[datetime, str], fields: dict[str, str] | None, *,
        is_pushed: bool,
    ) -> str:  # fmt: skip
        held = into.online.get(name)
        is_past = self.ttl is not None and stamp[0] + self.ttl <= self.now and not self.is_feasts
        is_newest = held is None or held.stamp <= stamp
        if is_newest:
            into.online.pop(name, None)
        if is_past and fields is not None:
            return "expired"
        if not is_newest:
            return "stale"
        if fields is None:
            if not is_past:
                into.online[name] = Held(stamp, None, is_pushed)
            return "deleted"
        into.online[name] = Held((stamp[0], "") if self.is_feasts else stamp, fields, is_pushed)
        return "written"

    def _of_view(self, fields: dict[str, str]) -> dict[str, str]:
        return {name: text for name, text in fields.items() if name in self.features}

    def _switch(self, target: Generation, left: str) -> None:
        self.published.state = left if self.published.number else "unpublished"
        target.state = "published"
        self.published = target

    def _retire(self) -> None:
        """Retire builds that are ready but the newest, if it is newer than what is published."""
        ready = [each for each in self.generations if each.state == "ready"]
        kept = [each for each in ready[-1:] if each.number > self.published.number]
        self.generations = [each for each in self.generations if each.state != "ready" or each in kept]


def by_number(generation: Generation) -> int:
    return generation.number
