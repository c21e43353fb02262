"""What producers know of feature views, so that a push asks Redis nothing before it writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from online_features.common.instants import to_text
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.redis.deployment import Deployment
from online_features.online.redis.scripts import state_script
from online_features.online.state import view_state as state
from online_features.resp.replies import text
from online_features.schema import RowSchema

Command: TypeAlias = "tuple[str | int, ...]"

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, kw_only=True)
class PushedView:
    """The state of a view, as far as a push depends on it.

    :param version: of the state, as ``push.lua`` tells it.
    :param schema: types of the columns; ``None`` before the first push or run.
    :param layout: of the rows.
    :param features: that rows may have, as :func:`~online_features.online.state.view_state.features_online` knows.
    :param is_materialized: whether the types are the source's, so that no push changes them.
    """

    version: str
    schema: RowSchema | None
    is_materialized: bool
    layout: str | None
    features: frozenset[str]


class PushedViews:
    """The last known state of each view.

    Threads share it without a lock: what one of them keeps is checked by every push in the packet that writes.
    """

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._known: dict[str, PushedView] = {}

    def known(self, view: FeatureView) -> PushedView:
        """The state as last seen, read where it never was."""
        return self._known.get(keyspace.view_id(view)) or self.read(view)

    def read(self, view: FeatureView) -> PushedView:
        """The state as it is now."""
        # The version first: should the state change in between, the next push finds out by it.
        version = self._noted(view, note(view))
        recorded = state.read_state(self._deployment, view)
        return self._keep(view, PushedView(
            version=version, schema=recorded.schema, is_materialized=recorded.definition is not None,
            layout=recorded.layout,
            features=frozenset(state.features_online(self._deployment.command, view)),
        ))  # fmt: skip

    def record(self, view: FeatureView, known: PushedView, schema: RowSchema) -> PushedView:
        """Record the types of columns that are pushed before the first run has told them from the source.

        :returns: the state as it is now, which is another where somebody else has changed it meanwhile.
        """
        fields = state.schema_fields(schema)
        self._deployment.command("SADD", keyspace.VIEWS_KEY, keyspace.view_id(view))
        version = self._noted(view, note(view, known.version, fields={**fields, "layout": view.layout}))
        if version != f":{fields['schema_fingerprint']}":
            return self.read(view)
        return self._keep(view, replace(known, version=version, schema=schema, layout=view.layout))

    def expected_version(self, known: PushedView, schema: RowSchema) -> str:
        """The version of the state when rows of the schema are written: a first push records it."""
        if known.is_materialized or known.schema == schema:
            return known.version
        return f":{state.schema_fields(schema)['schema_fingerprint']}"

    def with_features(self, view: FeatureView, known: PushedView, schema: RowSchema) -> PushedView:
        """What is known, once Redis knows of all features that are pushed; asks it where there are new ones."""
        names = [feature.name for feature in schema.features]
        if not LAYOUTS[view.layout].records_features or known.features.issuperset(names):
            return known
        features = state.features_online(self._deployment.command, view, names)
        return self._keep(view, replace(known, features=frozenset(features)))

    def _noted(self, view: FeatureView, command: Command) -> str:
        with state.named(keyspace.state_key(view)):
            return text(self._deployment.command(*command))

    def _keep(self, view: FeatureView, known: PushedView) -> PushedView:
        self._known[keyspace.view_id(view)] = known
        return known


def note(
    view: FeatureView, version: str = "", newest: datetime | None = None, fields: Mapping[str, str] = NOTHING
) -> Command:
    """The command that notes a push in the state of its view, and tells the state's version; see ``push.lua``."""
    newest_text = "" if newest is None else to_text(newest)
    words = [word for field in fields.items() for word in field]
    return state_script("push").call_in_full([keyspace.state_key(view)], [version, newest_text, *words])
