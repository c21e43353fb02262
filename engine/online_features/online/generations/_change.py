"""Changes of what Redis keeps of generations: made in one step, and only if nothing has changed since it was read.

All that depends on what was read is decided in Python; ``change_generations.lua`` compares and writes.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from online_features.common.instants import to_text
from online_features.errors import OnlineStoreUnavailableError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations.generation_list import (
    EPOCH,
    LISTED,
    VERSION,
    Access,
    Generation,
    GenerationList,
    entry_text,
    read_lists,
    read_on_primary,
)
from online_features.online.generations.view_state import named
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import optional_text

T = TypeVar("T")

LEASE_SECONDS = 30.0
MILLISECONDS = 1000  # in a second

# How long after it was decided a change may be made: it contains instants by which generations are removed.
TIMELY = timedelta(seconds=10)
ATTEMPTS = 100  # each one that fails means that another change was made meanwhile


class Change:
    """A change that is made only if what it expects is there.

    :param read_at: when that was read, by the clock of Redis.
    :ivar version: the version that the lists of the views get.
    """

    def __init__(self, read_at: datetime) -> None:
        self.version = uuid.uuid4().hex
        self._read_at = read_at
        self._keys: dict[str, int] = {}
        self._expected: list[tuple[object, ...]] = []
        self._changes: list[tuple[object, ...]] = []

    @classmethod
    def of(cls, views: Sequence[FeatureView], lists: Sequence[GenerationList]) -> Change:
        """Begin a change that depends on the lists, pointers and leases of views of one project as they were read."""
        new = cls(lists[0].read_at)
        for view, seen in zip(views, lists, strict=True):
            key = keyspace.generations_key(view)
            new.expect(key, VERSION, seen.version)
            new.expect(keyspace.published_key(view.project), view.name, seen.pointer_text or None)
            new.expect(keyspace.lease_key(view), "", seen.builder)
            new.put(key, VERSION, new.version)
            if seen.version is None:
                new.put(key, LISTED, to_text(seen.read_at))
        return new

    def expect(self, key: str, field: str, value: str | None) -> None:
        """Make the change only if the field has this value; of a key that is a string, the field is empty."""
        self._expected.append((self._number(key), field, value is not None and value))

    def put(self, key: str, field: str, value: str) -> None:
        """Set a field of a hash."""
        self._changes.append((self._number(key), field, value))

    def remove(self, key: str, field: str = "") -> None:
        """Remove a field of a hash, or a whole key."""
        self._changes.append((self._number(key), field, False))

    def lease(self, view: FeatureView, run_id: str, seconds: float | None = None) -> None:
        """Give the view's lease to a run, from now on; by default for half a minute."""
        key, seconds = keyspace.lease_key(view), LEASE_SECONDS if seconds is None else seconds
        self._changes.append((self._number(key), "", run_id, int(seconds * MILLISECONDS)))

    def list(self, view: FeatureView, generation: Generation) -> None:
        """Put a generation into the list, in place of what the list has of it."""
        self.put(keyspace.generations_key(view), generation.id, entry_text(generation))

    def make(self, access: Access) -> bool:
        """Make the change, and return whether everything was as expected."""
        words = (
            json.dumps(self._expected),
            json.dumps(self._changes),
            (self._read_at - EPOCH) // timedelta(milliseconds=1),
            TIMELY // timedelta(milliseconds=1),
        )
        return bool(access.command(*state_script("change_generations").call_in_full([*self._keys], words)))

    def _number(self, key: str) -> int:
        return self._keys.setdefault(key, len(self._keys) + 1)


def change(
    access: Access,
    views: Sequence[FeatureView],
    decide: Callable[[list[GenerationList]], tuple[Change | None, T]],
) -> T:
    """Read the lists of views, decide on a change and make it; begin again if something has changed meanwhile.

    :param views: of one project.
    :param decide: returns the change, if there is anything to change, and what to return.
    :raises OnlineStoreUnavailableError: when something changes all the time.
    """
    tried: dict[str, T] = {}
    for _ in range(ATTEMPTS):
        lists = read_lists(access, views)
        if lists[0].version in tried:  # the last attempt was made, and only its reply was lost
            return tried[lists[0].version]
        changing, result = decide(lists)
        if changing is None or changing.make(access):
            return result
        tried[changing.version] = result
    raise OnlineStoreUnavailableError(
        f"feature view {views[0].name!r}: its generations have changed {ATTEMPTS} times while they were read "
        "-> run again"
    )


def hash_fields(access: Access, view: FeatureView, generation: str, fields: Sequence[str]) -> dict[str, str | None]:
    """Return fields of a generation's own hash."""
    key = keyspace.generation_key(view, generation)
    values = read_on_primary(access, "HMGET", key, *fields)
    with named(key):
        return dict(zip(fields, map(optional_text, values), strict=True))
