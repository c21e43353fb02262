"""A random sample of the entities that are online."""

from __future__ import annotations

import random
from collections.abc import Mapping

from online_features.feature_view import FeatureView
from online_features.layouts.layout import Key, RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.view_state import as_online
from online_features.online.read._state_query import read_published_fields
from online_features.online.read.entity_keys import Entity
from online_features.online.redis.conversation import Conversation
from online_features.online.redis.deployment import SCAN_COUNT
from online_features.online.redis.redis_failures import is_refused
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column
from online_features.types import values

STATE_FIELDS = ("layout", "schema")
CURSOR_BITS = 48  # more than enough for the buckets of a table in Redis, and less than the 64 bits of a cursor


def sample_online(view: FeatureView, size: int, primaries: int) -> Conversation[list[Entity]]:
    """Return entities of the view that have a row: ``size`` of them, or all if there are fewer.

    The scan begins at a random cursor and ends when it has found enough. Redis orders keys by a secret hash, so
    neighbours are unrelated. The scan also passes the keys of other views, so it may be long if this view has few keys
    among many.

    :param primaries: number of nodes to scan, in parallel.
    """
    state = yield from read_published_fields(view, STATE_FIELDS)
    if state.schema is None:
        return []
    written, columns = as_online(view, state.layout), state.schema.keys
    layout = layout_of(written, state.generation)
    found: dict[Key, Entity] = {}
    for start in (random.getrandbits(CURSOR_BITS), 0):
        cursors = dict.fromkeys(range(primaries), str(start))
        while cursors:
            cursors, keys = yield from scan_step(cursors, layout.pattern(columns))
            entities = {key: entity for key in keys if (entity := _entity(columns, layout.texts(columns, key)))}
            found.update((yield from _with_row(layout, entities)))
            if len(found) >= size:
                return random.sample([*found.values()], size)
    return [*found.values()]


def scan_step(cursors: Mapping[int, str], pattern: Key) -> Conversation[tuple[dict[int, str], list[Key]]]:
    """Make one step of the scan on each primary; return the next cursors, without the finished ones, and the keys."""
    words = ("MATCH", pattern, "COUNT", str(SCAN_COUNT))
    replies = yield [(CommandForm("SCAN", words, primary), cursor) for primary, cursor in cursors.items()]
    following: dict[int, str] = {}
    keys: list[Key] = []
    for primary, reply in zip(cursors, replies, strict=True):
        if isinstance(reply, Exception):
            raise reply
        cursor, some = reply
        keys += some
        # redis-py's pipeline parses the cursor to an integer.
        if (cursor := str(cursor) if isinstance(cursor, int) else text(cursor)) != "0":
            following[primary] = cursor
    return following, keys


def _with_row(layout: RowLayout, entities: Mapping[Key, Entity]) -> Conversation[dict[Key, Entity]]:
    """Keep the entities whose key holds a row of this view: no tombstone, nor in layout ``feast`` only other views."""
    replies = (yield [(layout.read_presence, key) for key in entities]) if entities else ()
    # Any other error, such as WRONGTYPE, means that another application owns the key.
    if refused := next((reply for reply in replies if isinstance(reply, Exception) and is_refused(reply)), None):
        raise refused
    return {key: entity for (key, entity), reply in zip(entities.items(), replies, strict=True) if layout.is_row(reply)}


def _entity(columns: tuple[Column, ...], texts: list[str] | None) -> Entity | None:
    """Return the join keys' values, or ``None`` if the key is not the view's or was written with other types."""
    if texts is None or len(texts) != len(columns) or not all(map(values.is_value, columns, texts)):
        return None
    return {column.name: values.decode(column, value) for column, value in zip(columns, texts, strict=True)}
