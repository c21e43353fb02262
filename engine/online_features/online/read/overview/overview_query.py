"""Summaries of views and their definitions, read in conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from online_features.errors import OnlineDataError
from online_features.layouts import keyspace
from online_features.layouts.keyspace import ViewName
from online_features.online.generations.generation_list import DETAILS, ID, GenerationList, list_from, with_details
from online_features.online.generations.pointer import pointer_command, published_from
from online_features.online.generations.runs import run_from
from online_features.online.generations.view_state import named, state_from
from online_features.online.read._state_query import with_subject
from online_features.online.read.freshness import Freshness
from online_features.online.read.overview.stored_view import StoredView, find_view, stored_view
from online_features.online.read.overview.view_summary import ViewSummary
from online_features.online.redis.conversation import Conversation, together
from online_features.online.redis.redis_failures import ResponseError, decision, is_refused
from online_features.resp.commands import Command, CommandForm, hmget
from online_features.resp.replies import text


def read_overview(now: datetime) -> Conversation[list[ViewSummary]]:
    """Read summaries of all views, in three round trips; damage affects its view only.

    Views none of whose keys the user may read are left out.

    :raises redis.ResponseError: when the user may read none of them.
    """
    ids = yield from _read_ids()
    names = [ViewName(*each.split(keyspace.SEPARATOR, 1)) for each in sorted(ids)]
    found = yield from together([_read_summary(name, now) for name in names])
    readable = [each for each in found if isinstance(each, ViewSummary)]
    if not readable:
        _raise_first(found)
    return readable


def read_summary(name: str, now: datetime) -> Conversation[ViewSummary]:
    """Read the summary of one view; see :func:`.find_view`."""
    ids = yield from _read_ids()
    found = yield from _read_summary(find_view(name, ids), now)
    if isinstance(found, ResponseError):
        raise found
    return found


def read_stored_view(name: str) -> Conversation[StoredView]:
    """Read the definition of a view; before anything of it is published, that of its newest build.

    See :func:`.find_view`.
    """
    view = find_view(name, (yield from _read_ids()))
    ((pointed,),) = _checked((yield [pointer_command(view.project, [view.name])]), "the pointer")
    generation = published_from(view.project, pointed).generation
    (stored,) = _checked((yield [_state_command(view, generation)]), "the state")
    if not stored:
        (listed,) = _checked((yield [(CommandForm("HGETALL"), keyspace.generations_key(view))]), "the generations")
        with named(keyspace.generations_key(view)):
            builds = sorted(filter(ID.fullmatch, map(text, _pairs(listed))), reverse=True)
        states = _checked((yield [_state_command(view, each) for each in builds]), "the state") if builds else ()
        # The newest build may have failed before it had a state.
        generation, stored = next(filter(_has_fields, zip(builds, states, strict=True)), (generation, stored))
    return stored_view(view, state_from(view, generation, _texts(view, generation, stored)))


def _read_ids() -> Conversation[frozenset[str]]:
    """Read ``project:view`` of all views."""
    (reply,) = _checked((yield [(CommandForm("SMEMBERS"), keyspace.VIEWS_KEY)]), "the set of feature views")
    with named(keyspace.VIEWS_KEY):
        return frozenset(each for each in map(text, reply) if keyspace.SEPARATOR in each)


def _raise_first(found: Sequence[ViewSummary | ResponseError]) -> None:
    for each in found:
        if isinstance(each, ResponseError):
            raise each


def _read_summary(view: ViewName, now: datetime) -> Conversation[ViewSummary | ResponseError]:
    """Read the summary of a view, or return the error if the user may read none of its keys."""
    state, generations, last_run, damage = None, None, None, ""
    replies: Any = yield _commands(view)
    _, *of_view = replies
    if all(isinstance(reply, ResponseError) and is_refused(reply) for reply in of_view):
        return with_subject(of_view[0], "the generations")
    try:
        (pointed,), builder, listed, runs = _checked(replies, "the generations")
        published = published_from(view.project, pointed).generation
        generations = list_from(view, now, pointed, builder, [word for pair in _pairs(listed).items() for word in pair])
        with named(keyspace.runs_key(view)):
            last_run = run_from(runs[0]) if runs else None
        details = (_details_command(view, known.id) for known in generations.generations)
        stored, *found = _checked((yield [_state_command(view, published), *details]), "the state")
        generations = _with_details(view, generations, found)
        state = state_from(view, published, _texts(view, published, stored))
    except OnlineDataError as error:
        damage = str(error)
    return ViewSummary(
        project=view.project, name=view.name, state=state, generations=generations, last_run=last_run, damage=damage,
        freshness=replace(Freshness.of(state, now=now), gaps=state.gaps) if state else Freshness.unknown(now),
    )  # fmt: skip


def _commands(view: ViewName) -> list[Command]:
    return [
        pointer_command(view.project, [view.name]),
        (CommandForm("GET"), keyspace.lease_key(view)),
        (CommandForm("HGETALL"), keyspace.generations_key(view)),
        (CommandForm("LRANGE", ("0", "0")), keyspace.runs_key(view)),
    ]


def _with_details(view: ViewName, found: GenerationList, details: list[Any]) -> GenerationList:
    known = zip(found.generations, details, strict=True)
    return replace(found, generations=tuple(with_details(view, each, reply) for each, reply in known))


def _state_command(view: ViewName, generation: str) -> Command:
    return CommandForm("HGETALL"), keyspace.generation_key(view, generation)


def _details_command(view: ViewName, generation: str) -> Command:
    return hmget(DETAILS), keyspace.generation_key(view, generation)


def _texts(view: ViewName, generation: str, reply: Any) -> dict[str, str]:
    with named(keyspace.generation_key(view, generation)):
        return {text(name): text(value) for name, value in _pairs(reply).items()}


def _has_fields(build: tuple[str, Any]) -> bool:
    return bool(build[1])


def _pairs(reply: Any) -> Mapping[Any, Any]:
    """Return the fields of a hash: a list of them by RESP 2, a map by RESP 3."""
    return reply if isinstance(reply, Mapping) else dict(zip(reply[::2], reply[1::2], strict=True))


def _checked(replies: Any, subject: str) -> Any:
    """Return the replies.

    :raises OnlineDataError: when a key holds another type.
    :raises redis.ResponseError: any other, with its subject.
    """
    for reply in replies:
        if isinstance(reply, ResponseError):
            error = with_subject(reply, subject)
            raise OnlineDataError(str(error)) if decision(reply)[0] is OnlineDataError else error
    return replies
