"""The folder in which demo and tests run their servers; git ignores it, and it is removed afterwards."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

PROJECT = Path(__file__).parents[1]
SERVERS = PROJECT / ".servers"


@contextmanager
def workplace(name: str) -> Iterator[Path]:
    """Yield an empty folder for this process, and remove folders that killed processes left behind."""
    SERVERS.mkdir(exist_ok=True)
    for left in SERVERS.iterdir():
        if not psutil.pid_exists(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    folder = SERVERS / f"{name}-{os.getpid()}"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def unwind_on_signals() -> None:
    """Let SIGTERM, and Ctrl-C also in the background, raise KeyboardInterrupt, so that servers are stopped."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
