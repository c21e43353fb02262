"""Processes: the modules that one has imported, waiting for a condition, and locks between processes."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HEAVY = ("pandas", "pyarrow", "adbc_driver_postgresql", "sqlalchemy")


def modules_after(statement: str) -> set[str]:
    """Return the modules that a new process has loaded after the statement."""
    script = f"{statement}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until the condition holds; fail the test if it does not within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Run the context in one process at a time: other processes that name the same file wait."""
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
