"""Copies of the tests' Postgres that can be restarted and killed, and hot standbys of it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from online_features.embedded import (
    HOST,
    THROW_AWAY_SETTINGS,
    _as_server_user,
    _running,
    reserved_port,
)
from sqlalchemy.engine import make_url

from tests.support.servers.programs import postgres_programs


def through(uri: str, port: int) -> str:
    """Return the URI with another port, of a proxy or a copy."""
    return make_url(uri).set(port=port).render_as_string(hide_password=False)


@dataclass
class Server:
    """A Postgres that is a copy of another, roles, passwords and databases included."""

    uri: str
    command: list[str | Path]
    data: Path
    _process: ExitStack = field(default_factory=ExitStack)

    def start(self) -> None:
        """Start it, in the main thread: servers die with the thread that started them."""
        log = self.data.with_suffix(".log")
        ready = lambda: psycopg2.connect(self.uri).close()  # noqa: E731
        self._process.enter_context(_running(self.command, log, ready=ready))

    def stop(self, how: signal.Signals) -> None:
        """Stop it: SIGINT shuts it down, SIGQUIT acts like a crash."""
        os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), how)
        self.close()

    def close(self) -> None:
        self._process.close()


@contextmanager
def copied(folder: Path, uri: str, *, is_standby: bool = False, **settings: str) -> Iterator[Server]:
    """Copy the server at the URI, and run the copy, on its own or as a standby of the original."""
    programs = postgres_programs()
    data = folder / "copy"
    copying = [programs / "pg_basebackup", "--dbname", uri, "--pgdata", data, "--checkpoint=fast", "--no-sync",
               *(["--write-recovery-conf"] if is_standby else [])]  # fmt: skip
    subprocess.run([*_as_server_user(), *copying], check=True, capture_output=True)
    chosen = [word for name, value in {**THROW_AWAY_SETTINGS, **settings}.items() for word in ("-c", f"{name}={value}")]
    with reserved_port() as port:
        command = [programs / "postgres", "-D", data, "-h", HOST, "-p", str(port), *chosen]
        with closing(Server(through(uri, port), command, data)) as server:
            server.start()
            yield server
