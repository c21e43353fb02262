"""The process that copies one part: what it runs, from its first message to its last."""

from __future__ import annotations

import gc
import logging
import os
import pickle
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from logging.handlers import QueueHandler
from multiprocessing.connection import Connection
from typing import Any

from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.counters import RowCounts
from online_features.errors import OnlineFeaturesError, OptionError
from online_features.event_times import EventTimes
from online_features.feature_view import FeatureView
from online_features.materialization._transfer import Transfer
from online_features.materialization.parallel.messages import (
    BatchWritten,
    PartDone,
    PartFailed,
    PartTask,
    RowsRejected,
    SnapshotImported,
)
from online_features.materialization.reporting.progress import RunCounter
from online_features.producers.transformation import Transformation
from online_features.statistics.measurement import Measurement

# Imported before there is a task, because it takes most of a second.
NEEDED = ("online_features.offline.store", "online_features.online.store", "online_features.online.write.online_run")

ORPHANED = 3  # exit status of a process whose run has ended


class Outbox:
    """Sends messages to the process of the run, from any thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def put_nowait(self, message: Any) -> None:
        """Send a message; the name is the one that :class:`logging.handlers.QueueHandler` calls."""
        with self._lock:
            self._connection.send(message)


class PartCounter(RunCounter):
    """Tells the process of the run what becomes of the rows; that process counts."""

    def __init__(self, view: FeatureView, outbox: Outbox) -> None:
        super().__init__(view, 0, None, time.monotonic())
        self._outbox = outbox

    def add(self, counts: RowCounts, times: EventTimes) -> None:
        """Tell of the rows of a batch that was written."""
        self._outbox.put_nowait(BatchWritten(counts=counts, times=times))

    def reject(self, rows: int, sample: Sequence[Sequence[str | None]]) -> None:
        """Tell of rejected rows."""
        self._outbox.put_nowait(RowsRejected(rows=rows, sample=[tuple(row) for row in sample]))


def run(connection: Connection) -> None:
    """Copy the part that the first message names, and end this process."""
    _copy_part(connection)
    os._exit(0)  # taking an interpreter apart costs a sixth of a second


def _copy_part(connection: Connection) -> None:
    for name in NEEDED:
        import_module(name)
    gc.freeze()
    gc.enable()
    outbox = Outbox(connection)
    try:
        task: PartTask = connection.recv()
    except EOFError:
        return
    except Exception as error:  # noqa: BLE001 - a module of the user's may raise anything
        failure = error if isinstance(error, OnlineFeaturesError) else _not_importable(error)
        outbox.put_nowait(PartFailed(error=failure, retry_left=RETRY_FOR))
        return
    threading.Thread(target=_end_with_run, args=[connection], daemon=True).start()
    logging.root.addHandler(QueueHandler(outbox))  # type: ignore[arg-type]
    logging.root.setLevel(task.log_level)
    retry_budget = RetryBudget(task.retry_for)
    outcome: PartDone | PartFailed
    try:
        outcome = _copy(task, outbox, retry_budget)
    except BaseException as error:  # noqa: BLE001 - the process of the run raises it
        outcome = PartFailed(error=_portable(error), retry_left=retry_budget.left)
    if sys.stdout:
        with suppress(OSError, ValueError):  # nobody reads it any more
            sys.stdout.flush()  # before the last message, after which the run may end and this process with it
    outbox.put_nowait(outcome)


def _copy(task: PartTask, outbox: Outbox, retry_budget: RetryBudget) -> PartDone:
    counter = PartCounter(task.view, outbox)
    source = task.offline._source(task.view)
    transformation = Transformation(task.view, task.described)
    measurement = Measurement(transformation.schema)
    transfer = Transfer(
        source=source, transformation=transformation, counter=counter, now=task.now, batch_rows=task.batch_rows
    )
    plans = source.plans_of_part(transformation.source, task.window, task.part, task.scan)
    with (
        source.snapshot(*plans, imported=task.snapshot) as snapshot,
        task.online._granted_writer(task.view, transformation.schema, task.grant, retry_budget) as writer,
    ):
        outbox.put_nowait(SnapshotImported())
        transfer.stream(snapshot, writer, measurement)
    return PartDone(measurement=measurement, stages=counter.stages.seconds, bytes_sent=writer.bytes_sent)


def _end_with_run(connection: Connection) -> None:
    """End this process as soon as the process of the run does, whatever has ended that."""
    try:
        connection.recv_bytes()  # nothing more is sent
    except (EOFError, OSError):
        os._exit(ORPHANED)


def _not_importable(error: Exception) -> OptionError:
    return OptionError(
        "parallel= starts processes, and one of them cannot import what the view or a store is made of "
        f"({type(error).__name__}: {error}) "
        "-> define transforms and classes in a module that can be imported, not in a script or a DAG file, or leave "
        "parallel= out"
    )


def _portable(error: BaseException) -> BaseException:
    """Return the error, or what it says if it cannot be pickled, with where it was raised."""
    trace = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    except Exception:  # noqa: BLE001 - a user's error may hold anything
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(f"In another process of the run:\n{trace}")
    return error
