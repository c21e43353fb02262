"""Identify the servers that hold rows, and find out whether they have evicted keys."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from online_features.common.log_lines import say
from online_features.errors import OnlineDataLostError, OnlineStoreFullError
from online_features.feature_view import FeatureView

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A Redis server from its start on; a restart, or the promotion of a replica, makes another.

    :param identity: of the process and of the data set that its replicas copy.
    :param policy: by which the server evicts keys when its memory is full; empty if it never does.
    :param evicted: how many keys it has evicted; ``None`` if that is unknown.
    :param memory_used: bytes; ``None`` if that is unknown.
    :param memory_limit: ``maxmemory`` in bytes; 0 if there is none, or it is unknown.
    """

    identity: str
    policy: str = field(default="", compare=False)
    evicted: int | None = field(default=None, compare=False)
    memory_used: int | None = field(default=None, compare=False)
    memory_limit: int = field(default=0, compare=False)


def server(info: Mapping[str, Any], anonymous: str) -> Server:
    """Return the server that has this ``INFO``, of which proxies leave parts out.

    :param anonymous: its identity if there is no ``run_id``.
    """
    policy, evicted = info.get("maxmemory_policy", "noeviction"), info.get("evicted_keys")
    used, limit = info.get("used_memory"), info.get("maxmemory")
    return Server(
        identity=f"{info['run_id']}:{info.get('master_replid')}" if "run_id" in info else anonymous,
        policy=str(policy) if info.get("maxmemory") and policy != "noeviction" else "",
        evicted=evicted if isinstance(evicted, int) else None,
        memory_used=used if isinstance(used, int) else None,
        memory_limit=limit if isinstance(limit, int) else 0,
    )


def evicts(view: FeatureView, servers: Iterable[Server]) -> str:
    """Return the policy by which one of the servers may evict rows of the view; empty if none does."""
    return max((server.policy for server in servers if _may_evict(view, server)), default="")


def warn_of_eviction(view: FeatureView, servers: frozenset[Server]) -> None:
    """Log a warning if rows may be evicted, or if evictions would go unnoticed."""
    name = f"Feature view {view.name!r}"
    if policy := evicts(view, servers):
        say(
            log.warning,
            f"{name}: Redis evicts keys when its memory is full (maxmemory-policy {policy}). A run that notices an "
            "eviction fails, and the next one reads all of history; until then rows may be missing that the watermark "
            "claims -> set maxmemory-policy noeviction, and give the view a ttl",
        )
    if any(server.evicted is None for server in servers):
        say(
            log.warning,
            f"{name}: Redis does not report by INFO whether it evicts keys, so rows may be missing that the watermark "
            "claims -> grant the user INFO, or make sure of maxmemory-policy noeviction",
        )


def evicted_counts(servers: Iterable[Server]) -> dict[str, int]:
    """Return how many keys each server has evicted, by its identity."""
    return {server.identity: server.evicted for server in servers if server.evicted is not None}


def evicted_since(before: Mapping[str, int], servers: Iterable[Server]) -> int:
    """Return how many keys have been evicted since the servers had these counts.

    A server without an earlier count is assumed to have had zero.
    """
    now = evicted_counts(servers)
    # A smaller count than before was reset (CONFIG RESETSTAT).
    grown = ((before.get(identity, 0), count) for identity, count in now.items())
    return sum(count - known if count >= known else count for known, count in grown)


def rows_evicted_since(view: FeatureView, before: Mapping[str, int], servers: Iterable[Server]) -> int:
    """Return how many keys have been evicted that may have been the view's; Redis does not report whose they were."""
    return evicted_since(before, (server for server in servers if _may_evict(view, server)))


def check_evictions(view: FeatureView, before: Iterable[Server], now: frozenset[Server]) -> None:
    """Refuse to continue a run whose rows may have been evicted.

    :param before: the servers when the run began.
    :raises OnlineStoreFullError: when they have evicted keys since that may have been the view's.
    """
    if evicted := rows_evicted_since(view, evicted_counts(before), now):
        raise eviction(view, evicted, now)


def check_same(view: FeatureView, before: frozenset[Server], now: frozenset[Server]) -> None:
    """Refuse to count rows that servers may have lost.

    :param before: the servers before the rows were written.
    :raises OnlineDataLostError: when they are others now.
    """
    if now != before:
        raise OnlineDataLostError(
            f"feature view {view.name!r}: Redis restarted or failed over while the run was writing, and may have "
            "lost rows; the watermark has not moved -> run again"
        )


def eviction(view: FeatureView, evicted: int, servers: Iterable[Server]) -> OnlineStoreFullError:
    """Return the error for keys that were evicted while a run was writing."""
    policy = max((server.policy for server in servers), default="") or "noeviction by now"
    return OnlineStoreFullError(
        f"feature view {view.name!r}: Redis evicted {evicted:,} keys while the run was writing (maxmemory is reached, "
        f"maxmemory-policy {policy}) and does not report which; rows of the view may be among them, so the watermark "
        "has not moved -> raise maxmemory, set maxmemory-policy noeviction, and run again"
    )


def _may_evict(view: FeatureView, server: Server) -> bool:
    """Return whether the server may evict rows of the view: policies "volatile-…" evict only keys that expire."""
    return view.ttl is not None or view.feast.key_ttl is not None or not server.policy.startswith("volatile")
