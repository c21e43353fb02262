"""Copies a source in the process of the run and in others, which all read one snapshot."""

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
    from online_features.offline.division.part import Part
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
        """Divide the source, and read, transform, encode and write the parts: the first here, each other elsewhere.

        :param query_plan: of the whole source.
        :raises PartLostError: when a process was killed.
        """
        source, schema = self.transfer.source, self.transfer.transformation.source
        division = source.divide(schema, query_plan, self.processes.count + 1)
        self._log_division(division)
        first, *others = division.parts
        if not others:
            self.transfer.copy(query_plan, writer, measurement)
            return
        plans = source.plans_of_part(schema, self.window, first, division.scan)
        with self.processes, ExitStack() as exported:
            snapshot = exported.enter_context(source.exported_snapshot())
            self.processes.hand_out([self._task(part, division, writer, snapshot) for part in others])
            importing = set(range(len(others)))

            def receive(*, waits: bool = False) -> None:
                for number, message in self.processes.messages(waits=waits):
                    if isinstance(message, SnapshotImported):
                        importing.discard(number)
                    else:
                        self._take(message, measurement)
                if not importing:
                    exported.close()

            with source.snapshot(*plans, imported=snapshot) as own:
                self.transfer.stream(own, writer, measurement, after_batch=receive)
            while not self.processes.are_done:
                receive(waits=True)
                writer.check_lease()

    def _task(self, part: Part, division: Division, writer: GenerationWriter, snapshot: str) -> PartTask:
        return PartTask(
            view=replace(self.view, checks=()), offline=self.offline, online=self.online, described=self.described,
            window=self.window, part=part, scan=division.scan, snapshot=snapshot, grant=writer.grant,
            now=self.transfer.now, batch_rows=self.transfer.batch_rows, retry_for=self.retry_budget.left,
            log_level=log.getEffectiveLevel(),
        )  # fmt: skip

    def _take(self, message: Any, measurement: Measurement) -> None:
        match message:
            case logging.LogRecord():
                _handle(message)
            case BatchWritten():
                self.transfer.counter.add(message.counts, message.times)
            case RowsRejected():
                self.transfer.counter.reject(message.rows, message.sample)
            case PartDone():
                measurement.merge(message.measurement)
                self.transfer.counter.add_process(message.stages, message.bytes_sent)
                log.info("Feature view %r: another part is written", self.view.name)
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
