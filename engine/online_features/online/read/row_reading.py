"""Reads rows back: one round trip for any number of entities and views, typed values, no Arrow, no I/O of its own.

What is asked depends on the types of the columns, which the state of the view records. They are remembered, and the
state that is read in front of the rows says whether what is remembered still holds; if not, everything is asked anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis

from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.layouts.row_formats import DAMAGE
from online_features.online.read.consistency import Bounds
from online_features.online.read.entity_keys import Entity
from online_features.online.read.freshness import Freshness
from online_features.online.read.row_plan import RowPlan
from online_features.online.read.rows import OnlineRow, OnlineRows, Status
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.redis_failures import decision
from online_features.online.state.known_views import KnownView, KnownViews
from online_features.online.state.view_state import ViewState, as_online, state_from
from online_features.resp.commands import Command, CommandForm
from online_features.resp.replies import text

# Fields of a view's state that are read in front of its rows; all of them are short.
FRESHNESS_FIELDS = ("watermark", "max_event_timestamp", "materialized_at")
STATE_FIELDS = ("schema_fingerprint", "layout", *FRESHNESS_FIELDS)


@dataclass(frozen=True)
class Request:
    """What a reader wants of one view.

    :param features: names of features; ``None`` means those of the view.
    :param now: against which ttl and lags are measured.
    """

    view: FeatureView
    entity_rows: Sequence[Entity]
    features: Sequence[str] | None
    bounds: Bounds
    now: datetime


def read_rows(request: Request, views: KnownViews) -> Conversation[OnlineRows]:
    """The rows of the entities; see :meth:`~online_features.OnlineStore.get_online_features`."""
    rows = yield from _current_rows(request, views)
    request.bounds.check(request.view, rows.freshness)
    return rows


def read_freshness(view: FeatureView, now: datetime) -> Conversation[Freshness]:
    """How far the view lags; see :meth:`~online_features.OnlineStore.freshness`."""
    (reply,) = yield [_state_command(view, FRESHNESS_FIELDS)]
    return Freshness.of(_state(view, FRESHNESS_FIELDS, reply), now=now)


def _current_rows(request: Request, views: KnownViews) -> Conversation[OnlineRows]:
    known = views.recall(request.view)
    if known is not None:
        # A request that does not fit what is remembered may well fit what is online.
        with suppress(InvalidRowsError):
            rows = yield from _rows_as_known(request, known)
            if rows is not None:
                return rows
    fields = (*STATE_FIELDS, "schema")
    while True:
        (reply,) = yield [_state_command(request.view, fields)]
        state = _state(request.view, fields, reply)
        known = views.learn(request.view, state)
        if known is None:
            return _nothing(request, state)
        rows = yield from _rows_as_known(request, known)
        if rows is not None:
            return rows


def _rows_as_known(request: Request, known: KnownView) -> Conversation[OnlineRows | None]:
    """The rows; ``None`` when they are no longer what is known of them."""
    view = as_online(request.view, known.layout)
    plan = _plan(view, known, request.features)
    keys: Sequence[Key] = [plan.key(row) for row in request.entity_rows] if plan else []
    commands: Mapping[Key, Command] = {key: (plan.format.command, key) for key in keys} if plan else {}
    state_reply, *replies = yield [_state_command(view, STATE_FIELDS), *commands.values()]
    state = _state(view, STATE_FIELDS, state_reply)
    if not known.still_holds(state):
        return None
    if plan is None:
        return _nothing(request, state)
    by_key = dict(zip(commands, replies, strict=True))
    return OnlineRows(
        _read(request, plan, [by_key[key] for key in keys]), freshness=Freshness.of(state, now=request.now)
    )


def _read(request: Request, plan: RowPlan, replies: Sequence[Any]) -> list[OnlineRow]:
    """The rows of the entities of the request."""
    try:
        read = plan.format.rows(replies)
    except DAMAGE:
        # Somewhere: each row is read by itself, so that one which is damaged does not keep the others from readers.
        return [_read_one(request, plan, *asked) for asked in zip(request.entity_rows, replies, strict=True)]
    return [_row(request, plan, entity, *row) for entity, row in zip(request.entity_rows, read, strict=True)]


def _read_one(request: Request, plan: RowPlan, entity: Entity, reply: Any) -> OnlineRow:
    if isinstance(reply, redis.ResponseError) and decision(reply)[0] is not OnlineDataError:
        raise _told(reply, f"the row of {dict(entity)!r}")
    try:
        if isinstance(reply, redis.ResponseError):
            raise OnlineDataError(str(reply))
        return _row(request, plan, entity, *plan.format.row(reply))
    except DAMAGE as error:
        reason = (
            f"feature view {request.view.name!r}: the row of {dict(entity)!r} is damaged, or older than the type of a "
            f"column: {error} -> delete the entity online, or materialize with full=True, prune=True"
        )
        return _absent(entity, "unreadable", plan.names, reason)


def _row(
    request: Request, plan: RowPlan, entity: Entity, timestamp: datetime | None, values: Mapping[str, Any]
) -> OnlineRow:
    if timestamp is None:
        return _absent(entity, "not_found", plan.names)
    if request.view.ttl is not None and timestamp <= request.now - request.view.ttl:
        return _absent(entity, "expired", plan.names)
    return OnlineRow(entity=entity, status="present", event_timestamp=timestamp, values=values)


def _nothing(request: Request, state: ViewState) -> OnlineRows:
    names = request.features if request.features is not None else request.view.features or ()
    return OnlineRows(
        (_absent(entity, "not_found", names) for entity in request.entity_rows),
        freshness=Freshness.of(state, now=request.now),
    )


def _absent(entity: Entity, status: Status, names: Sequence[str], reason: str = "") -> OnlineRow:
    return OnlineRow(entity=entity, status=status, event_timestamp=None, values=dict.fromkeys(names), reason=reason)


def _plan(view: FeatureView, known: KnownView, features: Sequence[str] | None) -> RowPlan | None:
    """How to read the features; ``None`` where what is online has other join keys."""
    if not known.schema.has_entities(view.entities):
        return None
    if isinstance(features, str):
        raise InvalidRowsError(f"feature view {view.name!r}: features= is a list of names, not {features!r}")
    by_name = known.feature_by_name
    names = tuple(features if features is not None else view.features if view.features is not None else by_name)
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise InvalidRowsError(
            f"feature view {view.name!r}: feature {unknown[0]!r} is not online; its last run wrote "
            f"{', '.join(map(repr, by_name))}"
        )
    return known.plan(view, names)


def _state_command(view: FeatureView, fields: Sequence[str]) -> Command:
    return CommandForm("HMGET", tuple(fields)), keyspace.state_key(view)


def _state(view: FeatureView, fields: Sequence[str], reply: Any) -> ViewState:
    if isinstance(reply, redis.ResponseError):
        raise _told(reply, "the state")
    told = zip(fields, reply, strict=True)
    try:
        stored = {field: text(value) for field, value in told if value is not None}
    except UnicodeError as error:
        raise OnlineDataError(
            f"{keyspace.state_key(view)!r} in Redis is damaged ({error}); delete it and materialize with full=True"
        ) from error
    return state_from(view, stored)


def _told(error: redis.ResponseError, what: str) -> redis.ResponseError:
    """The error, which says what was being read."""
    error.args = (f"{error} (reading {what})",)
    return error
