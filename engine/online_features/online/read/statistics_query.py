"""The statistics of a generation, read in a conversation."""

from __future__ import annotations

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.read._state_query import read_pointers, with_subject
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.redis_failures import ResponseError
from online_features.resp.commands import CommandForm
from online_features.statistics.stored_statistics import decode
from online_features.statistics.view_statistics import ViewStatistics


def read_statistics(view: FeatureView, generation: str | None) -> Conversation[ViewStatistics | None]:
    """Read the statistics of a generation; ``None`` if Redis has none.

    :param generation: ``None`` for the published one.
    :raises OnlineDataError: when this package has not written them.
    """
    if generation is None:
        pointers = yield from read_pointers([view])
        generation = pointers[keyspace.view_id(view)].generation
    key = keyspace.statistics_key(view, generation)
    (reply,) = yield [(CommandForm("GET"), key)]
    if isinstance(reply, ResponseError):
        raise with_subject(reply, "statistics")
    return None if reply is None else decode(reply, key)
