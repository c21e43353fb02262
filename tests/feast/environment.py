"""Feast in an environment of its own, and requests to it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from demo.workplace import PROJECT
from tests.support.environments import environment_of

HERE = Path(__file__).parent
CONSTRAINTS = HERE / "constraints.txt"
ENVIRONMENT = PROJECT / ".feast"
REQUIREMENT = "feast[redis,postgres]"


def feast_python() -> Path:
    """Python of the environment."""
    return environment_of(REQUIREMENT, CONSTRAINTS, ENVIRONMENT) / "python"


class FeastError(Exception):
    """What Feast raised."""


class Feast:
    """A Feast repository of a test's own.

    :param process: runs ``driver.py``.
    :param common: configuration of the repository, sent with every request.
    """

    def __init__(self, process: subprocess.Popen[str], **common: Any) -> None:
        self._process = process
        self._common = common
        self.views: list[dict[str, Any]] = []

    def __call__(self, do: str, **arguments: Any) -> Any:
        """Apply the views and call a function of the driver.

        :raises FeastError: when Feast does.
        """
        return self.measured(do, **arguments)["answer"]

    def measured(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Likewise; answer, wall and CPU seconds of the function, and peak memory of the process in bytes.

        :raises FeastError: when Feast does.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"do": do, "views": self.views, "arguments": arguments, **self._common}
        print(json.dumps(request, default=str), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise FeastError(answer["error"])
        return answer


def feast_stores(postgres_uri: str, redis_url: str, **options: Any) -> dict[str, dict[str, Any]]:
    """Both stores as a repository's configuration names them; options go to the online store."""
    postgres, online = make_url(postgres_uri), make_url(redis_url)
    return {
        "offline_store": {
            "type": "postgres", "host": postgres.host, "port": postgres.port, "database": postgres.database,
            "user": postgres.username, "password": postgres.password, "db_schema": "public", "sslmode": "disable",
        },
        "online_store": {
            "type": "redis", "connection_string": f"{online.host}:{online.port},db={online.database}", **options
        },
    }  # fmt: skip


@contextmanager
def feast_process(log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the driver."""
    command: list[str | Path] = [feast_python(), "-W", "ignore", HERE / "driver.py"]
    environment = {"FEAST_USAGE": "False", "HOME": str(log.parent)}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment
        ) as process,
    ):
        try:
            yield process
        finally:
            assert process.stdin is not None
            process.stdin.close()
