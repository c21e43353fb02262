"""Transforms in a light module, because each process of a run with several imports it."""

from __future__ import annotations

import logging
import os
import signal
import threading

import pyarrow as pa
import pyarrow.compute as pc

log = logging.getLogger(__name__)


def doubles(table: pa.Table) -> pa.Table:
    """Return ``y``, twice ``x``."""
    log.warning("doubling %d rows", table.num_rows)
    return table.append_column("y", pc.multiply(table["x"], 2))


def doubles_aloud(table: pa.Table) -> pa.Table:
    """Print, and return ``y``, twice ``x``."""
    print("doubling", table.num_rows, flush=True)
    return doubles(table)


def doubles_unflushed(table: pa.Table) -> pa.Table:
    """Print into the buffer, and return ``y``, twice ``x``."""
    print("doubling", table.num_rows)
    return doubles(table)


def fails_at_ninety(table: pa.Table) -> pa.Table:
    """Fail on the row in which ``x`` is 90."""
    if 90 in table["x"].to_pylist():
        raise ValueError("ninety")
    return table.append_column("y", table["x"])


def kills_itself_at_ninety(table: pa.Table) -> pa.Table:
    """Kill the process that has the row in which ``x`` is 90."""
    if 90 in table["x"].to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return table.append_column("y", table["x"])


def waits_at_ninety(table: pa.Table) -> pa.Table:
    """Never return from the row in which ``x`` is 90."""
    if 90 in table["x"].to_pylist():
        log.warning("waiting")
        threading.Event().wait()
    return table.append_column("y", table["x"])
