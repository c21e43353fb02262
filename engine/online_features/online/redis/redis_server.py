"""What a Redis server says of itself and of the login."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from online_features.online.redis.clients import uses_tls
from online_features.online.redis.redis_failures import DRIVER_ERRORS, is_refused, translation
from online_features.resp.replies import text

OLDEST_SUPPORTED = (6, 2)


@dataclass(frozen=True, kw_only=True)
class RedisServer:
    """A Redis server, as far as the user may know it; what is unknown is ``None``.

    :param product: whose server it is: ``Redis`` or ``Valkey``.
    :param version: of the product.
    :param role: ``master`` or ``slave``, as Redis says it.
    :param user: of the login.
    :param policy: ``maxmemory-policy``.
    :param memory_limit: ``maxmemory`` in bytes; 0 if there is none.
    :param evicted: how many keys were evicted since the server started.
    :param is_persistent: whether it writes what it holds to its disk.
    """

    product: str
    version: str | None
    role: str | None
    user: str | None
    policy: str | None
    memory_used: int | None
    memory_limit: int | None
    evicted: int | None
    is_persistent: bool | None

    @property
    def is_supported(self) -> bool:
        """Whether the version is one that the package supports."""
        parts = [int(part) for part in (self.version or "").split(".")[:2] if part.isdecimal()]
        return tuple(parts) >= OLDEST_SUPPORTED

    @property
    def evicts(self) -> bool:
        """Whether the server removes keys when its memory is full."""
        return bool(self.memory_limit) and self.policy not in (None, "noeviction")


def read_server(client: Any) -> RedisServer:
    """Read what the server says of itself; of a cluster, one of its nodes.

    :raises OnlineAccessError: when it refuses the login.
    :raises OnlineStoreUnavailableError: when it cannot be reached.
    """
    try:
        node = node_of(client)
        # Any reply shows that the server answers; PING is a right of its own.
        user, info = _allowed(node, "ACL", "WHOAMI"), _allowed(node, "INFO")
        saved = _allowed(node, "CONFIG", "GET", "save")
    except DRIVER_ERRORS as failure:
        raise translation(failure, "the online store", tls=uses_tls(client)) from failure
    known = info if isinstance(info, dict) else {}
    return RedisServer(
        product="Valkey" if "valkey_version" in known else "Redis",
        version=known.get("valkey_version", known.get("redis_version")),
        role=known.get("role"),
        user=text(user) if user else None,
        policy=known.get("maxmemory_policy"),
        memory_used=known.get("used_memory"),
        memory_limit=known.get("maxmemory"),
        evicted=known.get("evicted_keys"),
        is_persistent=True if known.get("aof_enabled") else _saves(saved),
    )


def node_of(client: Any) -> Any:
    """Return a client for one server: a cluster's for one of its primaries."""
    if isinstance(client, redis.RedisCluster):
        return client.get_redis_connection(client.get_primaries()[0])  # type: ignore[no-untyped-call]
    return client


def _allowed(node: Any, *words: str) -> Any | None:
    """Return the reply to a command; ``None`` if the user may not send it."""
    try:
        return node.execute_command(*words)
    except redis.ResponseError as refusal:
        if not is_refused(refusal):
            raise
        return None


def _saves(setting: Any) -> bool | None:
    """Return whether the server saves snapshots; ``None`` if it does not say so."""
    values = list(setting.values()) if isinstance(setting, dict) else list(setting or ())[1:]
    return bool(text(values[0])) if values else None
