"""Scripts on rows of a feature view, and the entities to call them for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from online_features.common.batches import batched
from online_features.layouts.keyspace import TOMBSTONE
from online_features.layouts.layout import Key, RowLayout
from online_features.online.generations.view_state import features_online
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.redis.scripts import row_script
from online_features.schema import Column


class RowScript:
    """A script on the rows of a layout, called with keys and words."""

    def __init__(self, deployment: Deployment, layout: RowLayout, name: str) -> None:
        self._deployment = deployment
        self._script = row_script(name, type(layout))
        features = features_online(deployment.command, layout.view, layout.view.features or ())
        self._own_words = layout.script_words(sorted(features))

    def __call__(self, keys: Sequence[Key], *words: Key, of_each: Sequence[Sequence[Key]] = ()) -> list[Any]:
        """Return the script's replies, one to each of :meth:`parts`.

        :param words: that are for all keys.
        :param of_each: words that are for one key each.
        """
        calls = []
        for part in self.parts(keys):
            row_words = [word for i in part for word in of_each[i]] if of_each else []
            calls.append(([keys[i] for i in part], [*self._own_words, *words, *row_words]))
        return self._deployment.call(self._script, calls)

    def parts(self, keys: Sequence[Key]) -> list[list[int]]:
        """Return the indices of the keys for each call: of all keys, or in a cluster of those of one slot."""
        return self._deployment.parts(keys)


def has_rows(deployment: Deployment, layout: RowLayout, keys: Sequence[Column]) -> bool:
    """Return whether a generation has a row that is not a tombstone; look until one is found.

    :param keys: the join keys of the rows.
    """
    stamps_of = RowScript(deployment, layout, "stamps")
    for found in batched(entities(deployment, layout, keys), KEYS_PER_CALL):
        for stamps in stamps_of([key for key, _ in found]):
            if any(
                timestamp and not flags & TOMBSTONE for timestamp, flags in zip(stamps[::3], stamps[2::3], strict=True)
            ):
                return True
    return False


def entities(deployment: Deployment, layout: RowLayout, keys: Sequence[Column]) -> Iterator[tuple[Key, list[str]]]:
    """Yield the keys of rows and tombstones, and the texts of the join keys in them."""
    for key in deployment.scan(layout.pattern(keys)):
        if (texts := layout.texts(keys, key)) is not None:
            yield key, texts
