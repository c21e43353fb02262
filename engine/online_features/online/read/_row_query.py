"""Rows of feature views, read in one round trip for any number of entities, without Arrow.

The pointer of the project says which generation of a view is published, and the state of a generation says how to read
its rows. The cache keeps both. They are read again in front of the rows, in the same round trip; if the cache is out of
date, the rows are read again. A store with ``pointer_max_age`` leaves them out while it has read them recently.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, repeat
from typing import Any

from online_features.errors import InvalidRowsError, OnlineDataError, StaleFeaturesError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.layouts.row_format import DAMAGE, Row
from online_features.online.generations.view_state import ViewState, as_online
from online_features.online.read._state_query import (
    FRESHNESS_FIELDS,
    PointerQuery,
    Pointers,
    fields_command,
    read_fields,
    read_pointers,
    with_subject,
)
from online_features.online.read._view_cache import CachedView, CacheKey, RowPlan, ViewCache
from online_features.online.read.entity_keys import Entity
from online_features.online.read.freshness import Freshness, FreshnessBounds
from online_features.online.read.online_rows import OnlineRow, OnlineRows, Status
from online_features.online.redis.conversation import Conversation, together
from online_features.online.redis.redis_failures import ResponseError, decision
from online_features.resp.commands import Command

# A generation is removed ten minutes after it was published last, so a reply that took longer than this is read again.
LONGEST_ROUND_TRIP = timedelta(minutes=1)

# Fields of a view's state that are read in front of its rows; all of them are short.
STATE_FIELDS = ("schema_fingerprint", "layout", *FRESHNESS_FIELDS)


@dataclass(frozen=True)
class RowQuery:
    """Rows to read from one view.

    :param features: names of features; ``None`` reads those of the view.
    :param now: the instant against which ttl and lags are measured.
    :param at_generation: to read; ``None`` reads the published one.
    :param numpy_arrays: see :meth:`.RowLayout.row_format`.
    """

    view: FeatureView
    entity_rows: Sequence[Entity]
    features: Sequence[str] | None
    bounds: FreshnessBounds
    now: datetime
    at_generation: str | None = None
    numpy_arrays: bool = False

    @property
    def cache_key(self) -> CacheKey:
        """What the cache knows the view by."""
        return keyspace.view_id(self.view), self.at_generation

    def generation_in(self, pointers: Pointers) -> str:
        """Return the generation to read."""
        return self.at_generation or pointers[keyspace.view_id(self.view)].generation


def read_rows(query: RowQuery, views: ViewCache) -> Conversation[OnlineRows]:
    """Read the rows, and raise if they are older than the query's bounds."""
    (rows,) = yield from read_views([query], views)
    return rows


def read_views(queries: Sequence[RowQuery], views: ViewCache) -> Conversation[list[OnlineRows]]:
    """Read the rows of several views, each at the generation that one reading of its project's pointer names.

    :raises StaleFeaturesError: when a view is older than the query's bounds.
    """
    pointer_query = PointerQuery([query.view for query in queries])
    cache_keys = tuple(query.cache_key for query in queries)
    cached: Sequence[CachedView | None] = list(map(views.get, cache_keys))
    pointers: Pointers | None = None
    if (recent := views.recent_states(cache_keys)) is not None:
        rows = yield from _read_recent(queries, cached, recent)
        if rows is not None:
            return rows
    while True:
        if pointers is None and None in cached:
            pointers = yield from read_pointers([query.view for query in queries])
        if pointers is not None:
            cached = yield from _current(queries, pointers, views)
        try:
            readings = [_Reading.of(query, entry) for query, entry in zip(queries, cached, strict=True) if entry]
        except InvalidRowsError:
            # The query may fail with the cached schema and succeed with the current one.
            if pointers is not None:
                raise
            pointers = yield from read_pointers([query.view for query in queries])
            continue
        began = time.monotonic()
        state_commands = [reading.state_command for reading in readings]
        replies = yield [*pointer_query.commands, *state_commands, *_row_commands(readings)]
        is_slow = _is_slow(began)
        left = iter(replies)
        pointers = pointer_query.pointers([next(left) for _ in pointer_query.commands])
        states = [reading.state(next(left)) for reading in readings]
        if not is_slow and all(map(_Reading.is_current, readings, states, repeat(pointers))):
            views.note(cache_keys, states, began)
            return _rows(readings, states, left)


