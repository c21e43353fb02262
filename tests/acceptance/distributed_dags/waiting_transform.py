"""A transform that waits in the tasks of a test until it lets them go, and kills one of them once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pyarrow as pa

FOLDER = "WAITING_TRANSFORM"  # environment variable: where the test and its tasks leave files for each other
KILLED = 1  # the customer in whose part the task is killed


def waiting(rows: pa.Table) -> pa.Table:
    """Return the rows, when the test has made the file ``go``."""
    if rows.num_rows and FOLDER in os.environ:
        folder = Path(os.environ[FOLDER])
        (folder / f"running {os.getpid()}").touch()
        while not (folder / "go").exists():
            time.sleep(0.05)
        if KILLED in rows["customer_id"].to_pylist() and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return rows
