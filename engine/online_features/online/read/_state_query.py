"""The pointer of a project and the states of generations, read in a conversation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeAlias

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations.pointer import Published, pointer_command, published_from
from online_features.online.generations.view_state import ViewState, named, state_from
from online_features.online.read.freshness import Freshness
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.redis_failures import ResponseError
from online_features.resp.commands import Command, hmget
from online_features.resp.replies import text

FRESHNESS_FIELDS = ("watermark", "max_event_timestamp", "materialized_at")

Pointers: TypeAlias = Mapping[str, Published]  # by the id of the view


class PointerQuery:
    """Reads which generations of some views are published, with one command for each project."""

    def __init__(self, views: Sequence[FeatureView]) -> None:
        self._names: dict[str, list[str]] = defaultdict(list)
        for view in views:
            self._names[view.project].append(view.name)
        self.commands: Sequence[Command] = [pointer_command(*project) for project in self._names.items()]

    def pointers(self, replies: Sequence[Any]) -> Pointers:
        """Parse the replies to :attr:`commands`.

        :raises OnlineDataError: when this package has not written a pointer.
        """
        found = {}
        for (project, names), reply in zip(self._names.items(), replies, strict=True):
            if isinstance(reply, ResponseError):
                raise with_subject(reply, "the pointer")
            for name, stored in zip(names, reply, strict=True):
                found[f"{project}{keyspace.SEPARATOR}{name}"] = published_from(project, stored)
        return found


def read_pointers(views: Sequence[FeatureView]) -> Conversation[Pointers]:
    """Read which generations of the views are published."""
    query = PointerQuery(views)
    return query.pointers((yield query.commands))


def read_fields(view: FeatureView, generation: str, fields: Sequence[str]) -> Conversation[ViewState]:
    """Read some fields of the state of a generation."""
    (reply,) = yield [fields_command(view, generation, fields)]
    return state_of_reply(view, generation, fields, reply)


def read_published_fields(view: FeatureView, fields: Sequence[str]) -> Conversation[ViewState]:
    """Read some fields of the state of the published generation."""
    pointers = yield from read_pointers([view])
    return (yield from read_fields(view, pointers[keyspace.view_id(view)].generation, fields))


def read_freshness(view: FeatureView, now: datetime) -> Conversation[Freshness]:
    """Read how far the view lags."""
    state = yield from read_published_fields(view, (*FRESHNESS_FIELDS, "pending"))
    return replace(Freshness.of(state, now=now), gaps=state.gaps)


def fields_command(view: FeatureView, generation: str, fields: Sequence[str]) -> Command:
    """Return the command that reads some fields of the state."""
    return hmget(tuple(fields)), keyspace.generation_key(view, generation)


def state_of_reply(view: FeatureView, generation: str, fields: Sequence[str], reply: Any) -> ViewState:
    """Return the state, as far as the fields contain it.

    :param reply: of :func:`fields_command`.
    :raises OnlineDataError: when this package has not written it.
    """
    if isinstance(reply, ResponseError):
        raise with_subject(reply, "the state")
    with named(keyspace.generation_key(view, generation)):
        stored = {field: text(value) for field, value in zip(fields, reply, strict=True) if value is not None}
    return state_from(view, generation, stored)


def with_subject(error: ResponseError, subject: str) -> ResponseError:
    """Add to the error what was being read."""
    error.args = (f"{error} (reading {subject})",)
    return error
