"""The address in an Airflow connection of type ``redis``: a server, Sentinels or a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import redis.asyncio
from online_features.online.redis.clients import bounds, handshake, warn_of_unchecked
from online_features.online.redis.credentials import adapted

from online_features_provider.hooks._redis_extra import RedisExtra
from online_features_provider.hooks.identities import Identity

if TYPE_CHECKING:
    from airflow.sdk import Connection

SERVER_PORT = 6379
SENTINEL_PORT = 26379

Node: TypeAlias = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class RedisAddress:
    """Nodes of a Redis, and how to connect to them.

    :param kind: of the nodes.
    :param nodes: host and port of each; a server has one.
    :param options: of redis-py, for connections to servers.
    :param connection: id of the Airflow connection, for messages.
    :param primary: the Sentinels' name of the primary.
    :param identity: that logs in to servers, in place of a user and a password among the options.
    :param sentinel_options: of redis-py, for connections to Sentinels.
    """

    kind: Literal["server", "sentinels", "cluster"]
    nodes: tuple[Node, ...]
    options: Mapping[str, Any] = field(repr=False)
    connection: str = field(default="", compare=False)
    primary: str = ""
    identity: Identity | None = None
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, connection: Connection) -> RedisAddress:
        """Parse an Airflow connection.

        :raises OnlineAccessError: naming the connection, the field and the cure.
        """
        extra, name = RedisExtra(connection), str(connection.conn_id)
        transport, identity = extra.transport(), extra.identity()
        options = {**extra.login(), **transport}
        sentinels = extra.nodes("sentinels", SENTINEL_PORT)
        if sentinels:
            return cls(
                kind="sentinels",
                connection=name,
                nodes=sentinels,
                options={**options, "db": extra.database()},
                primary=extra.primary(),
                identity=identity,
                sentinel_options={**extra.sentinel_login(), **transport},
            )
        server = (connection.host or "localhost", connection.port or SERVER_PORT)
        if extra.flag("cluster", default=False):
            extra.check_database_of_cluster()
            return cls(
                kind="cluster",
                connection=name,
                nodes=(server, *extra.nodes("startup_nodes", SERVER_PORT)),
                options=options,
                identity=identity,
            )
        options |= {"db": extra.database()}
        return cls(kind="server", connection=name, nodes=(server,), options=options, identity=identity)

    @property
    def uses_tls(self) -> bool:
        """Whether connections use TLS."""
        return "ssl" in self.options

    def client(self, library: ModuleType) -> Any:
        """Make a client. It connects when it is first used; one for a cluster connects at once.

        It may look up other Airflow connections, those of an identity.

        :param library: ``redis``, or ``redis.asyncio``, which has the same classes.
        :raises MissingExtraError: when packages are missing that the identity needs.
        :raises OnlineAccessError: when the identity cannot be used.
        """
        if self.uses_tls:
            is_checked, host_name = self.options["ssl_cert_reqs"] != "none", self.options["ssl_check_hostname"]
            warn_of_unchecked(f"connection {self.connection!r}", certificate=is_checked, host_name=host_name)
        login = {"credential_provider": adapted(self.identity.provider(library))} if self.identity else {}
        options = {**bounds(library), **self.options, **login}
        match self.kind:
            case "sentinels":
                # Each connection asks all Sentinels in turn, so time-outs add up: fewer retries.
                options |= {**bounds(library, retries=1), **self.options}
                asking = {**bounds(library, retries=0), **self.sentinel_options}
                sentinels = library.Sentinel(self.nodes, sentinel_kwargs=asking, **handshake(library), **options)
                pool = _AsyncPool if library is redis.asyncio else library.sentinel.SentinelConnectionPool
                return sentinels.master_for(self.primary, connection_pool_class=pool)
            case "cluster":
                nodes = [library.cluster.ClusterNode(host, port) for host, port in self.nodes]
                return library.RedisCluster(startup_nodes=nodes, **options)
            case "server":
                ((host, port),) = self.nodes
                return library.Redis(host=host, port=port, **handshake(library), **options)


class _AsyncPool(redis.asyncio.SentinelConnectionPool):
    """Close the connections to Sentinels, too; redis-py leaves them open."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.connection_pool.disconnect(inuse_connections)
