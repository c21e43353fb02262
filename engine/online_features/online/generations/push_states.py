"""A cache of the states of views that a producer pushes to, so that a push need not read them first.

Readers cache less of a view, and verify it in another way: see :mod:`online_features.online.read._view_cache`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from online_features.common.instants import to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.generations._stored_schema import schema_fields
from online_features.online.generations.view_state import features_online, named, read_state
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import text
from online_features.schema import RowSchema

Command: TypeAlias = "tuple[str | int, ...]"

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class PushState:
    """The state of a view, as far as a push depends on it.

    :param version: of the state, as ``push.lua`` returns it.
    :param schema: types of the columns; ``None`` before the first push or run.
    :param layout: of the rows.
    :param features: that rows may have; see :func:`.features_online`.
    :param is_materialized: whether a run has recorded the source's types, which no push may change.
    """

    version: str
    schema: RowSchema | None
    is_materialized: bool
    layout: str | None
    features: frozenset[str]


class PushStates:
    """The last known state of each view.

    Threads share it without a lock, because each push verifies the state together with its write.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._known: dict[str, PushState] = {}

    def known(self, view: FeatureView) -> PushState:
        """Return the state as last seen; read it if it was never seen."""
        return self._known.get(keyspace.view_id(view)) or self.read(view)

    def read(self, view: FeatureView) -> PushState:
        """Read the state."""
        # The version first, so that a change between the two reads shows at the next push.
        version = self._version_after(view, push_command(view))
        recorded = read_state(self._deployment, view)
        return self._keep(view, PushState(
            version=version, schema=recorded.schema, is_materialized=recorded.definition is not None,
            layout=recorded.layout,
            features=frozenset(features_online(self._deployment.command, view)),
        ))  # fmt: skip

    def record(self, view: FeatureView, known: PushState, schema: RowSchema) -> PushState:
        """Record the types of columns that are pushed before the first run records the source's.

        :returns: the current state; it has another schema if another producer or a run came first.
        """
        fields = schema_fields(schema)
        self._deployment.command("SADD", keyspace.VIEWS_KEY, keyspace.view_id(view))
        version = self._version_after(view, push_command(view, known.version, fields={**fields, "layout": view.layout}))
        if version != f":{fields['schema_fingerprint']}":
            return self.read(view)
        return self._keep(view, replace(known, version=version, schema=schema, layout=view.layout))

    def expected_version(self, known: PushState, schema: RowSchema) -> str:
        """Return the version of the state when rows of the schema are written: a first push records it."""
        if known.is_materialized or known.schema == schema:
            return known.version
        return f":{schema_fields(schema)['schema_fingerprint']}"

    def with_features(self, view: FeatureView, known: PushState, schema: RowSchema) -> PushState:
        """Record new features of a push in Redis, and return the state with them."""
        names = [feature.name for feature in schema.features]
        if not LAYOUTS[view.layout].records_features or known.features.issuperset(names):
            return known
        features = features_online(self._deployment.command, view, names)
        return self._keep(view, replace(known, features=frozenset(features)))

    def _version_after(self, view: FeatureView, command: Command) -> str:
        with named(keyspace.state_key(view)):
            return text(self._deployment.command(*command))

    def _keep(self, view: FeatureView, known: PushState) -> PushState:
        self._known[keyspace.view_id(view)] = known
        return known


def push_command(
    view: FeatureView, version: str = "", newest: datetime | None = None, fields: Mapping[str, str] = NOTHING
) -> Command:
    """Return the command that records a push in the view's state and returns the state's version; see ``push.lua``."""
    newest_text = "" if newest is None else to_text(newest)
    words = [word for field in fields.items() for word in field]
    return state_script("push").call_in_full([keyspace.state_key(view)], [version, newest_text, *words])
