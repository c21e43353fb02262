"""Scripts on rows of a feature view, and the entities to run them on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis
from redis.crc import key_slot
from redis.exceptions import NoScriptError

from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.row_keys import Key, row_keys
from online_features.online.redis import scripts
from online_features.online.redis.redis_failures import Client
from online_features.online.state import view_state as state
from online_features.resp.replies import text
from online_features.schema import Column

SCAN_COUNT = 1000  # keys that Redis looks at per step of a scan, so that no step blocks it for long
KEYS_PER_CALL = 500  # a call blocks Redis for a few microseconds a key

Item = TypeVar("Item")


class GuardedScript:
    """A guarded script for the rows of a view, called with keys and words."""

    def __init__(self, client: Client, view: FeatureView, name: str) -> None:
        self._client = client
        self._in_cluster = isinstance(client, redis.RedisCluster)
        self._source = scripts.guarded(name, view.layout, in_cluster=self._in_cluster)
        self._sha = scripts.sha(self._source)
        self._names_tombstones = scripts.keys_per_row(view.layout, in_cluster=self._in_cluster) > 1
        features = state.features_online(client.execute_command, view, view.features or ())
        self._own_words = row_keys(view).script_words(sorted(features))

    def __call__(self, keys: Sequence[Key], *words: str, of_each: Sequence[Sequence[str]] = ()) -> list[Any]:
        """The script's replies: one, or in a cluster one to the keys of each slot, in the order of :meth:`parts`.

        :param words: that are for all keys.
        :param of_each: words that are for one key each.
        """
        commands = [self._command(part, keys, words, of_each) for part in self.parts(keys)]
        if not commands:
            return []
        replies = self._replies(commands)
        # One node of a cluster may have forgotten the script. What the others have done is not to be counted anew.
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            self._client.script_load(self._source)
            for i, reply in zip(unknown, self._replies([commands[i] for i in unknown]), strict=True):
                replies[i] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    def parts(self, keys: Sequence[Key]) -> list[list[int]]:
        """Places of keys that one call takes."""
        if not self._in_cluster:
            return [[*range(len(keys))]] if keys else []
        by_slot: dict[int, list[int]] = defaultdict(list)
        for i, key in enumerate(keys):
            by_slot[key_slot(key if isinstance(key, bytes) else key.encode())].append(i)
        return [*by_slot.values()]

    def _command(
        self, part: Sequence[int], keys: Sequence[Key], words: Sequence[str], of_each: Sequence[Sequence[str]]
    ) -> list[Any]:
        named = [name for i in part for name in self._keys_of_row(keys[i])]
        own = [word for i in part for word in of_each[i]] if of_each else []
        return ["EVALSHA", self._sha, len(named), *named, *self._own_words, *words, *own]

    def _keys_of_row(self, key: Key) -> list[Key]:
        if not self._names_tombstones:
            return [key]
        before, after = keyspace.around_buried_key()
        return [key, f"{before}{text(key)}{after}"]

    def _replies(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The reply to each command, or the error that it is."""
        with self._client.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies


def entities(client: Client, view: FeatureView, keys: Sequence[Column]) -> Iterator[tuple[Key, list[str]]]:
    """Keys of the view's rows, and the texts of the join keys in them."""
    rows = row_keys(view)
    for key in client.scan_iter(match=rows.pattern(keys), count=SCAN_COUNT):
        if (texts := rows.texts(keys, key)) is not None:
            yield key, texts


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """The items in lists of up to ``size``."""
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some
