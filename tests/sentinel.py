"""A primary, a replica and a Sentinel that watches them, each with a password of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis
from online_features.embedded import HOST, _give_to_server_user, _running, embedded_redis, free_port, packaged_redis

PRIMARY = "main"
PASSWORD = "of the servers"
SENTINEL_PASSWORD = "of-the-sentinel"

CONFIGURATION = """
bind {host}
port {port}
dir {folder}
requirepass {sentinel_password}
sentinel monitor {primary} {host} {primary_port} 1
sentinel auth-pass {primary} "{password}"
"""


@dataclass(frozen=True)
class Watched:
    """Two servers and the port of their Sentinel."""

    servers: tuple[redis.Redis, redis.Redis]
    port: int

    def primary(self) -> redis.Redis:
        """The server that is the primary now."""
        (found,) = (server for server in self.servers if server.role()[0] == b"master")
        return found

    def fail_over(self) -> None:
        """Have the Sentinel make the replica the primary; it takes a second or two."""
        with redis.Redis(host=HOST, port=self.port, password=SENTINEL_PASSWORD) as sentinel:
            sentinel.sentinel_failover(PRIMARY)


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    """Run the three of them."""
    with ExitStack() as stack:
        primary, replica = (stack.enter_context(_server(folder / name)) for name in ("primary", "replica"))
        primary_port = primary.connection_pool.connection_kwargs["port"]
        replica.replicaof(HOST, primary_port)
        port = free_port()
        configuration = folder / "sentinel.conf"
        configuration.write_text(
            CONFIGURATION.format(
                host=HOST, port=port, folder=folder, primary=PRIMARY, primary_port=primary_port,
                password=PASSWORD, sentinel_password=SENTINEL_PASSWORD,
            )
        )  # fmt: skip
        _give_to_server_user(configuration)  # which it keeps up to date
        command: list[str | Path] = [packaged_redis() / "redis-server", configuration, "--sentinel"]
        ready = redis.Redis(host=HOST, port=port, password=SENTINEL_PASSWORD)
        with ready, _running(command, folder / "sentinel.log", ready=ready.ping):
            yield Watched((primary, replica), port)


@contextmanager
def _server(folder: Path) -> Iterator[redis.Redis]:
    folder.mkdir()
    with embedded_redis(folder) as url:
        with redis.Redis.from_url(url) as client:
            client.config_set("masterauth", PASSWORD)
            client.config_set("requirepass", PASSWORD)
        with redis.Redis.from_url(url, password=PASSWORD) as client:
            yield client
