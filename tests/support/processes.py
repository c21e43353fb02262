"""Processes of their own: what they have imported, waiting for what they do, and what only one at a time may do."""

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
    """All modules that are loaded when a new process has executed the statement."""
    script = f"{statement}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.splitlines()[-1]))


def until(holds: Callable[[], bool], *, seconds: float = 60) -> None:
    """Wait until something holds; it fails the test when it still does not after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Do what only one process at a time may do; whoever means to do it, too, names the same file and waits."""
    with file.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
