"""Removal of generations that nobody can read or publish any more: first retired in the list, then swept from Redis.

A sweep is a scan of all keys that goes on in the next call where the last one stopped. Writers that were slow may write
to a generation after it was swept, so a generation stays in the list until a whole sweep has found nothing of it, and
sweeps go on for a week.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from online_features.common.batches import batched
from online_features.common.instants import from_text, to_text
from online_features.errors import BuildInProgressError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.layouts.layout import Key
from online_features.online.generations._change import Change, change
from online_features.online.generations.erasures import BUCKETS
from online_features.online.generations.generation_list import (
    EPOCH,
    HOLD,
    ID,
    NEEDS_FULL,
    Access,
    Generation,
    GenerationList,
    GenerationState,
    read_lists,
    read_on_primary,
)
from online_features.online.generations.view_state import json_object, named
from online_features.online.redis.deployment import Deployment
from online_features.resp.commands import Command, CommandForm
from online_features.resp.replies import optional_text, text

KEEP_GENERATIONS = 1  # to go back to

# Readers and producers whose call takes longer than this read the pointer and the list anew.
READABLE_FOR = timedelta(minutes=10)
LATE_FOR = timedelta(days=7)  # no writer is later than this
LATE_SWEEP_EVERY = timedelta(days=1)

SWEEP_SECONDS = 10.0  # of a call
SCANNED_PER_STEP = 500  # keys; a step keeps Redis busy for a fraction of a millisecond
UNLINKED_PER_COMMAND = 100  # keys; Redis answers readers between two commands
SCANNED_PER_SECOND, REMOVED_PER_SECOND = 500_000, 100_000  # keys, at most: a small part of Redis's time

# Fields of the list: the pass under way, when the last one ended, and when a generation was last retired.
SWEEP, SWEPT, RETIRED = "@sweep", "@swept", "@retired"

GLOB = re.compile(r"[*?\[\]\\^]")
LEFT = (GenerationState.UNPUBLISHED, GenerationState.ROLLED_BACK)


def retire(
    access: Access, view: FeatureView, *, keep_generations: int = KEEP_GENERATIONS, keep_refused: bool = True
) -> list[str]:
    """Retire the generations of a view that need not be kept; :func:`sweep` then removes their rows.

    :param keep_generations: how many generations to keep to go back to.
    :param keep_refused: whether to keep a build that has failed checks.
    :returns: ids of what was retired.
    """

    def decide(lists: list[GenerationList]) -> tuple[Change | None, list[str]]:
        (seen,) = lists
        retiring = dispensable(seen, keep_generations, keep_refused=keep_refused)
        changing = Change.of([view], lists)
        for known in retiring:
            changing.list(view, _retired(known, seen.read_at))
        changing.put(keyspace.generations_key(view), RETIRED, to_text(seen.read_at))
        return changing if retiring else None, [known.id for known in retiring]

    return change(access, [view], decide)


def dispensable(
    seen: GenerationList, keep_generations: int = KEEP_GENERATIONS, *, keep_refused: bool = True
) -> list[Generation]:
    """Return the generations that need not be kept.

    Kept are: the published one; those to go back to; the newest build that is ready, and one that was refused after it;
    the one that a run with the lease is building; and what was published less than ten minutes ago, which slow readers
    still read.

    :param keep_refused: whether to keep one that was refused.
    """
    last = seen.last_published
    kept = {FIRST_GENERATION if last is None else last.id, seen.published, *_to_go_back_to(seen, keep_generations)}
    ready = [known.id for known in seen.generations if known.state == GenerationState.READY]
    refused = [known.id for known in seen.generations if known.state == GenerationState.REFUSED and keep_refused]
    newest = "" if last is None else last.id
    for builds in (ready, refused):
        newest = max([newest, *builds[-1:]])
        kept.add(newest)

    def is_kept(known: Generation) -> bool:
        is_built = known.state == GenerationState.BUILDING and known.run_id == seen.builder
        is_read = known.unpublished is not None and seen.read_at - known.unpublished < READABLE_FOR
        return known.id in kept or is_built or is_read or known.state == GenerationState.RETIRED

    return [known for known in seen.generations if not is_kept(known)]


def _to_go_back_to(seen: GenerationList, number: int) -> list[str]:
    """Return what rollbacks would go to, one after the other, and then what was unpublished last."""
    found: list[str] = []
    known = seen.last_published
    while known is not None and known.before is not None and known.before not in found:
        found.append(known.before)
        known = seen.get(known.before)
    there = {known.id: known for known in seen.generations if known.state in LEFT and known.id != FIRST_GENERATION}
    found = [each for each in found if each in there]
    recent = sorted(there, key=lambda each: there[each].unpublished or seen.read_at, reverse=True)
    return [*found, *(each for each in recent if each not in found)][:number]


def _retired(known: Generation, now: datetime) -> Generation:
    return replace(known, state=GenerationState.RETIRED, retired=now)


@dataclass(frozen=True, kw_only=True)
class Swept:
    """The result of :func:`sweep`.

    :param removed: how many keys it has removed.
    :param is_done: whether nothing is left to do; else a later call goes on.
    """

    removed: int
    is_done: bool


@dataclass(frozen=True, kw_only=True)
class _Pass:
    """How far a pass over all keys has come.

    :param began: when, by the clock of Redis.
    :param primary: the number of the node that is scanned.
    :param cursor: of its scan.
    :param found: the generations of which the pass has removed keys.
    """

    began: datetime
    primary: int = 0
    cursor: str = "0"
    found: tuple[str, ...] = ()


def sweep(
    deployment: Deployment, view: FeatureView, *, seconds: float = SWEEP_SECONDS, is_due: bool = False,
    clock: Callable[[], float] = time.monotonic, pause: Callable[[float], object] = time.sleep,
) -> Swept:  # fmt: skip
    """Remove the rows of retired and of unknown generations; a retired one of which nothing is left leaves the list.

    Generations are unknown after the loss of the list, or because a writer was so late that they had left the list.

    :param seconds: after which the call returns; the next one goes on.
    :param is_due: sweep also if nothing is retired, and no sweep for late writers is due.
    :param clock: seconds.
    :param pause: waits for some seconds.
    """
    deadline, removed = clock() + seconds, 0
    while True:
        (seen,) = read_lists(deployment, [view])
        stored, current = _progress(deployment, view, seen, is_due=is_due)
        if current is None:
            return Swept(removed=removed, is_done=True)
        while current.primary < deployment.primaries:
            if clock() >= deadline:
                _save(deployment, view, stored, current)
                return Swept(removed=removed, is_done=False)
            current, count = _step(deployment, view, current, _removable)
            removed += count
            pause(SCANNED_PER_STEP / SCANNED_PER_SECOND + count / REMOVED_PER_SECOND)
        _end_pass(deployment, view, current)
        is_due = bool(current.found)


def drop(deployment: Deployment, view: FeatureView, *, with_erasures: bool = False) -> int:
    """Remove all rows of a view and all that Redis keeps of it; for layout ``feast``, all but the rows.

    Erased entities stay recorded, so that they stay out of a view that is built again.

    :param with_erasures: whether to remove the record of erased entities, too.
    :returns: how many rows were removed.
    :raises BuildInProgressError: when a run is building a generation of the view; nothing is removed then, or only what
        was there before that run began.
    """
    pointer, listed = keyspace.published_key(view.project), keyspace.generations_key(view)

    def give_up(lists: list[GenerationList]) -> tuple[Change, None]:
        (seen,) = lists
        _check_unused(view, seen)
        changing = Change.of([view], lists)
        changing.remove(pointer, view.name)
        changing.remove(listed, HOLD)
        changing.remove(listed, NEEDS_FULL)
        for known in seen.generations:
            changing.list(view, _retired(known, seen.read_at))
        return changing, None

    change(deployment, [view], give_up)
    removed, current = 0, _Pass(began=EPOCH)
    while current.primary < deployment.primaries:
        current, count = _step(deployment, view, current, _unused)
        removed += count

    def forget(lists: list[GenerationList]) -> tuple[Change, None]:
        (seen,) = lists
        _check_unused(view, seen)
        changing = Change.of([view], lists)
        generations = [FIRST_GENERATION, *(known.id for known in seen.generations)]
        _unlink(deployment, _kept_beside(view, generations))
        for generation in generations:
            changing.remove(keyspace.generation_key(view, generation))
        changing.remove(keyspace.closing_key(view))
        changing.remove(listed)
        return changing, None

    change(deployment, [view], forget)
    erased = [keyspace.erased_key(view, bucket) for bucket in range(BUCKETS)] if with_erasures else []
    for key in (keyspace.runs_key(view), *erased):
        deployment.command("UNLINK", key)
    deployment.command("SREM", keyspace.VIEWS_KEY, keyspace.view_id(view))
    return removed


def _check_unused(view: FeatureView, seen: GenerationList) -> None:
    if seen.builder is not None:
        raise BuildInProgressError(
            f"feature view {view.name!r}: run {seen.builder} is building a generation of it -> drop it when the run "
            "has ended, and stop its schedule first"
        )


def _progress(
    access: Access, view: FeatureView, seen: GenerationList, *, is_due: bool
) -> tuple[str | None, _Pass | None]:
    """Return the pass under way as the list has it, if there is one, and the pass to go on with, if one is due."""
    key = keyspace.generations_key(view)
    stored, *instants = map(optional_text, read_on_primary(access, "HMGET", key, SWEEP, SWEPT, RETIRED))
    with named(key):
        if stored is not None:
            known = json_object(stored)
            began, found = from_text(known["began"]), tuple(known["found"])
            return stored, _Pass(began=began, primary=known["primary"], cursor=known["cursor"], found=found)
        swept, retired = (from_text(instant) if instant else seen.listed for instant in instants)
    has_retired = any(known.state == GenerationState.RETIRED for known in seen.generations)
    may_be_late = (
        swept is not None and seen.read_at - swept >= LATE_SWEEP_EVERY
        and retired is not None and seen.read_at - retired < LATE_FOR + LATE_SWEEP_EVERY
    )  # fmt: skip
    return None, _Pass(began=seen.read_at) if is_due or has_retired or may_be_late else None


def _save(access: Access, view: FeatureView, stored: str | None, current: _Pass) -> None:
    """Store how far a pass has come; if another sweep has stored something meanwhile, leave that."""
    key = keyspace.generations_key(view)
    saving = Change(read_lists(access, [view])[0].read_at)
    saving.expect(key, SWEEP, stored)
    saving.put(key, SWEEP, json.dumps({**vars(current), "began": to_text(current.began)}))
    saving.make(access)


def _step(
    deployment: Deployment, view: FeatureView, current: _Pass, is_removable: Callable[[GenerationList, str], bool]
) -> tuple[_Pass, int]:
    """Scan some keys and remove those of removable generations; return where to go on, and how many were removed."""
    scan = CommandForm("SCAN", ("MATCH", _pattern(view), "COUNT", str(SCANNED_PER_STEP)), current.primary)
    ((reply, keys),) = deployment.replies([(scan, current.cursor)])
    cursor = str(reply) if isinstance(reply, int) else text(reply)
    primary = current.primary + (cursor == "0")
    by_generation = _by_generation(view, keys)
    if not by_generation:
        return replace(current, primary=primary, cursor=cursor), 0
    # Read the list after the scan: a generation that was registered meanwhile may have rows already.
    (seen,) = read_lists(deployment, [view])
    removing = [generation for generation in by_generation if is_removable(seen, generation)]
    rows = [key for generation in removing for key in by_generation[generation]]
    unlisted = [generation for generation in removing if seen.get(generation) is None]
    count = _unlink(deployment, rows)
    _unlink(deployment, [keyspace.generation_key(view, generation) for generation in unlisted])
    _unlink(deployment, _kept_beside(view, unlisted))
    found = tuple(sorted({*current.found, *removing}))
    return replace(current, primary=primary, cursor=cursor, found=found), count


def _unlink(deployment: Deployment, keys: Sequence[Key]) -> int:
    """Remove keys by short commands, between which Redis answers readers; return how many there were."""
    commands: list[Command] = []
    for part in deployment.parts(keys):
        for first, *others in batched((keys[i] for i in part), UNLINKED_PER_COMMAND):
            commands.append((CommandForm("UNLINK", tuple(others)), first))
    return sum(deployment.replies(commands)) if commands else 0


def _kept_beside(view: FeatureView, generations: Iterable[str]) -> list[str]:
    """Return the keys of the statistics of generations, and of their parts."""
    keys = (keyspace.statistics_key, keyspace.parts_key)
    return [key(view, generation) for generation in generations for key in keys]


def _end_pass(deployment: Deployment, view: FeatureView, ended: _Pass) -> None:
    """Take retired generations out of the list if a whole pass after their retirement has found nothing of them."""
    key = keyspace.generations_key(view)

    def decide(lists: list[GenerationList]) -> tuple[Change, None]:
        (seen,) = lists
        gone = [
            known.id for known in seen.generations
            if known.state == GenerationState.RETIRED and known.id not in ended.found
            and known.retired is not None and known.retired < ended.began
        ]  # fmt: skip
        _unlink(deployment, _kept_beside(view, gone))
        ending = Change.of([view], lists) if gone else Change(seen.read_at)
        for generation in gone:
            ending.remove(key, generation)
            ending.remove(keyspace.generation_key(view, generation))
        ending.remove(key, SWEEP)
        if seen.version is not None:
            ending.put(key, SWEPT, to_text(seen.read_at))
        return ending, None

    change(deployment, [view], decide)


def _removable(seen: GenerationList, generation: str) -> bool:
    """Return whether nobody reads a generation, and nobody can publish it."""
    if generation == seen.published:
        return False
    if (known := seen.get(generation)) is not None:
        return known.state == GenerationState.RETIRED
    # After the loss of a list, slow readers may still read what the new one does not know.
    return seen.listed is not None and seen.read_at - seen.listed >= READABLE_FOR


def _unused(seen: GenerationList, generation: str) -> bool:
    """Return whether a generation belongs to a view that is dropped, and not to a build that began meanwhile."""
    known = seen.get(generation)
    return known is None or known.state == GenerationState.RETIRED


def _pattern(view: FeatureView) -> str:
    """Return the pattern of the keys of all rows of the view."""
    return GLOB.sub(r"\\\g<0>", f"{keyspace.view_id(view)}{keyspace.SEPARATOR}") + "*"


def _by_generation(view: FeatureView, keys: Sequence[Key]) -> dict[str, list[Key]]:
    """Return the keys that are rows of generations of the view, by generation."""
    prefix = re.escape(f"{keyspace.view_id(view)}{keyspace.SEPARATOR}".encode())
    row = re.compile(rb"%s(%s|%s):\{" % (prefix, FIRST_GENERATION.encode(), ID.pattern.encode()))
    found: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        if parts := row.match(key.encode() if isinstance(key, str) else key):
            found[parts[1].decode()].append(key)
    return found