def _read_recent(
    queries: Sequence[RowQuery], cached: Sequence[CachedView | None], states: Sequence[ViewState]
) -> Conversation[list[OnlineRows] | None]:
    """Read the rows of states that were read recently; ``None`` if these are not enough to answer the queries."""
    entries = [entry for entry, state in zip(cached, states, strict=True) if entry is not None and entry.matches(state)]
    if len(entries) < len(queries):
        return None
    try:
        readings = list(map(_Reading.of, queries, entries))
        began = time.monotonic()
        replies = yield list(_row_commands(readings))
        return None if _is_slow(began) else _rows(readings, states, iter(replies))
    except (InvalidRowsError, StaleFeaturesError):
        return None


def _is_slow(began: float) -> bool:
    return time.monotonic() - began > LONGEST_ROUND_TRIP.total_seconds()


def _row_commands(readings: Sequence[_Reading]) -> Iterator[Command]:
    for reading in readings:
        yield from reading.commands


def _rows(readings: Sequence[_Reading], states: Sequence[ViewState], replies: Iterator[Any]) -> list[OnlineRows]:
    """Return the rows of each view.

    :param replies: to the commands of all readings.
    :raises StaleFeaturesError: when a view is older than the query's bounds.
    """
    found = [
        reading.rows(list(islice(replies, len(reading.commands))), state)
        for reading, state in zip(readings, states, strict=True)
    ]
    for reading, rows in zip(readings, found, strict=True):
        reading.query.bounds.check(reading.query.view, rows.freshness)
    return found


def _current(queries: Sequence[RowQuery], pointers: Pointers, views: ViewCache) -> Conversation[list[CachedView]]:
    """Read how the rows of each view are to be read, and keep it in the cache."""
    generations = [query.generation_in(pointers) for query in queries]
    states = yield from together([
        read_fields(query.view, generation, (*STATE_FIELDS, "schema"))
        for query, generation in zip(queries, generations, strict=True)
    ])  # fmt: skip
    cached = [CachedView.of(state) for state in states]
    for query, entry in zip(queries, cached, strict=True):
        if query.at_generation is not None and entry.schema is None:
            raise InvalidRowsError(
                f"feature view {query.view.name!r}: at_generation={query.at_generation!r} does not exist; "
                "online.generations(view) lists those that do"
            )
        views.put(query.cache_key, entry)
    return cached


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """The commands of a query, and how to understand their replies.

    :param plan: ``None`` if no row can be found: nothing is online, or rows have other join keys.
    :param keys: of the rows; an entity may be asked for twice.
    :param commands: that read the rows, each once.
    """

    query: RowQuery
    cached: CachedView
    plan: RowPlan | None
    keys: Sequence[Key]
    commands: Sequence[Command]

    @classmethod
    def of(cls, query: RowQuery, cached: CachedView) -> _Reading:
        """Make the commands.

        :raises InvalidRowsError: when the query does not fit what is online.
        """
        plan = _plan(as_online(query.view, cached.layout), cached, query)
        keys: Sequence[Key] = plan.keys(query.entity_rows) if plan else []
        commands = list(zip(repeat(plan.format.command), dict.fromkeys(keys))) if plan else []
        return cls(query=query, cached=cached, plan=plan, keys=keys, commands=commands)

    @property
    def state_command(self) -> Command:
        """The command that reads the state."""
        return fields_command(self.query.view, self.cached.generation, STATE_FIELDS)

    def state(self, reply: Any) -> ViewState:
        """Return the state in the reply."""
        return self.cached.state(self.query.view, STATE_FIELDS, reply)

    def is_current(self, state: ViewState, pointers: Pointers) -> bool:
        """Return whether the cache is not out of date."""
        return self.cached.generation == self.query.generation_in(pointers) and self.cached.matches(state)

    def rows(self, replies: Sequence[Any], state: ViewState) -> OnlineRows:
        """Return the rows in the replies.

        :param state: as read in front of them, or recently.
        """
        if self.plan is None:
            return _all_absent(self.query, state)
        if len(replies) < len(self.keys):  # an entity is asked for twice
            by_key = dict(zip(dict.fromkeys(self.keys), replies, strict=True))
            replies = [by_key[key] for key in self.keys]
        rows = _read(self.query, self.plan, replies)
        freshness = Freshness.of(state, now=self.query.now)
        return OnlineRows(rows, freshness=freshness, generation=self.cached.generation)


