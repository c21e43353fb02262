"""What a process needs to write rows of a run to a generation."""

from __future__ import annotations

from dataclasses import dataclass

from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import Server


@dataclass(frozen=True, kw_only=True)
class WriteGrant:
    """Lets the process of a run, or another one for it, write rows of the run to a generation.

    :param run_id: of the run.
    :param generation: that is written to.
    :param servers: that held the rows when the run began.
    :param replication: what has to be copied before the run counts.
    :param lease_seconds: how long the lease of the view lasts, under which the run writes; ``None`` without one.
    :param leaves_memory: whether to stop before the memory of Redis is full.
    """

    run_id: str
    generation: str
    servers: frozenset[Server]
    replication: Replication
    lease_seconds: float | None = None
    leaves_memory: bool = False
