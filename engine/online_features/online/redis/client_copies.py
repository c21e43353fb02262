"""Copies of a client of redis-py for other processes: what one was made of, so that another one can be made.

A copy logs in with the credentials that a credential provider gives when the copy is made.
"""

from __future__ import annotations

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
import redis.sentinel

from online_features.errors import OptionError
from online_features.online.redis.redis_failures import Client

# What redis-py keeps among the options of connections, and makes anew with each client.
OWN_OPTIONS = frozenset({
    "connection_pool", "event_dispatcher", "himport_registry", "maint_notifications_pool_handler",
    "orig_host_address", "orig_socket_connect_timeout", "orig_socket_timeout",
    "oss_cluster_maint_notifications_handler",
})  # fmt: skip


class ClientCopy(ABC):
    """What a client was made of. It may hold a password."""

    @abstractmethod
    def client(self) -> Client:
        """Make a client; it connects when it is first used, one for a cluster at once."""


@dataclass(frozen=True, kw_only=True)
class ServerCopy(ClientCopy):
    """A client of one server.

    :param options: of its connections.
    """

    connection_class: type[Any]
    connections: int
    options: Mapping[str, Any] = field(repr=False)

    def client(self) -> redis.Redis:
        """Make the client."""
        pool = redis.ConnectionPool(self.connection_class, self.connections, **self.options)
        return redis.Redis.from_pool(pool)


@dataclass(frozen=True, kw_only=True)
class PrimaryCopy(ClientCopy):
    """A client of the primary that Sentinels know.

    :param name: of the primary.
    :param sentinels: their clients.
    :param options: of connections to the primary.
    """

    name: str
    sentinels: tuple[ServerCopy, ...]
    connection_class: type[Any]
    connections: int
    options: Mapping[str, Any] = field(repr=False)

    def client(self) -> Client:
        """Make the client."""
        manager = redis.sentinel.Sentinel([])  # type: ignore[no-untyped-call]
        manager.sentinels = [sentinel.client() for sentinel in self.sentinels]
        pool = redis.sentinel.SentinelConnectionPool(  # type: ignore[no-untyped-call]
            self.name, manager,
            connection_class=self.connection_class, max_connections=self.connections, **self.options,
        )  # fmt: skip
        return redis.Redis.from_pool(pool)


@dataclass(frozen=True, kw_only=True)
class ClusterCopy(ClientCopy):
    """A client of a cluster.

    :param nodes: host and port of those that it knows.
    :param options: of its connections.
    """

    nodes: tuple[tuple[str, int], ...]
    options: Mapping[str, Any] = field(repr=False)

    def client(self) -> Client:
        """Make the client."""
        nodes = [redis.cluster.ClusterNode(host, port) for host, port in self.nodes]  # type: ignore[no-untyped-call]
        return redis.RedisCluster(startup_nodes=nodes, **self.options)


def copy_of(client: Client) -> ClientCopy:
    """Return what a client was made of.

    :raises OptionError: when it has an option that other processes cannot have.
    :raises redis.RedisError: when its credential provider gives no credentials.
    """
    if isinstance(client, redis.RedisCluster):
        manager = client.nodes_manager
        nodes = tuple((node.host, node.port) for node in manager.startup_nodes.values())
        options = manager.connection_kwargs | {
            "address_remap": manager.address_remap,
            "redis_connect_func": client.user_on_connect_func,  # the client's own calls it
        }
        return ClusterCopy(nodes=nodes, options=_options(options))
    pool = client.connection_pool
    if isinstance(pool, redis.sentinel.SentinelConnectionPool):
        sentinels = tuple(map(_server_copy, pool.sentinel_manager.sentinels))
        return PrimaryCopy(
            name=pool.service_name, sentinels=sentinels, connection_class=pool.connection_class,
            connections=pool.max_connections, options=_options(pool.connection_kwargs),
        )  # fmt: skip
    return _server_copy(client)


def _server_copy(client: redis.Redis) -> ServerCopy:
    pool = client.connection_pool
    return ServerCopy(
        connection_class=pool.connection_class,
        connections=pool.max_connections,
        options=_options(pool.connection_kwargs),
    )


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    # A bare object stands for a default, and is recognized by its identity, which no copy has.
    copied = {name: value for name, value in options.items() if name not in OWN_OPTIONS and type(value) is not object}
    if (provider := copied.get("credential_provider")) is not None:  # few can be pickled
        *user, password = provider.get_credentials()
        copied["credential_provider"] = redis.UsernamePasswordCredentialProvider(next(iter(user), None), password)
    for name, value in copied.items():
        try:
            pickle.dumps(value)
        except Exception as error:
            raise OptionError(
                f"parallel= starts processes, to which option {name!r} of the client of Redis cannot be passed "
                f"({type(error).__name__}) -> use a class or function of a module for it, or leave parallel= out"
            ) from error
    return copied
