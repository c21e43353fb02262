"""Access to Redis: one interface for a server and for a cluster. Only this package imports ``redis``."""

from __future__ import annotations

import redis
import redis.asyncio

from online_features.online.redis._cluster import AsyncCluster, Cluster
from online_features.online.redis._single_server import AsyncSingleServer, SingleServer
from online_features.online.redis.deployment import AsyncDeployment, Deployment
from online_features.online.redis.redis_failures import AsyncClient, Client


def deployment_of(client: Client) -> Deployment:
    """Return the deployment, a server or a cluster, of a client."""
    return Cluster(client) if isinstance(client, redis.RedisCluster) else SingleServer(client)


def async_deployment_of(client: AsyncClient) -> AsyncDeployment:
    """Return the deployment, a server or a cluster, of an asyncio client."""
    return AsyncCluster(client) if isinstance(client, redis.asyncio.RedisCluster) else AsyncSingleServer(client)
