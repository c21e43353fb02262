"""A run that writes one feature view: from its mark in Redis to its record in the history."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import timedelta
from typing import Any

from online_features.common.concurrency import run_with_timeout
from online_features.common.log_lines import say
from online_features.common.retry_budget import RetryBudget
from online_features.errors import OnlineDataError, OnlineFeaturesError, TerminalError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout_registry import LAYOUTS, layout_of
from online_features.online.generations.building import (
    PARTS_LEASE_SECONDS,
    mark_failed,
    mark_ready,
    register_build,
    sync_point,
    take_lease,
)
from online_features.online.generations.generation_list import GenerationList, read_lists
from online_features.online.generations.leases import CLOSING, Lease, closing, closing_run, release_lease
from online_features.online.generations.removal import LATE_FOR, retire, sweep
from online_features.online.generations.runs import begin_run, build_fields, end_run, identities, read_runs
from online_features.online.generations.switching import Publication, publish, withdraw
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.online.generations.view_state import ViewState, as_online, read_state
from online_features.online.read.statistics_query import read_statistics
from online_features.online.redis.conversation import hold
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import DRIVER_ERRORS, named, translation
from online_features.online.redis.replication import Replication
from online_features.online.redis.servers import Server, check_same, rows_evicted_since, warn_of_eviction
from online_features.online.write._memory import ROW_BYTES, check_room, free_bytes
from online_features.online.write._row_script import has_rows
from online_features.online.write.erasure import bury_erased
from online_features.online.write.generation_writer import GenerationWriter
from online_features.online.write.row_removal import drop_view_data, remove_first_generation
from online_features.online.write.write_grant import WriteGrant
from online_features.schema import RowSchema
from online_features.statistics.stored_statistics import encode
from online_features.statistics.view_statistics import ViewStatistics

# How long a run that a signal or a time-out ends waits for Redis to record it; the run's marker expires by itself.
CLEANUP_SECONDS = 5.0

CLOSING_LOOK_SECONDS = 0.2  # between two looks whether a build still catches up

log = logging.getLogger(__name__)


class OnlineRun:
    """One run's access to Redis.

    :param failed: makes the record of a run that an error has ended, for the run history.
    :param retry_budget: of all that the run tries again.
    :param replication: what has to be copied before the run counts.
    """

    def __init__(
        self,
        deployment: Deployment,
        view: FeatureView,
        schema: RowSchema,
        run_id: str,
        *,
        failed: Callable[[BaseException], Mapping[str, Any]],
        retry_budget: RetryBudget,
        replication: Replication,
    ) -> None:
        self._deployment = deployment
        self._retry_budget = retry_budget
        self._replication = replication
        self._view = view
        self._schema = schema
        self._run_id = run_id
        self._failed = failed
        self._ready = ""  # the generation that this run has made ready
        self._broken = ""  # the one that it could not

    @contextmanager
    def open(self, begun_on: frozenset[Server] | None = None) -> Iterator[OnlineRun]:
        """Open a session and mark the run in Redis; an error ends the run and is recorded.

        :param begun_on: the servers that held the rows when another process began the run, and marked it. Then a
            transient error does not end it.
        """
        with self._deployment.session(self._retry_budget, self._replication) as self._session:
            try:
                self._servers = begun_on or begin_run(self._session, self._view, self._run_id)
                warn_of_eviction(self._view, self._servers)
                yield self
            except BaseException as error:
                if begun_on is None or isinstance(error, TerminalError):
                    self._clean_up_after(error)
                raise

    @property
    def servers(self) -> frozenset[Server]:
        """The servers that held the rows when the run began."""
        return self._servers

    @property
    def bytes_sent(self) -> int:
        """Bytes of commands sent to Redis so far."""
        return self._session.bytes_sent

    def generations(self) -> GenerationList:
        """Read the view's list of generations."""
        (seen,) = read_lists(self._session, [self._view])
        return seen

    def state(self, generation: str) -> ViewState:
        """Read the state of a generation."""
        return self._session.steadily(lambda: read_state(self._deployment, self._view, generation))

    def has_rows(self, state: ViewState) -> bool:
        """Return whether a generation has rows."""
        if state.schema is None:
            return False
        layout = layout_of(as_online(self._view, state.layout), state.generation)
        return has_rows(self._deployment, layout, state.schema.keys)

    @contextmanager
    def in_place(self, generation: str, *, is_alone: bool) -> Iterator[GenerationWriter]:
        """Yield what writes to a generation that is there already.

        :param is_alone: whether no build may be under way.
        :raises BuildInProgressError: when another run is building and may not.
        """
        if not is_alone:
            yield self._writer(generation)
            return
        take_lease(self._session, self._view, self._run_id)
        with Lease(self._deployment, self._view, self._run_id) as lease:
            yield self._writer(generation, lease)

    def make_room(self, published: ViewState, expected_rows: int) -> None:
        """Make sure that Redis has room for a build; remove what there is to go back to if need be.

        :param published: the state of the published generation.
        :param expected_rows: of the build.
        :raises OnlineStoreFullError: when there is too little room.
        """
        needed = published.bytes or expected_rows * ROW_BYTES
        free = free_bytes(self._servers)
        if (
            free is not None
            and needed > free
            and (gone := retire(self._session, self._view, keep_generations=0, keep_refused=False))
        ):
            say(log.warning, f"Feature view {self._view.name!r}: generation {', '.join(gone)} is removed to make room "
                             "for a build, so nobody can go back to it or publish it")  # fmt: skip
            while not sweep(self._deployment, self._view).is_done:
                pass
            free = free_bytes(self._session.steadily(self._session.servers))
        check_room(self._view, needed, free)

    @contextmanager
    def build(self, origin: Mapping[str, Any] | None) -> Iterator[GenerationWriter]:
        """Register a generation, and yield what writes to it; an error makes the build fail.

        :raises BuildInProgressError: when another run is building one.
        """
        with self._registered(origin, None) as generation, Lease(self._deployment, self._view, self._run_id) as lease:
            yield self._build_writer(generation, lease)

    @contextmanager
    def begin_parts(self, origin: Mapping[str, Any] | None, parts: int) -> Iterator[GenerationWriter]:
        """Register a generation that other processes of the run will write, and yield what writes to it.

        The lease stays when the context is left, unless by an error, which makes the build fail.

        :raises BuildInProgressError: when another run is building one.
        """
        with self._registered(origin, parts) as generation:
            try:
                with self._shared_lease() as lease:
                    yield self._build_writer(generation, lease)
            except BaseException:
                _in_bounded_time(lambda: release_lease(self._deployment, self._view, self._run_id))
                raise

    @contextmanager
    def end_parts(self, generation: str) -> Iterator[GenerationWriter]:
        """Yield what writes to a generation of which all parts are written, and release the lease when it is ready.

        :raises BuildInProgressError: when another run is building one by now.
        """
        take_lease(self._session, self._view, self._run_id, seconds=PARTS_LEASE_SECONDS)
        is_done = False
        try:
            with self._shared_lease() as lease:
                yield self._writer(generation, lease, leaves_memory=True)
            is_done = True
        finally:
            if is_done or self._ready:
                _in_bounded_time(lambda: release_lease(self._deployment, self._view, self._run_id))

    def statistics(self, generation: str) -> ViewStatistics | None:
        """Read the statistics of a generation."""
        return self._session.steadily(lambda: hold(self._deployment, read_statistics(self._view, generation)))

    def keep_statistics(self, generation: str, statistics: ViewStatistics, *, is_build: bool = False) -> None:
        """Keep the statistics of a generation with it.

        :param is_build: whether it is a build. Then they expire unless it is marked as ready: the builder may be so
            late that the generation, and all else of it, has been removed.
        """
        expiry = ("PX", LATE_FOR // timedelta(milliseconds=1)) if is_build else ()
        self._session.command("SET", keyspace.statistics_key(self._view, generation), encode(statistics), *expiry)

    def sync_point(self) -> str:
        """Return what a build that now reads the source is in step with; see :func:`.sync_point`."""
        return sync_point(self._session, self._view)

    def mark_ready(
        self, build: GenerationWriter, *, synced: str, rows: int | None = None, row_bytes: int | None = None,
        is_pushed: bool = False, refusal: str | None = None,
    ) -> None:  # fmt: skip
        """Mark a build as complete; again after each catch-up.

        :param synced: see :meth:`sync_point`.
        :param rows: that the build has put online; ``None`` leaves what is recorded.
        :param row_bytes: the mean size of a row; ``None`` if it is unknown.
        :param is_pushed: whether producers may have pushed some of them.
        :param refusal: the checks that it has failed.
        """
        size = (row_bytes or 0) * rows if rows is not None else None
        mark_ready(
            self._session, self._view, build.generation, run_id=self._run_id, synced=synced, rows=rows, size=size,
            refusal=refusal, fields={"pushed": "1"} if is_pushed else {},
        )  # fmt: skip
        # Whoever may not send it has a build without statistics in the end.
        self._session.reply("PERSIST", keyspace.statistics_key(self._view, build.generation))
        self._ready = build.generation

    def give_up(self, generation: str) -> None:
        """Let a build fail when an error ends the run, although it is ready."""
        self._broken = generation

    def publish(
        self, generation: str, expected: tuple[str, int], origin: Mapping[str, Any] | None, *, ignore_checks: bool
    ) -> Publication:
        """Publish a build, unless the view is held or the build is behind.

        :param expected: the pointer when the run began.
        :param ignore_checks: publish also a build that an earlier attempt has refused.
        """
        name = self._view.name
        return publish(
            self._session, [self._view], generations={name: generation}, expected={name: expected}, by_run=True,
            ignore_checks=ignore_checks, servers=identities(self._servers), origin=origin,
        )  # fmt: skip

    def closing(self) -> AbstractContextManager[None]:
        """Let increments of other runs wait while a build catches up for the last time."""
        return closing(self._session, self._view, self._run_id)

    def wait_for_closing(self, wait: Callable[[float], object] = time.sleep) -> None:
        """Wait while a build catches up for the last time, but no longer than a minute.

        :param wait: waits for some seconds.
        """
        waited = 0.0
        while waited < CLOSING.total_seconds() and closing_run(self._session, self._view) is not None:
            wait(CLOSING_LOOK_SECONDS)
            waited += CLOSING_LOOK_SECONDS

    def clear_first_generation(self) -> None:
        """Remove the rows of layout ``feast``, which the view has left."""
        self._session.steadily(lambda: drop_view_data(self._deployment, self._view, FIRST_GENERATION))

    def clean_up(self, seen: GenerationList, keep_generations: int) -> None:
        """Remove generations that nobody needs any more, for some seconds; the next run goes on.

        What goes wrong is logged: the run itself has succeeded.

        :param seen: the generations when the run began.
        :param keep_generations: how many generations to keep to go back to.
        """
        try:
            if not LAYOUTS[self._view.layout].has_generations and seen.published != FIRST_GENERATION:
                withdraw(self._session, self._view)
                remove_first_generation(self._deployment, self._view)
            retire(self._session, self._view, keep_generations=keep_generations)
            sweep(self._deployment, self._view)
        except (*DRIVER_ERRORS, OnlineFeaturesError) as error:
            failure = _as_ours(self._view, error)
            say(log.warning, f"Feature view {self._view.name!r}: old generations were not removed: {failure}")

    def data_loss_reason(self, recorded: ViewState) -> str:
        """Return why rows of earlier runs may be lost while their claims are not; ``""`` if nothing suggests it.

        In a cluster, claims and rows are on different servers, and one of them may have lost what it had. Any server
        may have evicted rows and kept the claims.
        """
        is_apart = not self._deployment.state_is_beside_rows
        if is_apart and recorded.servers not in (None, identities(self._servers)):
            return "a server of the cluster has restarted, failed over or joined"
        evicted = rows_evicted_since(self._view, recorded.evicted, self._servers) if recorded.evicted is not None else 0
        if evicted:
            return f"Redis has evicted {evicted:,} keys since the last run, and rows of the view may be among them"
        return ""

    def end(self, run: Mapping[str, Any]) -> None:
        """Record a run that went on after it had committed; see :func:`.end_run`."""
        end_run(self._session, self._view, self._run_id, run=run)

    def _clean_up_after(self, error: BaseException) -> None:
        """Record that the run failed, and its build with it, in bounded time."""
        ours = _as_ours(self._view, error)
        run = self._failed(ours)

        def fail() -> None:
            reason = str(ours) or type(ours).__name__
            mark_failed(self._deployment, self._view, self._broken, run_id=self._run_id, reason=reason)

        def record() -> None:
            end_run(self._deployment, self._view, self._run_id, run=run)

        _in_bounded_time(*([fail] if self._broken else []), record)

    def _last_run(self) -> str:
        """Return the id of the last run in the history; empty if there is none, or the user may not read it."""
        with suppress(*DRIVER_ERRORS, OnlineDataError):
            return str(next((run["run_id"] for run in read_runs(self._deployment, self._view, 1)), ""))
        return ""

    @contextmanager
    def _registered(self, origin: Mapping[str, Any] | None, parts: int | None) -> Iterator[str]:
        """Register a build and yield its id; an error makes it fail, unless it is ready."""
        generation = register_build(
            self._session, self._view, run_id=self._run_id, origin=origin, parts=parts,
            fingerprint=definition_fingerprint(self._view, self._schema),
            fields={**build_fields(self._view, self._schema), "last_run": self._last_run()},
        )  # fmt: skip
        try:
            yield generation
        except BaseException:
            if generation != self._ready:  # a build that is ready stays so if it cannot be published
                self._broken = generation
            raise

    def _shared_lease(self) -> Lease:
        return Lease(self._deployment, self._view, self._run_id, is_shared=True, seconds=PARTS_LEASE_SECONDS)

    def _build_writer(self, generation: str, lease: Lease) -> GenerationWriter:
        """Return what writes to a new generation, after the erased entities are erased from it, too."""
        writer = self._writer(generation, lease, leaves_memory=True)
        # After the registration: what is erased from now on is erased from this generation, too.
        bury_erased(self._deployment, writer.layout, self._schema.keys)
        return writer

    def _writer(self, generation: str, lease: Lease | None = None, *, leaves_memory: bool = False) -> GenerationWriter:
        grant = WriteGrant(
            run_id=self._run_id, generation=generation, servers=self._servers, replication=self._replication,
            lease_seconds=lease.seconds if lease is not None else None, leaves_memory=leaves_memory,
        )  # fmt: skip
        return GenerationWriter(
            self._deployment, self._session, self._view, self._schema, grant,
            check_lease=lease.check if lease is not None else lambda: None,
        )  # fmt: skip


@contextmanager
def granted_writer(
    deployment: Deployment, view: FeatureView, schema: RowSchema, grant: WriteGrant, retry_budget: RetryBudget
) -> Iterator[GenerationWriter]:
    """Yield what writes rows of a run that another process has begun and will commit.

    :param retry_budget: of all that is tried again.
    :raises OnlineDataLostError: when Redis became another server meanwhile.
    """
    with deployment.session(retry_budget, grant.replication) as session, ExitStack() as held:
        check_lease: Callable[[], object] = lambda: None  # noqa: E731
        if grant.lease_seconds is not None:
            lease = Lease(deployment, view, grant.run_id, is_shared=True, seconds=grant.lease_seconds)
            check_lease = held.enter_context(lease).check
        servers = session.steadily(session.servers)
        check_same(view, grant.servers, servers)
        yield GenerationWriter(deployment, session, view, schema, grant, check_lease=check_lease)
        # The process that commits cannot see that a session here has been opened again.
        check_same(view, servers, session.steadily(session.servers))


def record_failure(deployment: Deployment, view: FeatureView, run: Mapping[str, Any]) -> None:
    """Record a run that failed, in bounded time: Redis may be what failed, or hang.

    :param run: for the history, as JSON.
    """
    _in_bounded_time(lambda: end_run(deployment, view, run["run_id"], run=run))


def _in_bounded_time(*actions: Callable[[], None]) -> None:
    """Do one after the other; an error of one does not keep the others from being done."""

    def attempt() -> None:
        for act in actions:
            with suppress(*DRIVER_ERRORS, OnlineFeaturesError):
                act()

    run_with_timeout(attempt, CLEANUP_SECONDS)


def _as_ours(view: FeatureView, error: BaseException) -> BaseException:
    return translation(error, named(view)) if isinstance(error, DRIVER_ERRORS) else error
