"""Copies a source in several processes that read one snapshot."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from online_features.common.log_lines import say
from online_features.common.retry_budget import RetryBudget
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
from online_features.materialization.parallel.part_processes import PartProcesses
from online_features.schema import RowSchema
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.division.division import Division
    from online_features.offline.query_plan import QueryPlan
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore
    from online_features.online.write.generation_writer import GenerationWriter
    from online_features.statistics.measurement import Measurement

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ParallelCopy:
    """Copies all rows of a source to a generation, in parts.

    :param described: the columns of the source.
    :param window: of the plan.
    :param transfer: that copies all rows in this process, if the source has one part only.
    """

    view: FeatureView
    offline: OfflineStore
    online: OnlineStore
    described: RowSchema
    window: Window
    transfer: Transfer
    retry_budget: RetryBudget
    processes: PartProcesses

    def copy(self, query_plan: QueryPlan, writer: GenerationWriter, measurement: Measurement) -> None:
        """Divide the source, and read, transform, encode and write each part in a process of its own.

        :param query_plan: of the whole source.
        :raises PartLostError: when a process was killed.
        """
        division = self.transfer.source.divide(self.transfer.transformation.source, query_plan, self.processes.count)
        self._log_division(division)
        if len(division.parts) == 1:
            self.transfer.copy(query_plan, writer, measurement)
            return
        with self.processes, ExitStack() as exported:
            snapshot = exported.enter_context(self.transfer.source.exported_snapshot())
            tasks = self._tasks(division, writer, snapshot)
            importing = set(range(len(tasks)))
            for number, message in self.processes.messages(tasks):
                writer.check_lease()
                match message:
                    case SnapshotImported():
                        importing.discard(number)
                        if not importing:
                            exported.close()
                    case logging.LogRecord():
                        _handle(message)
                    case _:
                        self._take(message, number, writer, measurement)

    def _tasks(self, division: Division, writer: GenerationWriter, snapshot: str) -> list[PartTask]:
        return [
            PartTask(
                view=replace(self.view, checks=()), offline=self.offline, online=self.online,
                described=self.described, window=self.window, part=part, scan=division.scan, snapshot=snapshot,
                grant=writer.grant, now=self.transfer.now, batch_rows=self.transfer.batch_rows,
                retry_for=self.retry_budget.left, log_level=log.getEffectiveLevel(),
            )
            for part in division.parts
        ]  # fmt: skip

    def _take(self, message: Any, number: int, writer: GenerationWriter, measurement: Measurement) -> None:
        match message:
            case BatchWritten():
                self.transfer.counter.add(message.counts, message.times)
            case RowsRejected():
                self.transfer.counter.reject(message.rows, message.sample)
            case PartDone():
                measurement.merge(message.measurement)
                self.transfer.counter.add_process(message.stages, message.bytes_sent)
                writer.measured = writer.measured or message.measured
                log.info("Feature view %r: part %d is written", self.view.name, number + 1)
            case PartFailed():
                self.retry_budget.lower(message.retry_left)
                raise message.error

    def _log_division(self, division: Division) -> None:
        name, parts = f"Feature view {self.view.name!r}", len(division.parts)
        say(log.info, f"{name} is divided into {parts} parts by {division.in_words}")
        if division.unevenness:
            say(log.warning, f"{name}: its parts are uneven, because {division.unevenness}")
        if parts > 1:
            say(log.info, f"{parts} processes copy them, with one session each in Postgres and two in Redis")


def _handle(record: logging.LogRecord) -> None:
    """Log what the process of a part has logged."""
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
