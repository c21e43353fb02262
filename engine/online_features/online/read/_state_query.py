"""Fields of a view's state, read in a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations.view_state import ViewState, named, state_from
from online_features.online.read.freshness import Freshness
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.redis_failures import ResponseError
from online_features.resp.commands import Command, CommandForm
from online_features.resp.replies import text

FRESHNESS_FIELDS = ("watermark", "max_event_timestamp", "materialized_at")


def read_fields(view: FeatureView, fields: Sequence[str]) -> Conversation[ViewState]:
    """Read some fields of the state."""
    (reply,) = yield [fields_command(view, fields)]
    return state_of_reply(view, fields, reply)


def read_freshness(view: FeatureView, now: datetime) -> Conversation[Freshness]:
    """Read how far the view lags."""
    return Freshness.of((yield from read_fields(view, FRESHNESS_FIELDS)), now=now)


def fields_command(view: FeatureView, fields: Sequence[str]) -> Command:
    """Return the command that reads some fields of the state."""
    return CommandForm("HMGET", tuple(fields)), keyspace.state_key(view)


def state_of_reply(view: FeatureView, fields: Sequence[str], reply: Any) -> ViewState:
    """Return the state, as far as the fields contain it.

    :param reply: of :func:`fields_command`.
    :raises OnlineDataError: when this package has not written it.
    """
    if isinstance(reply, ResponseError):
        raise with_subject(reply, "the state")
    with named(keyspace.state_key(view)):
        stored = {field: text(value) for field, value in zip(fields, reply, strict=True) if value is not None}
    return state_from(view, stored)


def with_subject(error: ResponseError, subject: str) -> ResponseError:
    """Add to the error what was being read."""
    error.args = (f"{error} (reading {subject})",)
    return error
