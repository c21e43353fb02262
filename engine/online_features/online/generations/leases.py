"""Leases: of one builder at a time on a view, renewed by a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from types import TracebackType

from online_features.common.concurrency import run_with_timeout
from online_features.common.log_lines import say
from online_features.common.retry_budget import RetryBudget
from online_features.errors import OnlineFeaturesError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations._change import LEASE_SECONDS, MILLISECONDS
from online_features.online.generations.building import lease_lost
from online_features.online.generations.generation_list import Access
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.redis_failures import translated
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import optional_text

RENEW_SECONDS = 10.0  # two renewals may fail before the lease ends
RELEASE_RETRY_FOR = timedelta(seconds=2)  # for longer, the next attempt of the run waits instead
RELEASE_SECONDS = 3.0  # how long a run waits for Redis to release its lease, which ends by itself
CLOSING = timedelta(minutes=1)  # how long increments wait for the last catch-up of a build

log = logging.getLogger(__name__)


class Lease:
    """The lease of a run that builds, renewed every ten seconds while the context is open, and released at its end.

    Take it before, with :func:`.register_build` or :func:`.take_lease`.

    :param deployment: on whose client's pool the thread has a connection of its own.
    :param is_shared: whether the lease is not to be released at the end: other processes of the run have it, too.
    :param seconds: how long it lasts from each renewal on; by default half a minute.
    :param clock: seconds that go on while the process is stopped.
    """

    def __init__(
        self, deployment: Deployment, view: FeatureView, run_id: str, *, is_shared: bool = False,
        seconds: float | None = None, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._deployment = deployment
        self._view = view
        self._run_id = run_id
        self._is_shared = is_shared
        self.seconds = LEASE_SECONDS if seconds is None else seconds
        self._clock = clock
        self._renewed = clock()
        self._is_lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease of {view.name}", daemon=True)

    def __enter__(self) -> Lease:
        self._thread.start()
        try:
            self.renew()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def check(self) -> None:
        """Make sure that the lease holds, without a call to Redis: before each packet of rows, for example.

        :raises LeaseLostError: when another run has it, or it was last renewed longer ago than it lasts.
        """
        if self._is_lost or self._clock() - self._renewed >= self.seconds:
            raise lease_lost(self._view, self._run_id, None)

    def renew(self) -> None:
        """Renew the lease once; if the run no longer has it, the next :meth:`check` raises.

        :raises OnlineFeaturesError: when Redis does not answer; the lease may still hold.
        """
        # The instant before the call: the lease may end so long after it.
        began = self._clock()
        words = _renewal(keyspace.lease_key(self._view), self._run_id, int(self.seconds * MILLISECONDS))
        with translated(self._deployment.client, self._view):
            has_lease = self._deployment.command(*words)
        if has_lease:
            self._renewed = began
        else:
            self._is_lost = True

    def _end(self) -> None:
        self._ended.set()
        run_with_timeout(self._release, RELEASE_SECONDS)

    def _release(self) -> None:
        self._thread.join()
        if self._is_shared:
            return
        release = partial(release_lease, self._deployment, self._view, self._run_id)
        try:
            with translated(self._deployment.client, self._view):
                # The next attempt of the run needs the lease.
                RetryBudget(RELEASE_RETRY_FOR).attempt(release, self._deployment.may_pass)
        except OnlineFeaturesError as failure:
            say(log.warning, f"The lease of feature view {self._view.name!r} was not released: {failure}")

    def _keep(self) -> None:
        while not self._is_lost and not self._ended.wait(RENEW_SECONDS):
            try:
                self.renew()
            except OnlineFeaturesError as failure:
                say(log.warning, f"The lease of feature view {self._view.name!r} was not renewed: {failure}")


def release_lease(access: Access, view: FeatureView, run_id: str) -> None:
    """Release the lease of a view, unless another run has it."""
    access.command(*_renewal(keyspace.lease_key(view), run_id, 0))


def begin_closing(access: Access, view: FeatureView, run_id: str) -> None:
    """Ask increments to wait, for up to a minute, while the last catch-up of a build is under way."""
    access.command("SET", keyspace.closing_key(view), run_id, "PX", CLOSING // timedelta(milliseconds=1))


def end_closing(access: Access, view: FeatureView, run_id: str) -> None:
    """Let increments go on, unless they wait for another run."""
    access.command(*_renewal(keyspace.closing_key(view), run_id, 0))


@contextmanager
def closing(access: Access, view: FeatureView, run_id: str) -> Iterator[None]:
    """Let increments wait, for up to a minute, while the context is open."""
    begin_closing(access, view, run_id)
    try:
        yield
    finally:
        end_closing(access, view, run_id)


def closing_run(access: Access, view: FeatureView) -> str | None:
    """Return the run for which increments wait."""
    return optional_text(access.command("GET", keyspace.closing_key(view)))


def _renewal(key: str, run_id: str, milliseconds: int) -> tuple[str | int, ...]:
    return state_script("renew_lease").call_in_full([key], [run_id, milliseconds])
