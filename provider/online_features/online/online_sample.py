"""A random sample of the entities that are online."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

import redis
import redis.asyncio
from redis.exceptions import NoPermissionError

from online_features.errors import InvalidRowsError
from online_features.feature_view import FeatureView
from online_features.online import feast_format, keyspace, values
from online_features.online.commands import CommandForm
from online_features.online.conversation import Conversation
from online_features.online.entity_keys import Entity
from online_features.online.failures import AnyClient
from online_features.online.guarded_script import SCAN_COUNT
from online_features.online.replies import text
from online_features.online.row_keys import Key, row_keys
from online_features.online.state import as_online, state_from
from online_features.schema import Column

STATE_FIELDS = ("layout", "schema")
CURSOR_BITS = 48  # more than a table of Redis has buckets, less than its cursors hold


def sample_online(view: FeatureView, size: int) -> Conversation[list[Entity]]:
    """Entities of the view that have a row; all of them where they are fewer.

    A scan that begins at a random place and ends when it has found enough: where a key is in Redis depends on a secret
    hash of it, so neighbours have nothing in common. It passes by the keys of other views: where the view's are few
    among many others, it may pass by all of them.
    """
    (reply,) = yield [(CommandForm("HMGET", STATE_FIELDS), keyspace.state_key(view))]
    told = zip(STATE_FIELDS, reply, strict=True)
    state = state_from(view, {name: text(value) for name, value in told if value is not None})
    if state.schema is None:
        return []
    written, columns = as_online(view, state.layout), state.schema.keys
    rows = row_keys(written)
    found: dict[Key, Entity] = {}
    for start in (random.getrandbits(CURSOR_BITS), 0):
        cursor = str(start)
        while True:
            cursor, keys = yield from _scan(cursor, rows.pattern(columns))
            entities = {key: entity for key in keys if (entity := _entity(columns, rows.texts(columns, key)))}
            if written.layout == "feast":
                entities = yield from _with_row(view, entities)
            found.update(entities)
            if len(found) >= size:
                return random.sample([*found.values()], size)
            if cursor == "0":
                break
    return [*found.values()]


def refuse_cluster(client: AnyClient, view: FeatureView) -> None:
    """Refuse to sample where a scan sees one node of many.

    :raises InvalidRowsError: naming the view.
    """
    if isinstance(client, redis.RedisCluster | redis.asyncio.RedisCluster):
        raise InvalidRowsError(
            f"feature view {view.name!r}: what is online in a cluster cannot be sampled -> give entities="
        )


def _scan(cursor: str, pattern: Key) -> Conversation[tuple[str, Iterable[Key]]]:
    (reply,) = yield [(CommandForm("SCAN", ("MATCH", pattern, "COUNT", str(SCAN_COUNT))), cursor)]
    if isinstance(reply, Exception):
        raise reply
    following, keys = reply
    return text(following) if isinstance(following, bytes | str) else str(following), keys


def _with_row(view: FeatureView, entities: Mapping[Key, Entity]) -> Conversation[dict[Key, Entity]]:
    """Those whose key, which all views of the entities share, holds a row of this one."""
    has_row = CommandForm("HEXISTS", (feast_format.timestamp_field(view.name),))
    replies = (yield [(has_row, key) for key in entities]) if entities else ()
    # Any other error says that the key is somebody else's.
    if refused := next((reply for reply in replies if isinstance(reply, NoPermissionError)), None):
        raise refused
    return {key: entity for (key, entity), is_there in zip(entities.items(), replies, strict=True) if is_there == 1}


def _entity(columns: tuple[Column, ...], texts: list[str] | None) -> Entity | None:
    """The join keys' values, unless the key is none of the view's, or was written with other types."""
    if texts is None or len(texts) != len(columns) or not all(map(values.is_value, columns, texts)):
        return None
    return {column.name: values.decode(column, told) for column, told in zip(columns, texts, strict=True)}
