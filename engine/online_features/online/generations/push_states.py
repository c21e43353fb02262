"""A cache of the generations that a producer pushes to, so that a push need not read them first.

Readers cache less of a view, and verify it in another way: see :mod:`online_features.online.read._view_cache`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from online_features.common.instants import to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.generations._stored_schema import schema_fields
from online_features.online.generations.generation_list import read_lists
from online_features.online.generations.view_state import (
    ViewState,
    as_online,
    features_online,
    read_state,
)
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import text
from online_features.schema import RowSchema

Command: TypeAlias = "tuple[str | int, ...]"

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class PushTarget:
    """A generation that pushes are written to.

    :param view: in the layout of the generation.
    :param features: that rows may have; see :func:`.features_online`.
    """

    view: FeatureView
    state: ViewState
    features: frozenset[str]

    @property
    def generation(self) -> str:
        """The id of the generation."""
        return self.state.generation

    @property
    def schema(self) -> RowSchema | None:
        """Types of the columns; ``None`` before the first push or run."""
        return self.state.schema

    @property
    def is_materialized(self) -> bool:
        """Whether a run has recorded the source's types, which no push may change."""
        return self.state.definition is not None


@dataclass(frozen=True, kw_only=True)
class PushState:
    """All generations that a push is written to.

    :param view: as the producer has defined it.
    :param list_version: of the list of generations.
    :param pointer: of the view, as Redis holds it.
    :param targets: every generation that may still be published; the published one is the last.
    """

    view: FeatureView
    list_version: str
    pointer: str
    targets: Sequence[PushTarget]

    @property
    def version(self) -> str:
        """The version, as ``push.lua`` makes it."""
        prints = [f"{at.state.fingerprint or ''}:{at.state.schema_fingerprint or ''}" for at in self.targets]
        return "|".join([self.list_version, self.pointer, *prints])

    @property
    def generations(self) -> list[str]:
        """The ids of the generations."""
        return [target.generation for target in self.targets]

    @property
    def published(self) -> PushTarget:
        """The published generation."""
        return self.targets[-1]


class PushStates:
    """The last known generations of each view.

    Threads share it without a lock, because each push verifies the version together with its write.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._known: dict[str, PushState] = {}

    def known(self, view: FeatureView) -> PushState:
        """Return the state as last seen; read it if it was never seen."""
        known = self._known.get(keyspace.view_id(view))
        # A process may use several definitions of a view, which differ in ttl.
        return known if known is not None and known.view == view else self.read(view)

    def read(self, view: FeatureView) -> PushState:
        """Read the state."""
        # The list first: what changes after it shows at the next push.
        list_version, pointer, generations = read_live(self._deployment, view)
        targets = [self._target(view, generation) for generation in generations]
        return self._keep(view, PushState(view=view, list_version=list_version, pointer=pointer, targets=targets))

    def record(self, view: FeatureView, known: PushState, schema: RowSchema) -> PushState:
        """Record the types of columns that are pushed before the first run records the source's.

        :returns: the current state; it has another schema if another producer or a run came first.
        """
        target = known.published
        fields = {**schema_fields(schema), "layout": target.view.layout}
        self._deployment.command("SADD", keyspace.VIEWS_KEY, keyspace.view_id(view))
        state = replace(
            target.state, schema=schema, schema_fingerprint=fields["schema_fingerprint"], layout=target.view.layout
        )
        after = replace(known, targets=[*known.targets[:-1], replace(target, state=state)])
        if text(self._deployment.command(*push_command(view, known, fields=fields))) != after.version:
            return self.read(view)
        return self._keep(view, after)

    def with_features(self, view: FeatureView, known: PushState, schema: RowSchema) -> PushState:
        """Record new features of a push in Redis, and return the state with them."""
        target = known.published
        names = [feature.name for feature in schema.features]
        if not LAYOUTS[target.view.layout].records_features or target.features.issuperset(names):
            return known
        features = frozenset(features_online(self._deployment.command, target.view, names))
        return self._keep(view, replace(known, targets=[*known.targets[:-1], replace(target, features=features)]))

    def _target(self, view: FeatureView, generation: str) -> PushTarget:
        state = read_state(self._deployment, view, generation)
        written = as_online(view, state.layout)
        features = frozenset(features_online(self._deployment.command, written))
        return PushTarget(view=written, state=state, features=features)

    def _keep(self, view: FeatureView, known: PushState) -> PushState:
        self._known[keyspace.view_id(view)] = known
        return known


def read_live(deployment: Deployment, view: FeatureView) -> tuple[str, str, Sequence[str]]:
    """Read which generations may still be published: the list's version, the pointer, and their ids.

    The published generation is the last.
    """
    (seen,) = read_lists(deployment, [view])
    return seen.version or "", seen.pointer_text, seen.written


def push_command(
    view: FeatureView,
    known: PushState,
    newest: datetime | None = None,
    missed: Mapping[str, int] | None = None,
    fields: Mapping[str, str] = NOTHING,
) -> Command:
    """Return the command that records a push in the generations and returns the version; see ``push.lua``.

    :param missed: generation to the number of rows that could not be written to it.
    """
    counts = [(missed or {}).get(target.generation, 0) for target in known.targets]
    words = [word for field in fields.items() for word in field]
    newest_text = "" if newest is None else to_text(newest)
    return state_script("push").call_in_full(
        _pushed_keys(view, known), [view.name, known.version, newest_text, *counts, *words]
    )


def version_command(view: FeatureView, known: PushState) -> Command:
    """Return the command that returns the version, and records nothing."""
    return state_script("push").call_in_full(_pushed_keys(view, known), [view.name, ""])


def _pushed_keys(view: FeatureView, known: PushState) -> list[str]:
    return [
        keyspace.generations_key(view),
        keyspace.published_key(view.project),
        *(keyspace.generation_key(view, target.generation) for target in known.targets),
    ]
