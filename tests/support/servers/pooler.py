"""PgBouncer of Debian's package, in front of the tests' Postgres."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from online_features.embedded import HOST, EmbeddedServerError, _give_to_server_user, _running, reserved_port
from sqlalchemy.engine import make_url

from tests.support.servers.postgres_servers import through

PGBOUNCER = Path("/usr/sbin/pgbouncer")

CONFIGURATION = """
[databases]
* = host={server.host} port={server.port}

[pgbouncer]
listen_addr = {host}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
pool_mode = {mode}
default_pool_size = {pool_size}
{more}
"""


@contextmanager
def pooler(folder: Path, uri: str, mode: str, *, pool_size: int = 1, more: str = "") -> Iterator[str]:
    """Run PgBouncer in front of the server at the URI, and yield the URI through it.

    :param folder: an existing folder, for its files.
    :param mode: ``session``, ``transaction`` or ``statement``.
    :param pool_size: how many sessions of the server there are for each database.
    :param more: further lines of its configuration.
    """
    if not PGBOUNCER.exists():
        raise EmbeddedServerError(f"{PGBOUNCER} is missing -> apt-get install pgbouncer")
    folder = folder / f"pgbouncer-{mode}-{pool_size}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    server = make_url(uri)
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{server.username}" "{server.password}"\n')
    with reserved_port() as port:
        configuration.write_text(CONFIGURATION.format(
            server=server, host=HOST, port=port, users=users, mode=mode, pool_size=pool_size, more=more
        ))  # fmt: skip
        _give_to_server_user(folder, users, configuration)
        pooled = through(uri, port)
        with _running(
            [PGBOUNCER, configuration], folder / "pgbouncer.log", ready=lambda: psycopg2.connect(pooled).close()
        ):
            yield pooled
