"""Carries tombstones over when the keys of a view's entities change, so that what was erased stays erased."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from online_features.common.batches import batched
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.layouts.layout_registry import layout_of
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.write._row_script import RowScript
from online_features.resp.commands import CommandForm
from online_features.resp.replies import text
from online_features.schema import Column
from online_features.types import values


@dataclass(frozen=True, kw_only=True)
class Tombstone:
    """The mark of a deleted entity.

    :param texts: of its join keys.
    :param timestamp: the event timestamp up to which rows stay out.
    :param created: the created timestamp up to which they stay out at that event timestamp; ``""`` for none.
    """

    texts: list[str]
    timestamp: str
    created: str


def carry_over(
    deployment: Deployment,
    written: FeatureView,
    written_keys: Sequence[Column],
    view: FeatureView,
    keys: Sequence[Column],
) -> None:
    """Copy the tombstones of a view to the keys that its entities will have in another layout or of other types.

    :param written: the view as its rows were written, with the columns of its join keys.
    :param view: the view as its rows will be written, with the columns of its join keys.
    """
    if set(written.entities) != set(view.entities):
        return
    bury, layout, former = RowScript(deployment, view, "bury"), layout_of(view), layout_of(written)
    before: set[Key] = set()
    after: set[Key] = set()
    for some in batched(_buried(deployment, written, written_keys), KEYS_PER_CALL):
        moved = [(respelled(written_keys, keys, stone.texts), stone) for stone in some]
        # An entity without a key in the new types cannot come back.
        stones = [(layout.key(keys, texts), stone) for texts, stone in moved if texts is not None]
        bury([key for key, _ in stones], of_each=[(stone.timestamp, stone.created) for _, stone in stones])
        before.update(former.key(written_keys, stone.texts) for stone in some)
        after.update(key for key, _ in stones)
    if layout.has_tombstone_keys and former.has_tombstone_keys:
        # With the join keys in another order, an old key may be another entity's.
        for left in batched(before - after, KEYS_PER_CALL):
            deployment.replies([(CommandForm("UNLINK"), keyspace.tombstone_key(view, text(key))) for key in left])


def respelled(written_keys: Sequence[Column], keys: Sequence[Column], texts: Sequence[str]) -> list[str] | None:
    """Return the texts of an entity's join keys in other types, or ``None`` if a value does not fit them."""
    by_name = dict(zip((key.name for key in written_keys), texts, strict=False))
    try:
        return [values.encode_key(key, values.decode(key, by_name[key.name])) for key in keys]
    except (KeyError, OnlineDataError, InvalidRowsError):
        return None


def _buried(deployment: Deployment, view: FeatureView, keys: Sequence[Column]) -> Iterator[Tombstone]:
    layout = layout_of(view)
    scanned = deployment.scan(layout.tombstone_pattern(keys))
    found = ((key, texts) for key in scanned if (texts := layout.tombstone_texts(keys, key)) is not None)
    for some in batched(found, KEYS_PER_CALL):
        replies = deployment.replies([(layout.read_tombstone, key) for key, _ in some])
        for (_, texts), reply in zip(some, replies, strict=True):
            if (stamps := layout.tombstone_stamps(reply)) is not None:
                yield Tombstone(texts=texts, timestamp=stamps[0], created=stamps[1])
