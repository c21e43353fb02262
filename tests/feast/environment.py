"""Feast in an environment of its own, built once and kept: its requirements do not fit beside Airflow's."""

from __future__ import annotations

import json
import subprocess
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demo.workplace import PROJECT

HERE = Path(__file__).parent
CONSTRAINTS = HERE / "constraints.txt"
ENVIRONMENT = PROJECT / ".feast"
REQUIREMENT = "feast[redis,postgres]"


def feast_python() -> Path:
    """Python of an environment with Feast, built when there is none yet or the constraints have changed."""
    python, installed = ENVIRONMENT / "bin" / "python", ENVIRONMENT / "constraints.txt"
    if not installed.exists() or installed.read_text() != CONSTRAINTS.read_text():
        venv.create(ENVIRONMENT, clear=True, with_pip=True)
        install = ["-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
        subprocess.run([python, *install, "--constraint", CONSTRAINTS, REQUIREMENT], check=True)
        installed.write_text(CONSTRAINTS.read_text())
    return python


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
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"do": do, "views": self.views, "arguments": arguments, **self._common}
        print(json.dumps(request, default=str), file=self._process.stdin, flush=True)
        answer = json.loads(self._process.stdout.readline())
        if "error" in answer:
            raise FeastError(answer["error"])
        return answer["answer"]


@contextmanager
def feast_process(log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs the driver."""
    command = [feast_python(), "-W", "ignore", HERE / "driver.py"]
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
