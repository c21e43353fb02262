"""Switches of what readers see: publish a generation, roll back to the one before, release the hold that follows.

Each takes several views of one project and changes all of them in one step, or none.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from online_features.common.instants import to_text
from online_features.errors import GenerationError, OptionError, PublishError, RollbackError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations._change import Change, change, hash_fields
from online_features.online.generations.generation_list import (
    COMPLETE,
    HOLD,
    NEEDS_FULL,
    Access,
    Generation,
    GenerationList,
    GenerationState,
)

NOTHING: Mapping[str, Any] = {}


class PublicationOutcome(StrEnum):
    """Outcomes of publishing.

    ``held``: nothing was published, because a view is held and a run may not end that. ``behind``: nothing was
    published, because runs have committed in a published generation since the build last read the source.
    """

    PUBLISHED = "published"
    UNCHANGED = "unchanged"
    HELD = "held"
    BEHIND = "behind"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """The result of publishing.

    :param generations: of each view by name, the generation that was to be published.
    :param views: names of the views that are held or behind.
    """

    outcome: PublicationOutcome
    generations: Mapping[str, str]
    views: tuple[str, ...] = ()

    def require(self) -> None:
        """Refuse a publication that was not made because builds are behind.

        :raises PublishError: naming the views.
        """
        if self.outcome == PublicationOutcome.BEHIND:
            names = ", ".join(map(repr, self.views))
            raise PublishError(
                f"feature views {names}: runs have committed online since their builds read the source, and would be "
                "undone -> build them with materialize(…, full=True), which catches up"
            )


def publish(
    access: Access, views: Sequence[FeatureView], *, generations: Mapping[str, str] = NOTHING,
    expected: Mapping[str, tuple[str, int]] = NOTHING, by_run: bool = False, ignore_missed: bool = False,
    ignore_checks: bool = False, servers: str | None = None, origin: Mapping[str, Any] | None = None,
) -> Publication:  # fmt: skip
    """Publish a generation of each view, all in one step.

    :param generations: by name of a view, the generation to publish; else the newest build that is ready.
    :param expected: by name of a view, :attr:`.GenerationList.pointer` as the caller saw it; if the view was switched
        since, its generation is refused.
    :param by_run: a run publishes its own build, which a hold prevents; publishing otherwise ends a hold.
    :param ignore_missed: publish also what has missed pushes.
    :param ignore_checks: publish also what has failed checks of its view.
    :param servers: that hold the rows now, as :func:`.identities` writes them; a generation from others is refused.
    :param origin: who publishes.
    :raises PublishError: naming a view and why its generation may not be published; then none is.
    :raises GenerationError: when the views are of several projects, or of layout ``feast``.
    """
    check_switchable(views)
    for names in (generations, expected):
        if stray := set(names).difference(view.name for view in views):
            raise OptionError(f"generation of {min(stray)!r}, which is not among the views to publish -> name the view")
    switching = partial(_Switch, access=access, ignore_missed=ignore_missed, servers=servers, origin=origin)

    def decide(lists: list[GenerationList]) -> tuple[Change | None, Publication]:
        targets = {
            view.name: publication_target(
                view, seen, generations.get(view.name), expected.get(view.name),
                by_run=by_run, ignore_checks=ignore_checks,
            )
            for view, seen in zip(views, lists, strict=True)
        }  # fmt: skip
        result = partial(Publication, generations={name: target.id for name, target in targets.items()})
        switched = [pair for pair in zip(views, lists, strict=True) if targets[pair[0].name].id != pair[1].published]
        if not switched:
            return None, result(outcome=PublicationOutcome.UNCHANGED)
        held = tuple(view.name for view, seen in switched if seen.hold)
        if held and by_run:
            return None, result(outcome=PublicationOutcome.HELD, views=held)
        switch, behind = switching(change=Change.of(views, lists)), []
        for view, seen in switched:
            target = targets[view.name]
            switch.judge(view, target, PublishError)
            if switch.is_behind(view, seen, target):
                behind.append(view.name)
            old = seen.last_published
            before = target.before if old is None or old.id == target.id else old.id
            switch.point_to(view, seen, replace(target, before=before), GenerationState.UNPUBLISHED)
            switch.change.remove(keyspace.generations_key(view), HOLD)
            switch.change.remove(keyspace.generations_key(view), NEEDS_FULL)
        if behind:
            return None, result(outcome=PublicationOutcome.BEHIND, views=tuple(behind))
        return switch.change, result(outcome=PublicationOutcome.PUBLISHED)

    return change(access, views, decide)


def rollback(
    access: Access, views: Sequence[FeatureView], *, by: str | None = None, ignore_missed: bool = False,
    servers: str | None = None, origin: Mapping[str, Any] | None = None,
) -> dict[str, str]:  # fmt: skip
    """Go back to what was published before in each view, all in one step, and hold the views.

    :param by: who rolls back. A view that the same one has rolled back already, and that is still held, stays as it
        is: a task that is tried again does not go back twice.
    :param ignore_missed: go back also to what has missed pushes.
    :param servers: that hold the rows now, as :func:`.identities` writes them.
    :param origin: who rolls back, for the list.
    :returns: by name of each view, the generation that is published now.
    :raises RollbackError: naming a view and why it can't go back; then none does.
    :raises GenerationError: when the views are of several projects, or of layout ``feast``.
    """
    check_switchable(views)
    leaving: dict[str, str] = {}

    def decide(lists: list[GenerationList]) -> tuple[Change | None, dict[str, str]]:
        switch = _Switch(
            access=access, change=Change.of(views, lists), ignore_missed=ignore_missed, servers=servers, origin=origin
        )
        now = {view.name: seen.published for view, seen in zip(views, lists, strict=True)}
        switched = [
            (view, seen) for view, seen in zip(views, lists, strict=True)
            if not _is_rolled_back(view, seen, by, leaving)
        ]  # fmt: skip
        for view, seen in switched:
            target = rollback_target(view, seen, leaving)
            switch.judge(view, target, RollbackError)
            switch.point_to(view, seen, target, GenerationState.ROLLED_BACK)
            hold = {"since": to_text(seen.read_at), "by": by}
            switch.change.put(keyspace.generations_key(view), HOLD, json.dumps(hold))
            now[view.name] = target.id
        return switch.change if switched else None, now

    return change(access, views, decide)


def release(access: Access, views: Sequence[FeatureView]) -> None:
    """End the hold of each view, all in one step; the next run of a view that was held is a full build.

    :raises GenerationError: when the views are of several projects, or of layout ``feast``.
    """
    check_switchable(views)

    def decide(lists: list[GenerationList]) -> tuple[Change | None, None]:
        changing = Change.of(views, lists)
        held = [view for view, seen in zip(views, lists, strict=True) if seen.hold]
        for view in held:
            changing.remove(keyspace.generations_key(view), HOLD)
            changing.put(keyspace.generations_key(view), NEEDS_FULL, "1")
        return changing if held else None, None

    change(access, views, decide)


def withdraw(access: Access, view: FeatureView) -> None:
    """Let readers read the first generation again, and retire all others: the view has got layout ``feast``."""

    def decide(lists: list[GenerationList]) -> tuple[Change, None]:
        (seen,) = lists
        changing = Change.of([view], lists)
        changing.remove(keyspace.published_key(view.project), view.name)
        changing.remove(keyspace.generations_key(view), FIRST_GENERATION)
        for known in seen.generations:
            if known.id != FIRST_GENERATION:
                changing.list(view, replace(known, state=GenerationState.RETIRED, retired=seen.read_at))
        return changing, None

    change(access, [view], decide)


def check_switchable(views: Sequence[FeatureView]) -> None:
    """Refuse views that cannot switch in one step.

    :raises OptionError: when there is none, or one twice.
    :raises GenerationError: when they are of several projects, or of layout ``feast``.
    """
    if projects := sorted({view.project for view in views} - {view.project for view in views[:1]}):
        raise GenerationError(
            f"feature views of projects {views[0].project!r} and {projects[0]!r} cannot switch in one step "
            "-> make one call for each project"
        )
    names = [view.name for view in views]
    if not names or len(set(names)) < len(names):
        raise OptionError(f"feature views {names}: name at least one, and each of them once")
    for view in views:
        if view.layout == "feast":
            raise GenerationError(
                _of(view, "layout 'feast' has one generation, written in place -> give the view another layout")
            )


def publication_target(
    view: FeatureView, seen: GenerationList, named: str | None, expected: tuple[str, int] | None = None, *,
    by_run: bool = False, ignore_checks: bool = False,
) -> Generation:  # fmt: skip
    """Return the generation to publish; it may be published already.

    :raises PublishError: when it may not be published, whatever its own hash says.
    """
    target = _newest(view, seen) if named is None else _named(view, seen, named)
    if target.id == seen.published:
        return target
    if target.state == GenerationState.REFUSED and not ignore_checks:
        raise PublishError(_of(view, f"generation {target.id} has failed {target.failure} -> correct the source and "
                                     "build again, or accept this by ignore_checks=True"))  # fmt: skip
    if by_run and target.state in (GenerationState.UNPUBLISHED, GenerationState.ROLLED_BACK):
        raise PublishError(_of(view, f"generation {target.id} was published and is {target.state} since "
                                     "-> name it in publish(generations=…) if you want it back"))  # fmt: skip
    if seen.hold and by_run:
        return target
    # Without the pointer, only the number of the last switch is known.
    if (
        expected is not None
        and expected != seen.pointer
        and (seen.published != FIRST_GENERATION or expected[1] != seen.switch)
    ):
        raise PublishError(_of(view, f"generation {seen.published} was published by switch {seen.switch}, after switch "
                                     f"{expected[1]} that this was to follow -> build again"))  # fmt: skip
    last = seen.last_published
    if target.state in COMPLETE and last is not None and target.id < last.id:
        raise PublishError(
            _of(view, f"generation {target.id} was superseded by {last.id}, which is published -> build again")
        )
    return target


def _newest(view: FeatureView, seen: GenerationList) -> Generation:
    """Return the newest build that is complete, or the published generation if there is none after it."""
    last = seen.last_published
    for known in reversed(seen.generations):
        if known.state in COMPLETE and (last is None or known.id > last.id):
            return known
    if last is None:
        raise PublishError(_of(view, "no build is ready to be published -> build one with materialize(…, full=True)"))
    if seen.hold:
        raise PublishError(_of(view, f"it is held at generation {last.id}, and no later build is ready "
                                     "-> build one, name one in generations=, or release the view"))  # fmt: skip
    return last


def _named(view: FeatureView, seen: GenerationList, named: str) -> Generation:
    if named == seen.published:
        return seen.get(named) or Generation(id=named, state=GenerationState.PUBLISHED)
    target = seen.get(named)
    if target is None or named == FIRST_GENERATION:
        known = [each.id for each in seen.generations if each.id != FIRST_GENERATION]
        raise PublishError(_of(view, f"generation {named!r} is not among its generations {known} "
                                     "-> name one of them, or build again"))  # fmt: skip
    match target.state:
        case GenerationState.BUILDING:
            raise PublishError(_of(view, f"generation {named} is being built by run {target.run_id} -> wait for it"))
        case GenerationState.FAILED:
            raise PublishError(_of(view, f"the build of generation {named} failed: {target.failure} -> build again"))
        case GenerationState.RETIRED:
            raise PublishError(_of(view, f"generation {named} is retired, its rows are being removed -> build again"))
    return target


def _is_rolled_back(view: FeatureView, seen: GenerationList, by: str | None, leaving: Mapping[str, str]) -> bool:
    """Return whether the same command has rolled the view back already: a task that is tried again, or a lost reply."""
    left = seen.get(leaving.get(view.name, ""))
    is_by_same = by is not None and seen.hold is not None and seen.hold.by == by
    return is_by_same or (left is not None and left.state == GenerationState.ROLLED_BACK)


def rollback_target(view: FeatureView, seen: GenerationList, leaving: dict[str, str] | None = None) -> Generation:
    """Return the generation to which a view goes back.

    :param leaving: by name of each view, the generation that it leaves, as of the first attempt.
    :raises RollbackError: when there is none.
    """
    old = seen.last_published
    if old is None:
        raise RollbackError(_of(view, "no generation is published -> publish a build first"))
    if leaving is not None and leaving.setdefault(view.name, old.id) != old.id:
        raise RollbackError(_of(view, f"generation {old.id} was published meanwhile, after {leaving[view.name]} "
                                      "-> roll back again if you still want to"))  # fmt: skip
    if old.before is None:
        raise RollbackError(
            _of(view, f"nothing was published before generation {old.id} -> correct the source and build again")
        )
    target = seen.get(old.before)
    if target is None or target.state == GenerationState.RETIRED:
        raise RollbackError(_of(view, f"generation {old.before}, which was published before {old.id}, has been removed "
                                      "-> correct the source and build again"))  # fmt: skip
    return target


@dataclass(frozen=True, kw_only=True)
class _Switch:
    """A change of what readers of some views see.

    :param change: is made when every view has been judged.
    """

    access: Access
    change: Change
    ignore_missed: bool
    servers: str | None
    origin: Mapping[str, Any] | None

    def judge(self, view: FeatureView, target: Generation, error: type[GenerationError]) -> None:
        """Make sure that the target has all rows that were written and pushed.

        :raises GenerationError: of the type given.
        """
        fields = ("synced", "servers") if self.ignore_missed else ("synced", "servers", "missed")
        known = self._expected(view, target.id, fields)
        if known["synced"] is None:  # every build has it
            raise error(_of(view, f"Redis has lost the schema of generation {target.id} -> build again"))
        if self.servers is not None and known["servers"] != self.servers:
            raise error(_of(view, f"the rows of generation {target.id} were written to other servers: Redis was "
                                  "restarted or failed over since and may have lost some -> build again"))  # fmt: skip
        if known.get("missed") not in (None, "0"):
            raise error(_of(view, f"generation {target.id} lacks {known['missed']} pushed rows that its definition did "
                                  "not allow -> build again, or accept this by ignore_missed=True"))  # fmt: skip

    def is_behind(self, view: FeatureView, seen: GenerationList, target: Generation) -> bool:
        """Return whether runs have committed since a build that was never published last read the source.

        :raises PublishError: when the watermark would go back, although the target is not behind.
        """
        there = self._expected(view, seen.published, ("watermark", "commits"))
        known = self._expected(view, target.id, ("watermark", "synced"))
        has_runs = seen.published != FIRST_GENERATION or there["commits"] is not None
        goes_back = (there["watermark"] or "") > (known["watermark"] or "")
        if target.state in COMPLETE and has_runs:
            # A run may have committed after the build had planned what to claim, and before it read the source.
            return goes_back or known["synced"] != f"{seen.published} {there['commits'] or 0}"
        if goes_back:
            raise PublishError(_of(view, f"with generation {target.id} the watermark would go back from "
                                         f"{there['watermark']} to {known['watermark'] or 'none'} "
                                         "-> build again, or roll back"))  # fmt: skip
        return False

    def point_to(self, view: FeatureView, seen: GenerationList, target: Generation, left: GenerationState) -> None:
        """Let readers read the target.

        :param left: the state of the generation that they leave.
        """
        old, number = seen.last_published, seen.switch + 1
        if seen.published == FIRST_GENERATION:
            self.change.list(
                view, Generation(id=FIRST_GENERATION, state=GenerationState.UNPUBLISHED, unpublished=seen.read_at)
            )
        if old is not None and old.id != target.id:
            left_behind = replace(old, state=left, unpublished=seen.read_at, origin=self.origin or old.origin)
            self.change.list(view, left_behind)
        self.change.list(view, replace(
            target, state=GenerationState.PUBLISHED, published=seen.read_at, unpublished=None, switch=number,
            failure=None, ignored=target.failure or target.ignored, origin=self.origin or target.origin,
        ))  # fmt: skip
        self.change.put(keyspace.published_key(view.project), view.name, f"{target.id} {number}")

    def _expected(self, view: FeatureView, generation: str, fields: Sequence[str]) -> dict[str, str | None]:
        """Return fields of a generation's own hash, on which the change depends from now on."""
        known = hash_fields(self.access, view, generation, fields)
        for name, value in known.items():
            self.change.expect(keyspace.generation_key(view, generation), name, value)
        return known


def _of(view: FeatureView, message: str) -> str:
    return f"feature view {view.name!r}: {message}"
