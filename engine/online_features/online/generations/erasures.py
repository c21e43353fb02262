"""The erased entities of a view, which stay out of every generation until they are taken back.

They are in buckets, so that a view with many of them spreads over the nodes of a cluster.
"""

from __future__ import annotations

import json
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from online_features.common.batches import batched
from online_features.common.instants import from_text, to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations.generation_list import Access, read_on_primary
from online_features.online.generations.view_state import named
from online_features.online.redis.deployment import KEYS_PER_CALL, SCAN_COUNT
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import text
from online_features.schema import Column

BUCKETS = 64


def erased_field(keys: Sequence[Column], texts: Sequence[str]) -> str:
    """Return the field of an entity: name, type and text of each join key, so that every layout can make its key."""
    return json.dumps([[key.name, key.type, value] for key, value in zip(keys, texts, strict=True)])


def erased_entity(field: str) -> list[tuple[str, str, str]]:
    """Return name, type and text of each join key: the inverse of :func:`erased_field`.

    :raises ValueError: when this package has not written the field; or a TypeError.
    """
    return [(name, kind, value) for name, kind, value in json.loads(field)]


def record_erasures(access: Access, view: FeatureView, erased: Mapping[str, datetime]) -> None:
    """Record erased entities before their rows are buried.

    :param erased: by field, the event timestamp up to which rows of the entity stay out; a later one that is recorded
        already stays.
    """
    for bucket, fields in _by_bucket(erased).items():
        for some in batched(fields, KEYS_PER_CALL):
            words = [word for field in some for word in (field, to_text(erased[field]))]
            access.command(*state_script("record_erasures").call_in_full([keyspace.erased_key(view, bucket)], words))


def read_erasures(access: Access, view: FeatureView) -> Iterator[dict[str, datetime]]:
    """Yield the erased entities in batches; an entity may come twice.

    :raises OnlineDataError: when this package has not written what Redis holds.
    """
    for bucket in range(BUCKETS):
        key, cursor = keyspace.erased_key(view, bucket), "0"
        while True:
            # A build that missed an erasure would bring the entity back.
            cursor, found = read_on_primary(access, "HSCAN", key, cursor, "COUNT", SCAN_COUNT)
            with named(key):
                pairs = zip(found[::2], found[1::2], strict=True)
                batch = {text(field): from_text(text(until)) for field, until in pairs}
            if batch:
                yield batch
            if text(cursor) == "0":
                break


def take_back_erasures(access: Access, view: FeatureView, fields: Iterable[str]) -> int:
    """Remove entities from those that are erased; tombstones that stand for them stay.

    :returns: how many of them were erased.
    """
    taken = 0
    for bucket, some in _by_bucket(fields).items():
        taken += sum(access.command("HDEL", keyspace.erased_key(view, bucket), *each)
                     for each in batched(some, KEYS_PER_CALL))  # fmt: skip
    return taken


def bucket_of(field: str) -> int:
    """Return the bucket of an erased entity."""
    return zlib.crc32(field.encode()) % BUCKETS


def _by_bucket(fields: Iterable[str]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for field in fields:
        found[bucket_of(field)].append(field)
    return found
