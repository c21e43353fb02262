"""Rows of a feature view, read in one round trip for any number of entities, without Arrow.

How to read rows depends on the types of their columns, which the state of the view records. The cache keeps them. The
state is read again in front of the rows, in the same round trip; if the cache is out of date, the rows are read again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts.layout import Key
from online_features.layouts.row_format import DAMAGE
from online_features.online.generations.view_state import ViewState, as_online
from online_features.online.read._state_query import (
    FRESHNESS_FIELDS,
    fields_command,
    read_fields,
    state_of_reply,
    with_subject,
)
from online_features.online.read._view_cache import CachedView, RowPlan, ViewCache
from online_features.online.read.entity_keys import Entity
from online_features.online.read.freshness import Freshness, FreshnessBounds
from online_features.online.read.online_rows import OnlineRow, OnlineRows, Status
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.redis_failures import ResponseError, decision
from online_features.resp.commands import Command

# Fields of a view's state that are read in front of its rows; all of them are short.
STATE_FIELDS = ("schema_fingerprint", "layout", *FRESHNESS_FIELDS)


@dataclass(frozen=True)
class RowQuery:
    """Rows to read from one view.

    :param features: names of features; ``None`` reads those of the view.
    :param now: the instant against which ttl and lags are measured.
    """

    view: FeatureView
    entity_rows: Sequence[Entity]
    features: Sequence[str] | None
    bounds: FreshnessBounds
    now: datetime


def read_rows(query: RowQuery, views: ViewCache) -> Conversation[OnlineRows]:
    """Read the rows, and raise if they are older than the query's bounds."""
    rows = yield from _current_rows(query, views)
    query.bounds.check(query.view, rows.freshness)
    return rows


def _current_rows(query: RowQuery, views: ViewCache) -> Conversation[OnlineRows]:
    cached = views.get(query.view)
    if cached is not None:
        # The query may fail with the cached schema and succeed with the current one.
        with suppress(InvalidRowsError):
            rows = yield from _rows_as_cached(query, cached)
            if rows is not None:
                return rows
    while True:
        state = yield from read_fields(query.view, (*STATE_FIELDS, "schema"))
        cached = views.update(query.view, state)
        if cached is None:
            return _all_absent(query, state)
        rows = yield from _rows_as_cached(query, cached)
        if rows is not None:
            return rows


def _rows_as_cached(query: RowQuery, cached: CachedView) -> Conversation[OnlineRows | None]:
    """Read the rows with the cached schema; return ``None`` if the cache is out of date."""
    view = as_online(query.view, cached.layout)
    plan = _plan(view, cached, query.features)
    keys: Sequence[Key] = [plan.key(row) for row in query.entity_rows] if plan else []
    commands: Mapping[Key, Command] = {key: (plan.format.command, key) for key in keys} if plan else {}
    state_reply, *replies = yield [fields_command(view, STATE_FIELDS), *commands.values()]
    state = state_of_reply(view, STATE_FIELDS, state_reply)
    if not cached.matches(state):
        return None
    if plan is None:
        return _all_absent(query, state)
    by_key = dict(zip(commands, replies, strict=True))
    return OnlineRows(_read(query, plan, [by_key[key] for key in keys]), freshness=Freshness.of(state, now=query.now))


def _read(query: RowQuery, plan: RowPlan, replies: Sequence[Any]) -> list[OnlineRow]:
    """Decode the replies to rows."""
    try:
        read = plan.format.rows(replies)
    except DAMAGE:
        # Decode row by row, so that one damaged row does not hide the others.
        pairs = zip(query.entity_rows, replies, strict=True)
        return [_read_one(query, plan, entity, reply) for entity, reply in pairs]
    return [_row(query, plan, entity, *row) for entity, row in zip(query.entity_rows, read, strict=True)]


def _read_one(query: RowQuery, plan: RowPlan, entity: Entity, reply: Any) -> OnlineRow:
    if isinstance(reply, ResponseError) and decision(reply)[0] is not OnlineDataError:
        raise with_subject(reply, f"the row of {dict(entity)!r}")
    try:
        if isinstance(reply, ResponseError):
            raise OnlineDataError(str(reply))
        return _row(query, plan, entity, *plan.format.row(reply))
    except DAMAGE as error:
        reason = (
            f"feature view {query.view.name!r}: the row of {dict(entity)!r} is damaged, or was written before a "
            f"column changed its type: {error} -> delete the entity online, or materialize with full=True, prune=True"
        )
        return _absent(entity, "unreadable", plan.names, reason)


def _row(
    query: RowQuery, plan: RowPlan, entity: Entity, timestamp: datetime | None, values: Mapping[str, Any]
) -> OnlineRow:
    if timestamp is None:
        return _absent(entity, "not_found", plan.names)
    if query.view.ttl is not None and timestamp <= query.now - query.view.ttl:
        return _absent(entity, "expired", plan.names)
    return OnlineRow(entity=entity, status="present", event_timestamp=timestamp, values=values)


def _all_absent(query: RowQuery, state: ViewState) -> OnlineRows:
    names = query.features if query.features is not None else query.view.features or ()
    return OnlineRows(
        (_absent(entity, "not_found", names) for entity in query.entity_rows),
        freshness=Freshness.of(state, now=query.now),
    )


def _absent(entity: Entity, status: Status, names: Sequence[str], reason: str = "") -> OnlineRow:
    return OnlineRow(entity=entity, status=status, event_timestamp=None, values=dict.fromkeys(names), reason=reason)


def _plan(view: FeatureView, cached: CachedView, features: Sequence[str] | None) -> RowPlan | None:
    """Return how to read the features, or ``None`` if the rows online have other join keys."""
    if not cached.schema.has_entities(view.entities):
        return None
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
    return cached.plan(view, names)
