"""Options that several subcommands have, and the stores that they name."""

from __future__ import annotations

import os
import sys
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Annotated, Any

import typer

from online_features.errors import OptionError
from online_features.online.redis.clients import client_of
from online_features.online.store import OnlineStore

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore

REDIS_VARIABLE = "ONLINE_FEATURES_REDIS"
POSTGRES_VARIABLE = "ONLINE_FEATURES_POSTGRES"

# Distributions register functions under these names: "redis" from a connection's id to a client of redis-py, "postgres"
# from an id to an OfflineStore.
ENTRY_POINTS = "online_features.connections"

REDIS_HELP = f"redis://, rediss:// (TLS) or unix://; by default that of the environment variable {REDIS_VARIABLE}."
POSTGRES_HELP = f"postgresql://…; by default that of the environment variable {POSTGRES_VARIABLE}."

View = Annotated[str, typer.Argument(metavar="VIEW", help="The feature view: its name, or project:name.")]
Views = Annotated[list[str], typer.Argument(metavar="VIEW", help="Views of one project: names, or project:name.")]
Entity = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="The value of each join key.")]
GenerationId = Annotated[str | None, typer.Option("--generation", metavar="ID", help="By default the published one.")]
Redis = Annotated[str | None, typer.Option("--redis", metavar="URL", help=REDIS_HELP)]
ConnId = Annotated[
    str | None, typer.Option("--conn-id", metavar="ID", help="Airflow connection of Redis, instead of --redis.")
]
Postgres = Annotated[str | None, typer.Option("--postgres", metavar="URI", help=POSTGRES_HELP)]
PostgresConnId = Annotated[
    str | None,
    typer.Option("--postgres-conn-id", metavar="ID", help="Airflow connection of Postgres, instead of --postgres."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def online_store(redis: str | None, conn_id: str | None) -> OnlineStore:
    """Make the online store that the options name.

    :raises OptionError: when they name none, or two.
    :raises OnlineAccessError: when it cannot be used.
    """
    return OnlineStore(redis_client(redis, conn_id))


def redis_client(redis: str | None, conn_id: str | None) -> Any:
    """Make a client for the Redis that the options name; errors are those of :func:`online_store`."""
    url = _address(redis, conn_id, option="--redis", example="redis://host:6379/0", variable=REDIS_VARIABLE)
    return client_of(url) if url else _registered("redis", str(conn_id))


def offline_store(postgres: str | None, conn_id: str | None) -> OfflineStore:
    """Make the offline store that the options name.

    :raises OptionError: when they name none, or two.
    :raises OfflineAccessError: when it cannot be used.
    """
    from online_features.offline.store import OfflineStore

    example = "postgresql://host/database"
    uri = _address(postgres, conn_id, option="--postgres", example=example, variable=POSTGRES_VARIABLE)
    return OfflineStore(uri) if uri else _registered("postgres", str(conn_id))


def names_postgres(postgres: str | None, conn_id: str | None) -> bool:
    """Return whether anything names a Postgres."""
    return bool(postgres or conn_id or os.environ.get(POSTGRES_VARIABLE))


def _address(given: str | None, conn_id: str | None, *, option: str, example: str, variable: str) -> str | None:
    """Return the address of a server; ``None`` if the id of a connection names it, which the variable does not change.

    :raises OptionError: when nothing names a server, or two options do.
    """
    of_connection = "--conn-id" if option == "--redis" else f"{option}-conn-id"
    if given and conn_id:
        raise OptionError(f"{option} and {of_connection} name two servers -> give one of them")
    if conn_id:
        return None
    address = given or os.environ.get(variable)
    if not address:
        raise OptionError(f"no server is named -> give {option} {example} or {of_connection}, or set {variable}")
    return address


def _registered(kind: str, conn_id: str) -> Any:
    """Return what the id of a connection stands for.

    :raises OptionError: when nothing is installed that knows connections.
    """
    for registered in entry_points(group=ENTRY_POINTS, name=kind):
        with redirect_stdout(sys.stderr):  # where Airflow then logs; stdout is for what the command tells
            return registered.load()(conn_id)
    raise OptionError(
        f"connection {conn_id!r}: ids of connections need airflow-provider-online-features in this environment "
        "-> install it, or give the address of the server"
    )
