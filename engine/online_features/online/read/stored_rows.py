"""Rows as Redis holds them, undecoded, with all that a layout keeps beside the features."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from online_features.common.batches import batched
from online_features.errors import OnlineAccessError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout import Key
from online_features.online.generations.view_state import ViewState, record_verification
from online_features.online.read._entity_sample import CURSOR_BITS, scan_step
from online_features.online.read._state_query import read_pointers, read_published_fields
from online_features.online.redis.conversation import Conversation, hold
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import ResponseError, decision, is_refused
from online_features.online.redis.turns import turn
from online_features.resp.commands import CommandForm

ROWS_PER_EXCHANGE = 1000  # few enough that requests and replies stay small, enough that a round trip costs nothing

STATE_FIELDS = (
    "layout", "schema", "definition", "fingerprint", "watermark", "cursor", "pushed",
)  # fmt: skip


class StoredRowReader:
    """Reads stored rows of a view. All of its reads are those of readers, but for ``SCAN``, which finds keys."""

    def __init__(self, deployment: Deployment, view: FeatureView) -> None:
        self._deployment = deployment
        self._view = view
        self._is_decoded = bool(deployment.client.get_encoder().decode_responses)

    def state(self) -> ViewState:
        """Read the state of the published generation, as far as :data:`STATE_FIELDS` go."""
        return hold(self._deployment, read_published_fields(self._view, STATE_FIELDS))

    def published(self) -> str:
        """Read which generation is published."""
        pointers = hold(self._deployment, read_pointers([self._view]))
        return pointers[keyspace.view_id(self._view)].generation

    def record_verification(self, generation: str, counts: Mapping[str, Any]) -> None:
        """Record the counts of a verification beside the rows."""
        with turn(self._deployment.client, writes=True):
            record_verification(self._deployment, self._view, generation, counts)

    def replies(self, form: CommandForm, keys: Sequence[Key]) -> list[Any]:
        """Return the reply to a command on each key, as bytes.

        The reply of a key that holds another type than a row is an :class:`OnlineDataError`.
        """
        replies: list[Any] = []
        for some in batched(keys, ROWS_PER_EXCHANGE):
            with turn(self._deployment.client):
                replies += map(_read, self._deployment.exchange([(form, key) for key in some]))
        return list(map(_as_bytes, replies)) if self._is_decoded else replies

    def keys(self, pattern: Key) -> Iterator[bytes]:
        """Scan for the keys that match a pattern; a key may come twice.

        :raises OnlineAccessError: when the user may not scan.
        """
        with _named_refusal():
            yield from map(_as_bytes, self._deployment.scan(pattern))

    def sample(self, pattern: Key, size: int) -> list[bytes]:
        """Return up to so many keys that match a pattern, from a random place on.

        :raises OnlineAccessError: when the user may not scan.
        """
        with _named_refusal():
            found = hold(self._deployment, _sample(pattern, size, self._deployment.primaries))
        return list(map(_as_bytes, found))


def _sample(pattern: Key, size: int, primaries: int) -> Conversation[list[Key]]:
    """Scan from a random cursor until there are enough keys; Redis orders keys by a secret hash."""
    found: dict[Key, None] = {}
    for start in (random.getrandbits(CURSOR_BITS), 0):
        cursors = dict.fromkeys(range(primaries), str(start))
        while cursors:
            cursors, keys = yield from scan_step(cursors, pattern)
            found.update(dict.fromkeys(keys))
            if len(found) >= size:
                return random.sample([*found], size)
    return [*found]


@contextmanager
def _named_refusal() -> Iterator[None]:
    try:
        yield
    except ResponseError as refusal:
        if not is_refused(refusal):
            raise
        raise OnlineAccessError("Redis refuses SCAN to this user -> ACL SETUSER … +scan") from refusal


def _read(reply: Any) -> Any:
    """Return a reply, or the error of a key that holds another type.

    :raises redis.ResponseError: any other.
    """
    if isinstance(reply, ResponseError):
        if decision(reply)[0] is not OnlineDataError:
            raise reply
        return OnlineDataError(str(reply))
    return reply


def _as_bytes(reply: Any) -> Any:
    if isinstance(reply, list):
        return list(map(_as_bytes, reply))
    return reply.encode() if isinstance(reply, str) else reply
