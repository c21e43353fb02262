"""Scripts on rows of a feature view, and the entities to run them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

import redis

from online_features.feature_view import FeatureView
from online_features.online import scripts, state
from online_features.online.row_keys import Key, row_keys
from online_features.schema import Column

SCAN_COUNT = 1000  # keys that Redis looks at per step of a scan, so that no step blocks it for long
KEYS_PER_CALL = 500  # a call blocks Redis for a few microseconds a key

Item = TypeVar("Item")


class GuardedScript:
    """A guarded script for the rows of a view, called with keys and words."""

    def __init__(self, client: redis.Redis, view: FeatureView, name: str) -> None:
        self._script = client.register_script(scripts.guarded(name, view.layout))
        features = state.features_online(client.execute_command, view, view.features or ())
        self._own_words = row_keys(view).script_words(sorted(features))

    def __call__(self, keys: Sequence[Key], *words: str) -> Any:
        """The script's reply."""
        return self._script(keys=keys, args=[*self._own_words, *words])


def entities(client: redis.Redis, view: FeatureView, keys: Sequence[Column]) -> Iterator[tuple[Key, list[str]]]:
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
