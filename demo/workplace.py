"""Where demo and tests run their servers: a folder of the project that git ignores, gone afterwards."""

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
    """Yield an empty folder for this process; folders that killed processes left behind go."""
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
    """Make SIGTERM unwind as Ctrl-C does, and Ctrl-C even in the background, so that servers are stopped."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
