"""A random sample of the entities that are online."""

from __future__ import annotations

import random
from collections.abc import Mapping

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.layouts.registry import layout_of
from online_features.online.read.entity_keys import Entity
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.deployment import SCAN_COUNT
from online_features.online.redis.redis_failures import is_refused
from online_features.online.state.view_state import as_online, state_from
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column
from online_features.types import values

STATE_FIELDS = ("layout", "schema")
CURSOR_BITS = 48  # more than a table of Redis has buckets, less than its cursors hold


def sample_online(view: FeatureView, size: int, primaries: int) -> Conversation[list[Entity]]:
    """Entities of the view that have a row; all of them where they are fewer.

    A scan that begins at a random place and ends when it has found enough: where a key is in Redis depends on a secret
    hash of it, so neighbours have nothing in common. It passes by the keys of other views: where the view's are few
    among many others, it may pass by all of them.

    :param primaries: how many nodes there are to scan, all of them side by side.
    """
    (reply,) = yield [(CommandForm("HMGET", STATE_FIELDS), keyspace.state_key(view))]
    told = zip(STATE_FIELDS, reply, strict=True)
    state = state_from(view, {name: text(value) for name, value in told if value is not None})
    if state.schema is None:
        return []
    written, columns = as_online(view, state.layout), state.schema.keys
    layout = layout_of(written)
    found: dict[Key, Entity] = {}
    for start in (random.getrandbits(CURSOR_BITS), 0):
        cursors = dict.fromkeys(range(primaries), str(start))
        while cursors:
            cursors, keys = yield from _scan(cursors, layout.pattern(columns))
            entities = {key: entity for key in keys if (entity := _entity(columns, layout.texts(columns, key)))}
            if layout.row_exists is not None:
                entities = yield from _with_row(layout.row_exists, entities)
            found.update(entities)
            if len(found) >= size:
                return random.sample([*found.values()], size)
    return [*found.values()]


def _scan(cursors: Mapping[int, str], pattern: Key) -> Conversation[tuple[dict[int, str], list[Key]]]:
    """Where to go on, of the primaries that have more, and the keys."""
    words = ("MATCH", pattern, "COUNT", str(SCAN_COUNT))
    replies = yield [(CommandForm("SCAN", words, primary), cursor) for primary, cursor in cursors.items()]
    following: dict[int, str] = {}
    keys: list[Key] = []
    for primary, reply in zip(cursors, replies, strict=True):
        if isinstance(reply, Exception):
            raise reply
        cursor, some = reply
        keys += some
        # A pipeline of redis-py makes a number of it.
        if (cursor := str(cursor) if isinstance(cursor, int) else text(cursor)) != "0":
            following[primary] = cursor
    return following, keys


def _with_row(row_exists: CommandForm, entities: Mapping[Key, Entity]) -> Conversation[dict[Key, Entity]]:
    """Those whose key, which all views of the entities share, holds a row of this one."""
    replies = (yield [(row_exists, key) for key in entities]) if entities else ()
    # Any other error says that the key is somebody else's.
    if refused := next((reply for reply in replies if isinstance(reply, Exception) and is_refused(reply)), None):
        raise refused
    return {key: entity for (key, entity), is_there in zip(entities.items(), replies, strict=True) if is_there == 1}


def _entity(columns: tuple[Column, ...], texts: list[str] | None) -> Entity | None:
    """The join keys' values, unless the key is none of the view's, or was written with other types."""
    if texts is None or len(texts) != len(columns) or not all(map(values.is_value, columns, texts)):
        return None
    return {column.name: values.decode(column, told) for column, told in zip(columns, texts, strict=True)}
