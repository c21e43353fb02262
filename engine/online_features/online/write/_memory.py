"""Room for a build in the memory of Redis: looked for before the first row, and watched until the last."""

from __future__ import annotations

from collections.abc import Iterable

from online_features.errors import OnlineStoreFullError
from online_features.feature_view import FeatureView
from online_features.online.redis.servers import Server

# A build leaves so much of maxmemory free, so that pushes are never refused because of it.
LEFT_FREE = 0.05

ROW_BYTES = 300  # of a row in Redis, before one was measured: ten features take 190 (msgpack) to 470 (hash)
MEBIBYTE = 2**20


def free_bytes(servers: Iterable[Server]) -> int | None:
    """Return how many bytes a build may take in all servers together; ``None`` if one has no limit or does not say."""
    free = 0
    for server in servers:
        if not server.memory_limit or server.memory_used is None:
            return None
        free += max(0, int(server.memory_limit * (1 - LEFT_FREE)) - server.memory_used)
    return free


def check_room(view: FeatureView, needed: int, free: int | None) -> None:
    """Refuse a build that would not fit.

    :param needed: bytes, by estimate.
    :param free: bytes, as :func:`free_bytes` returns them.
    :raises OnlineStoreFullError: with the estimate and the cures.
    """
    if free is not None and needed > free:
        raise OnlineStoreFullError(
            f"feature view {view.name!r}: a new generation needs about {_in_words(needed)} of Redis's memory, and "
            f"{_in_words(free)} are free below maxmemory -> raise maxmemory, write in place (in_place=True), or build "
            "all the same (ignore_memory=True)"
        )


def check_left(view: FeatureView, servers: Iterable[Server]) -> None:
    """Stop a build before Redis is full.

    :raises OnlineStoreFullError: when less than a twentieth of a server's memory is free.
    """
    for server in servers:
        if server.memory_limit and server.memory_used is not None:
            left = server.memory_limit - server.memory_used
            if left < server.memory_limit * LEFT_FREE:
                raise OnlineStoreFullError(
                    f"feature view {view.name!r}: the build was stopped, because only {_in_words(left)} of Redis's "
                    f"memory are free ({_in_words(server.memory_limit)} maxmemory), which pushes and increments need "
                    "-> raise maxmemory, or write in place (in_place=True)"
                )


def _in_words(size: int) -> str:
    return f"{size / MEBIBYTE:,.1f} MiB"
