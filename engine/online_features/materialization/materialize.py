"""The public function that runs a materialization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from online_features import arguments
from online_features.common.retry_budget import RETRY_FOR, RetryBudget
from online_features.errors import (
    OfflineStoreUnavailableError,
    OnlineDataLostError,
    OnlineStoreUnavailableError,
    QueryCanceledError,
    SwitchedError,
)
from online_features.feature_view import FeatureView
from online_features.materialization._options import RunOptions
from online_features.materialization._run import run_once
from online_features.materialization.reporting.progress import Progress
from online_features.materialization.reporting.result import MaterializationResult
from online_features.materialization.reporting.run_record import RunRecord
from online_features.online.generations.removal import KEEP_GENERATIONS
from online_features.online.redis.replication import REPLICA_TIMEOUT, Replication
from online_features.window import Window

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore
    from online_features.online.store import OnlineStore

BATCH_ROWS = 50_000  # of ordinary width about 4 MiB: encoded by column at full speed, and memory stays flat

# After these, a run is repeated from its beginning: its snapshot is lost, or rows that it had written are, or nobody
# reads them.
REPEATED_AFTER = (OfflineStoreUnavailableError, OnlineStoreUnavailableError, OnlineDataLostError, SwitchedError)


def materialize(
    view: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    full: bool = False,
    prune: bool = False,
    publish: bool = True,
    in_place: bool = False,
    overwrite: bool = False,
    allow_empty: bool = False,
    ignore_checks: bool = False,
    ignore_memory: bool = False,
    keep_generations: int = KEEP_GENERATIONS,
    parallel: int = 1,
    lookback: timedelta | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    batch_rows: int = BATCH_ROWS,
    retry_for: timedelta = RETRY_FOR,
    wait_for_replicas: int = 0,
    replica_timeout: timedelta = REPLICA_TIMEOUT,
    origin: Mapping[str, str | int] | None = None,
) -> MaterializationResult:
    """Copy the newest row of each entity from Postgres to Redis.

    Without ``start``, ``end`` and ``full`` the run is incremental: it reads what came since the last one, or all of
    history if there was none. Running it again, or beside another run, is safe: no row replaces a newer one. While the
    view is held after a rollback, runs that are not full are skipped.

    :param start: read rows with an event timestamp from here on (aware).
    :param end: read rows with an event timestamp before this (aware).
    :param full: read all of history, and build a new generation. Readers see the old one until the new one is complete,
        and then all of the new one. It has what the source has, and what producers have pushed.
    :param prune: with ``full``, leave out pushed rows with an event timestamp before the beginning of the run, which
        the source should have by now. With ``in_place``, remove online entities that the source no longer has, too.
    :param publish: with ``full``, let readers see the new generation; otherwise it is ready for
        :meth:`~online_features.OnlineStore.publish`.
    :param in_place: with ``full``, write to the published generation, row by row, and replace no newer row.
    :param overwrite: with ``full``, for layout ``feast``, which has no generations: remove all rows before writing.
    :param allow_empty: with ``full``, let a generation without rows replace one with rows.
    :param ignore_checks: publish a build, and move the watermark, although rows have failed checks of the view.
    :param ignore_memory: with ``full``, build although Redis may have too little memory.
    :param keep_generations: how many generations to keep to roll back to.
    :param parallel: how many processes copy the rows of a full run, each a part of the source with whole entities, as
        of one snapshot of Postgres. Increments and windows, which read few rows, are read by this process alone.
    :param lookback: how far an incremental run reads back over the last one; by default nothing where the source
        declares a created timestamp and shows its transactions in flight, else one hour.
    :param on_progress: called after every batch.
    :param batch_rows: the largest number of rows in memory per batch.
    :param retry_for: how long to retry in total while a store cannot be reached or breaks off. The run resumes after
        the last call that Redis has acknowledged; if Postgres failed or Redis lost data, it starts again. Zero gives up
        at once.
    :param wait_for_replicas: how many replicas of Redis must have the rows before the watermark moves.
    :param replica_timeout: how long to wait for them.
    :param origin: what started the run, for the run history; of an Airflow task its ``dag_id``, ``run_id``,
        ``task_id``, ``map_index`` and ``try_number``.
    :raises WindowError: when the window is naive, empty or contradicts ``full``.
    :raises OptionError: when an option is out of its range.
    :raises SourceError: when the view does not fit the database.
    :raises ChecksFailedError: when rows have failed checks of the view: a build is not published then; rows of other
        runs are online, and the watermark has not moved.
    :raises GenerationError: when the build may not be published, or the definition is one that was given up.
    :raises BuildInProgressError: when another run is building a generation of the view.
    :raises TransformError: when the view's transform fails, or what it returns does not fit.
    :raises PartLostError: with ``parallel``, when one of the processes was killed.
    :raises NotReplicatedError: when too few replicas have the rows in time.
    :raises TransientError: when a store cannot be reached or broke off, for longer than ``retry_for``.
    :raises TerminalError: for everything else that needs a change by hand.
    """
    arguments.check(
        view=view, offline=offline, online=online, wait_for_replicas=wait_for_replicas, replica_timeout=replica_timeout
    )
    options = RunOptions(
        window=Window(start=start, end=end),
        full=full,
        prune=prune,
        publish=publish,
        in_place=in_place,
        overwrite=overwrite,
        allow_empty=allow_empty,
        ignore_checks=ignore_checks,
        ignore_memory=ignore_memory,
        keep_generations=keep_generations,
        parallel=parallel,
        lookback=lookback,
        on_progress=on_progress,
        batch_rows=batch_rows,
        replication=Replication(
            what=f"feature view {view.name!r}", replicas=wait_for_replicas, timeout=replica_timeout
        ),
        origin=origin,
    )
    options.check_layout(view)
    retry_budget = RetryBudget(retry_for)
    record = RunRecord(origin)

    def run() -> MaterializationResult:
        nonlocal record
        record = RunRecord(origin)
        return run_once(view, offline, online, options, retry_budget=retry_budget, record=record)

    try:
        return retry_budget.attempt(run, is_repeated_after)
    except BaseException as error:
        # An attempt that failed before it began to write has not recorded its failure.
        if not record.is_failed and not isinstance(error, OnlineStoreUnavailableError):
            online._record_failed_run(view, record.failed(error))
        raise


def is_repeated_after(failure: BaseException) -> bool:
    """Return whether what failed is to be tried again from its beginning."""
    # A query that took too long would take as long again; one that somebody cancelled must not come back.
    return isinstance(failure, REPEATED_AFTER) and not isinstance(failure, QueryCanceledError)