def _read(query: RowQuery, plan: RowPlan, replies: Sequence[Any]) -> list[OnlineRow]:
    """Decode the replies to rows."""
    try:
        read = plan.format.rows(replies)
    except DAMAGE:
        # Decode row by row, so that one damaged row does not hide the others.
        pairs = zip(query.entity_rows, replies, strict=True)
        return [_read_one(query, plan, entity, reply) for entity, reply in pairs]
    return _online_rows(query, plan, query.entity_rows, read)


def _read_one(query: RowQuery, plan: RowPlan, entity: Entity, reply: Any) -> OnlineRow:
    if isinstance(reply, ResponseError) and decision(reply)[0] is not OnlineDataError:
        raise with_subject(reply, f"the row of {dict(entity)!r}")
    try:
        if isinstance(reply, ResponseError):
            raise OnlineDataError(str(reply))
        return _online_rows(query, plan, [entity], [plan.format.row(reply)])[0]
    except DAMAGE as error:
        reason = (
            f"feature view {query.view.name!r}: the row of {dict(entity)!r} is damaged, or was written before a "
            f"column changed its type: {error} -> delete the entity online, or materialize with full=True, prune=True"
        )
        return _absent(entity, "unreadable", plan.names, reason)


def _online_rows(query: RowQuery, plan: RowPlan, entities: Sequence[Entity], read: Iterable[Row]) -> list[OnlineRow]:
    """Return a row for each entity: the one that was read, unless it is past the view's ttl or there is none."""
    ttl = query.view.ttl
    oldest = None if ttl is None else query.now - ttl
    return [
        OnlineRow(entity, "present", timestamp, values)
        if timestamp is not None and (oldest is None or timestamp > oldest)
        else _absent(entity, "not_found" if timestamp is None else "expired", plan.names)
        for entity, (timestamp, values) in zip(entities, read, strict=True)
    ]


def _all_absent(query: RowQuery, state: ViewState) -> OnlineRows:
    names = query.features if query.features is not None else query.view.features or ()
    return OnlineRows(
        (_absent(entity, "not_found", names) for entity in query.entity_rows),
        freshness=Freshness.of(state, now=query.now),
        generation=state.generation,
    )


def _absent(entity: Entity, status: Status, names: Sequence[str], reason: str = "") -> OnlineRow:
    return OnlineRow(entity, status, None, dict.fromkeys(names), reason)


def _plan(view: FeatureView, cached: CachedView, query: RowQuery) -> RowPlan | None:
    """Return how to read the features, or ``None`` if the rows online have other join keys."""
    if cached.schema is None or not cached.schema.has_entities(view.entities):
        return None
    features = query.features
    if isinstance(features, str):
        raise InvalidRowsError(f"feature view {view.name!r}: features= must be a list of names, not {features!r}")
    by_name = cached.feature_by_name
    names = tuple(features if features is not None else view.features if view.features is not None else by_name)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InvalidRowsError(
            f"feature view {view.name!r}: feature {unknown[0]!r} is not online; its last run wrote "
            f"{', '.join(map(repr, by_name))}"
        )
    return cached.plan(view, names, numpy_arrays=query.numpy_arrays)
