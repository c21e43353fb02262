"""Which servers hold the rows: whether one of them may have lost some since."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from online_features.feature_view import FeatureView
from online_features.log_lines import say

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Server:
    """One life of a Redis server: a restart, and a replica's promotion, make another.

    :param identity: of the process and of the data set that its replicas copy.
    :param evicts: the policy by which the server throws keys away; empty when it never does.
    """

    identity: str
    evicts: str = field(default="", compare=False)


def server(told: Mapping[str, Any]) -> Server:
    """The server that has told this of itself by ``INFO``."""
    policy = told.get("maxmemory_policy", "noeviction")
    return Server(
        identity=f"{told['run_id']}:{told.get('master_replid')}",
        evicts=policy if told.get("maxmemory") and policy != "noeviction" else "",
    )


def warn_of_eviction(view: FeatureView, servers: Iterable[Server]) -> None:
    """Say that rows may vanish without anybody noticing, where they may."""
    for policy in sorted({server.evicts for server in servers} - {""}):
        say(
            log.warning,
            f"Feature view {view.name!r}: Redis evicts keys when its memory is full (maxmemory-policy {policy}), and "
            "neither watermark nor sensors will tell which rows are gone "
            "-> set maxmemory-policy noeviction, and give the view a ttl",
        )
