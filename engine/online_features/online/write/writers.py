"""Whoever writes rows of a feature view: on one server, or on the nodes of a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from online_features.common.retry_budget import RetryBudget
from online_features.feature_view import FeatureView
from online_features.online.redis import scripts
from online_features.online.redis.redis_failures import Client
from online_features.online.redis.replication import Replication
from online_features.online.write.cluster_writer import ClusterWriter
from online_features.online.write.writer import GuardedWriter, guarded_writer


@contextmanager
def writer(
    client: Client, view: FeatureView, retry_budget: RetryBudget, replication: Replication
) -> Iterator[GuardedWriter | ClusterWriter]:
    """A writer of the view's rows by its guarded script.

    :param replication: what must be copied before the run counts: on one server, the run waits for it at its end.
    """
    if isinstance(client, redis.RedisCluster):
        script = scripts.guarded("write", view.layout, in_cluster=True)
        yield ClusterWriter(client, script, retry_budget, replication)
    else:
        with guarded_writer(client, scripts.guarded("write", view.layout), retry_budget) as held:
            yield held
