"""Random builds, publications, rollbacks, releases and retirements of two views end as a small model says."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from online_features import FeatureView
from online_features.errors import BuildInProgressError, LeaseLostError, PublishError, RollbackError
from online_features.layouts import keyspace
from online_features.layouts.keyspace import FIRST_GENERATION
from online_features.online.generations.building import mark_failed, mark_ready, register_build, sync_point
from online_features.online.generations.generation_list import read_generations
from online_features.online.generations.removal import retire
from online_features.online.generations.switching import publish, release, rollback
from online_features.online.redis import deployment_of
from online_features.online.redis.deployment import Deployment

from tests.support.generations import make_older

pytestmark = pytest.mark.servers

NUMBER = itertools.count()
VIEWS = ("trips", "weather")
ENDED = ("retired", "failed")


@dataclass
class Build:
    """A generation of the model."""

    run: str | None
    state: str = "building"
    before: str | None = None
    left: int | None = None  # minute
    left_by: int = 0  # switch
    synced: tuple[str, int] | None = None
    missed: int = 0


@dataclass
class View:
    """A view of the model."""

    builds: dict[str, Build] = field(default_factory=dict)
    published: str = FIRST_GENERATION
    switch: int = 0
    is_held: bool = False
    needs_full: bool = False
    lease: str | None = None
    commits: dict[str, int] = field(default_factory=dict)
    minute: int = 0

    def sync(self) -> tuple[str, int]:
        return self.published, self.commits.get(self.published, 0)

    def target(self, named: str | None, *, by_run: bool) -> str | None:
        """The generation to publish, or None if that is refused."""
        if named is None:
            ready = (each for each, build in self.builds.items() if build.state == "ready")
            later = [each for each in ready if self.published == FIRST_GENERATION or each > self.published]
            if later:
                return max(later)
            return None if self.published == FIRST_GENERATION or self.is_held else self.published
        state = self.builds[named].state
        if named == self.published:
            return named
        if named == FIRST_GENERATION or state in ("building", *ENDED):
            return None
        if by_run and state in ("unpublished", "rolled back"):
            return None
        if by_run and self.is_held:
            return named
        return None if state == "ready" and self.published != FIRST_GENERATION and named < self.published else named

    def is_behind(self, target: str) -> bool:
        is_first = self.published == FIRST_GENERATION and not self.commits.get(FIRST_GENERATION)
        return self.builds[target].state == "ready" and not is_first and self.builds[target].synced != self.sync()

    def way_back(self) -> str | None:
        before = None if self.published == FIRST_GENERATION else self.builds[self.published].before
        return before if before in self.builds and self.builds[before].state != "retired" else None

    def to(self, target: str, left: str) -> None:
        old = self.builds.setdefault(self.published, Build(run=None))
        old.state, old.left = ("unpublished" if self.published == FIRST_GENERATION else left), self.minute
        old.left_by = self.switch
        self.builds[target].state, self.builds[target].left = "published", None
        self.published, self.switch = target, self.switch + 1

    def dispensable(self, keep: int) -> set[str]:
        ready = [each for each, build in self.builds.items() if build.state == "ready"]
        kept = {self.published, *([max(ready)] if ready and max(ready) > self.published else [])}
        kept |= {each for each, build in self.builds.items() if build.state == "building" and build.run == self.lease}
        kept |= {each for each, build in self.builds.items() if build.left is not None
                 and self.minute - build.left < 10}  # fmt: skip
        back: list[str] = []
        step = self.builds[self.published].before if self.published != FIRST_GENERATION else None
        while step is not None and step in self.builds and step not in back:
            back.append(step)
            step = self.builds[step].before
        left = {each: build.left_by for each, build in self.builds.items()
                if build.state in ("unpublished", "rolled back") and each != FIRST_GENERATION}  # fmt: skip
        back = [each for each in back if each in left]
        latest = sorted(set(left) - set(back), key=lambda each: left[each], reverse=True)
        kept |= set([*back, *latest][:keep])
        return {each for each, build in self.builds.items() if build.state != "retired"} - kept


class Both:
    """Two views, as Redis has them and as the model does."""

    def __init__(self, deployment: Deployment, client: redis.Redis, views: Sequence[FeatureView]) -> None:
        self.deployment, self.client = deployment, client
        self.views = dict(zip(VIEWS, views, strict=True))
        self.model = {name: View() for name in VIEWS}
        self.runs = itertools.count()

    def register(self, name: str) -> None:
        model, run = self.model[name], f"run{next(self.runs)}"
        try:
            generation = register_build(
                self.deployment, self.views[name], run_id=run, fingerprint="f", wait=lambda _: None
            )
        except BuildInProgressError:
            assert model.lease is not None
            return
        assert model.lease is None
        assert generation > max(model.builds, default="")
        for build in model.builds.values():
            build.state = "failed" if build.state == "building" else build.state
        model.builds[generation], model.lease = Build(run=run), run

    def ready(self, name: str, pick: int) -> None:
        model = self.model[name]
        if generation := self._picked(name, pick):
            build, run = model.builds[generation], model.builds[generation].run or "none"
            synced = model.sync()
            assert sync_point(self.deployment, self.views[name]) == f"{synced[0]} {synced[1]}"
            try:
                mark_ready(self.deployment, self.views[name], generation, run_id=run, synced=f"{synced[0]} {synced[1]}",
                           rows=1, size=1)  # fmt: skip
            except LeaseLostError:
                assert model.lease != run or build.state not in ("building", "ready")
                return
            assert model.lease == run
            assert build.state in ("building", "ready")
            build.state, build.synced = "ready", synced

    def build(self, some: Sequence[str]) -> None:
        """Build a generation of each view from beginning to end."""
        for name in some:
            self.expire(name)
            self.register(name)
            self.ready(name, 0)
            self.expire(name)

    def fail(self, name: str, pick: int) -> None:
        if generation := self._picked(name, pick):
            build = self.model[name].builds[generation]
            mark_failed(self.deployment, self.views[name], generation, run_id=build.run or "none", reason="a check")
            build.state = "failed" if build.run and build.state in ("building", "ready") else build.state

    def expire(self, name: str) -> None:
        self.client.delete(keyspace.lease_key(self.views[name]))
        self.model[name].lease = None

    def commit(self, name: str) -> None:
        model = self.model[name]
        self.client.hincrby(keyspace.generation_key(self.views[name], model.published), "commits", 1)
        model.commits[model.published] = model.commits.get(model.published, 0) + 1

    def miss(self, name: str, pick: int) -> None:
        if generation := self._picked(name, pick):
            self.client.hincrby(keyspace.generation_key(self.views[name], generation), "missed", 1)
            self.model[name].builds[generation].missed += 1

    def publish(self, names: Sequence[str], pick: int | None, by_run: bool) -> None:
        named = {name: generation for name in names if pick is not None and (generation := self._picked(name, pick))}
        models = [self.model[name] for name in names]
        targets = [self.model[name].target(named.get(name), by_run=by_run) for name in names]
        switched = [(model, target) for model, target in zip(models, targets, strict=True)
                    if target and target != model.published]  # fmt: skip
        if None in targets:
            expected = "refused"
        elif not switched:
            expected = "unchanged"
        elif by_run and any(model.is_held for model, _ in switched):
            expected = "held"
        elif any(model.builds[target].missed for model, target in switched):
            expected = "refused"
        elif any(model.is_behind(target) for model, target in switched):
            expected = "behind"
        else:
            expected = "published"
            for model, target in switched:
                if model.published != FIRST_GENERATION:
                    model.builds[target].before = model.published
                model.to(target, "unpublished")
                model.is_held = model.needs_full = False
        views = [self.views[name] for name in names]
        try:
            outcome = publish(self.deployment, views, generations=named, by_run=by_run).outcome.value
        except PublishError:
            outcome = "refused"
        assert outcome == expected

    def rollback(self, names: Sequence[str]) -> None:
        models = [self.model[name] for name in names]
        ways = [model.way_back() for model in models]
        is_possible = all(way and not model.builds[way].missed for model, way in zip(models, ways, strict=True))
        try:
            rollback(self.deployment, [self.views[name] for name in names])
        except RollbackError:
            assert not is_possible
            return
        assert is_possible
        for model, way in zip(models, ways, strict=True):
            assert way
            model.to(way, "rolled back")
            model.is_held = True

    def release(self, names: Sequence[str]) -> None:
        release(self.deployment, [self.views[name] for name in names])
        for name in names:
            model = self.model[name]
            model.needs_full, model.is_held = model.needs_full or model.is_held, False

    def retire(self, name: str, keep: int) -> None:
        model = self.model[name]
        expected = model.dispensable(keep)
        assert set(retire(self.deployment, self.views[name], keep_generations=keep)) == expected
        for each in expected:
            model.builds[each].state = "retired"

    def wait(self, minutes: int) -> None:
        for name in VIEWS:
            make_older(self.client, self.views[name], timedelta(minutes=minutes, seconds=1))
            self.model[name].minute += minutes

    def check(self) -> None:
        for name, model in self.model.items():
            seen = read_generations(self.deployment, self.views[name])
            assert {known.id: known.state.value for known in seen.generations} == {
                each: build.state for each, build in model.builds.items()
            }
            assert (seen.published, seen.switch) == (model.published, model.switch)
            assert (seen.hold is not None, seen.needs_full) == (model.is_held, model.needs_full)
            assert {known.id: known.before for known in seen.generations} == {
                each: build.before for each, build in model.builds.items()
            }
            assert set(seen.written) == {model.published} | {
                each for each, build in model.builds.items() if build.state not in ENDED
            }
            assert sum(build.state == "published" for build in model.builds.values()) == (
                model.published != FIRST_GENERATION
            )

    def _picked(self, name: str, pick: int) -> str | None:
        ids = sorted(self.model[name].builds)
        return ids[-1 - pick % len(ids)] if ids else None


# How often each step comes. The common course of things comes often: else most sequences would publish nothing.
WEIGHTS = {
    "build": 6, "publish": 8, "rollback": 3, "commit": 2, "release": 1, "retire": 2, "wait": 2, "register": 1,
    "ready": 2, "expire": 1, "fail": 1, "miss": 1,
}  # fmt: skip


def random_step(chance: random.Random) -> tuple[str, tuple[Any, ...]]:
    """Return the name of a step and its arguments."""
    (act,) = chance.choices([*WEIGHTS], [*WEIGHTS.values()])
    name, pick = chance.choice(VIEWS), chance.randrange(4)
    some = chance.choice([(name,), VIEWS])
    match act:
        case "build" | "rollback" | "release":
            return act, (some,)
        case "publish":
            return act, (some, chance.choice([None, None, pick]), chance.random() < 0.5)
        case "retire":
            return act, (name, chance.randrange(3))
        case "wait":
            return act, (chance.choice([3, 11]),)
        case "ready" | "fail" | "miss":
            return act, (name, pick)
        case _:
            return act, (name,)


@settings(max_examples=60, suppress_health_check=[*HealthCheck])
@given(seed=st.integers(0, 2**32 - 1), length=st.integers(1, 50))
def test_redis_ends_as_the_model_does(
    redis_url: str, client: redis.Redis, project: str, make_view: Callable[..., FeatureView], seed: int, length: int
) -> None:
    """Steps are by a random generator's seed, since Hypothesis would prefer short and uniform sequences."""
    chance = random.Random(seed)
    number = next(NUMBER)
    with redis.Redis.from_url(redis_url) as own:
        views = [replace(make_view(name=name), project=f"{project}.{number}") for name in VIEWS]
        both = Both(deployment_of(own), client, views)
        for act, arguments in (random_step(chance) for _ in range(length)):
            getattr(both, act)(*arguments)
            both.check()
