"""The builds of generations: registered under a lease, then ready to be published, or failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from online_features.errors import BuildInProgressError, LeaseLostError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations._change import LEASE_SECONDS, Change, change, hash_fields
from online_features.online.generations.generation_list import (
    COMPLETE,
    EPOCH,
    Access,
    Generation,
    GenerationList,
    GenerationState,
    read_lists,
)

PARTS_LEASE_SECONDS = 86_400.0  # of a build in parts, which each part renews: parts may wait for a worker
WATCH_SECONDS = 1.0  # between two looks at another run's lease
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
ID_LENGTH = 8
NOTHING: Mapping[str, str] = {}


def register_build(
    access: Access, view: FeatureView, *, run_id: str, fingerprint: str, fields: Mapping[str, str] = NOTHING,
    origin: Mapping[str, Any] | None = None, parts: int | None = None, wait: Callable[[float], object] = time.sleep,
) -> str:  # fmt: skip
    """Take the lease of a view and list a new generation, in one step with its own hash.

    While another run has the lease, watch it for as long as a lease lasts: that run may have died. What other builds
    of the view were building has failed then. An unfinished build in parts of the same DAG gives way at once; one of
    another is not watched, since its lease lasts a day.

    :param fingerprint: of the definition of the view.
    :param fields: of the new generation's hash: what producers need of it to push, such as layout and schema.
    :param origin: who runs.
    :param parts: how many tasks will build it; they share a lease that lasts a day.
    :param wait: waits for some seconds.
    :returns: the id of the generation.
    :raises BuildInProgressError: naming the other run.
    """
    is_watched = True

    def decide(lists: list[GenerationList]) -> tuple[Change | None, str]:
        nonlocal is_watched
        (seen,) = lists
        is_watched = _build_in_parts(seen) is None
        if not _gives_way(seen, origin, parts):
            _check_lease(view, seen, run_id)
        building = [known for known in seen.generations if known.state == GenerationState.BUILDING]
        for known in building:
            if seen.builder == run_id == known.run_id:  # this call was carried out, and its reply was lost
                return None, known.id
        build = Generation(
            id=_next_id(seen), state=GenerationState.BUILDING, run_id=run_id, fingerprint=fingerprint, parts=parts,
            registered=seen.read_at, origin=origin,
        )  # fmt: skip
        changing = Change.of([view], lists)
        changing.lease(view, run_id, None if parts is None else PARTS_LEASE_SECONDS)
        for other in building:
            failure = "its run lost its lease" if other.parts is None else f"run {run_id} has begun to build instead"
            changing.list(view, replace(other, state=GenerationState.FAILED, failure=failure))
        changing.list(view, build)
        _put_fields(changing, view, build.id, fields)
        return changing, build.id

    watched = 0.0
    while True:
        try:
            return change(access, [view], decide)
        except BuildInProgressError:
            if watched > LEASE_SECONDS or not is_watched:
                raise
        wait(WATCH_SECONDS)
        watched += WATCH_SECONDS


def take_lease(access: Access, view: FeatureView, run_id: str, *, seconds: float | None = None) -> None:
    """Take the lease of a view without a new generation, such as to catch up with a build that is ready.

    :param seconds: how long it lasts; by default half a minute.
    :raises BuildInProgressError: when another run has it.
    """

    def decide(lists: list[GenerationList]) -> tuple[Change, None]:
        _check_lease(view, lists[0], run_id)
        changing = Change.of([view], lists)
        changing.lease(view, run_id, seconds)
        return changing, None

    change(access, [view], decide)


def sync_point(access: Access, view: FeatureView) -> str:
    """Return the published generation and how many runs have committed in it: what a build records as ``synced``.

    Read it before the snapshot, and record it when all rows of the snapshot are acknowledged.
    """
    (seen,) = read_lists(access, [view])
    return f"{seen.published} {hash_fields(access, view, seen.published, ['commits'])['commits'] or 0}"


def mark_ready(
    access: Access, view: FeatureView, generation: str, *, run_id: str, synced: str, rows: int | None, size: int | None,
    refusal: str | None = None, fields: Mapping[str, str] = NOTHING,
) -> None:  # fmt: skip
    """Mark a build as complete when all its rows are acknowledged; again after each catch-up.

    It is ready to be published then. A build that was refused stays so.

    :param run_id: of the run that has the lease.
    :param synced: see :func:`sync_point`.
    :param rows: how many the build has written; ``None`` leaves what is recorded.
    :param size: their bytes; ``None`` leaves what is recorded.
    :param refusal: the checks that it has failed: it is refused.
    :param fields: further fields of the generation's hash.
    :raises LeaseLostError: when the run has lost the lease, or Redis the generation.
    """
    sizes = {name: str(value) for name, value in (("rows", rows), ("bytes", size)) if value is not None}
    recorded = {"synced": synced, **sizes, **fields}

    def decide(lists: list[GenerationList]) -> tuple[Change, None]:
        (seen,) = lists
        known = seen.get(generation)
        if seen.builder != run_id or known is None:
            raise lease_lost(view, run_id, seen.builder)
        is_own = known.state == GenerationState.BUILDING and known.run_id == run_id
        if not is_own and known.state not in COMPLETE:
            raise LeaseLostError(
                f"feature view {view.name!r}: generation {generation} is {known.state}, so run {run_id} cannot make it "
                f"ready{f' ({known.failure})' if known.failure else ''} -> run again"
            )
        changing = Change.of([view], lists)
        failure = refusal or known.failure
        state = GenerationState.REFUSED if failure else GenerationState.READY
        changing.list(view, replace(known, state=state, failure=failure, ready=known.ready or seen.read_at))
        _put_fields(changing, view, generation, recorded)
        return changing, None

    change(access, [view], decide)


def mark_failed(access: Access, view: FeatureView, generation: str, *, run_id: str, reason: str) -> None:
    """Mark a build as failed; do nothing if it was published or has ended otherwise.

    :param reason: why it failed; publishing it by name is refused with this.
    """
    unfinished = (GenerationState.BUILDING, GenerationState.READY)

    def decide(lists: list[GenerationList]) -> tuple[Change | None, None]:
        (seen,) = lists
        known = seen.get(generation)
        if known is None or known.run_id != run_id or known.state not in unfinished:
            return None, None
        changing = Change.of([view], lists)
        changing.list(view, replace(known, state=GenerationState.FAILED, failure=reason))
        return changing, None

    change(access, [view], decide)


def lease_lost(view: FeatureView, run_id: str, builder: str | None) -> LeaseLostError:
    """Return the error for a run that builds without the lease."""
    cause = f"run {builder} has it now" if builder else "it was not renewed in time, or Redis has lost it"
    return LeaseLostError(
        f"feature view {view.name!r}: run {run_id} lost the lease under which it was building: {cause} -> run again"
    )


def _put_fields(changing: Change, view: FeatureView, generation: str, fields: Mapping[str, str]) -> None:
    for name, value in fields.items():
        changing.put(keyspace.generation_key(view, generation), name, value)


def _gives_way(seen: GenerationList, origin: Mapping[str, Any] | None, parts: int | None) -> bool:
    """Return whether the lease is that of a build in parts of the same DAG, or of one that is published already.

    Builds that no DAG has begun give way to another one in parts alone: somebody may run a full build beside them.
    """
    dag_id = (origin or {}).get("dag_id")
    is_in_turn = dag_id is not None or parts is not None
    return any(
        known.run_id == seen.builder and known.parts is not None
        and (known.published is not None or (is_in_turn and (known.origin or {}).get("dag_id") == dag_id))
        for known in seen.generations
    )  # fmt: skip


def _build_in_parts(seen: GenerationList) -> Generation | None:
    """Return the build in parts that has the lease; ``None`` if another build has it."""
    return next((known for known in seen.generations if known.run_id == seen.builder and known.parts is not None), None)


def _check_lease(view: FeatureView, seen: GenerationList, run_id: str) -> None:
    if seen.builder in (None, run_id):
        return
    in_parts = _build_in_parts(seen)
    when = "half a minute after it dies"
    if in_parts is not None:
        next_one = "with its DAG's next run" if (in_parts.origin or {}).get("dag_id") else "when plan_build begins anew"
        when = f"a day after its last part was at work, or {next_one}"
    raise BuildInProgressError(
        f"feature view {view.name!r}: run {seen.builder} is building a generation{' in parts' if in_parts else ''} "
        f"-> run again when it has ended; its lease ends {when}"
    )


def _next_id(seen: GenerationList) -> str:
    """Return the milliseconds of the server's clock to base 36, or the next number after all ids in use."""
    used: Iterable[str] = (seen.published, *(known.id for known in seen.generations))
    last = max((int(known, len(DIGITS)) for known in used if known != FIRST_GENERATION), default=0)
    number = max(int((seen.read_at - EPOCH).total_seconds() * 1000), last + 1)
    digits = ""
    while number:
        number, digit = divmod(number, len(DIGITS))
        digits = DIGITS[digit] + digits
    return digits.rjust(ID_LENGTH, "0")
