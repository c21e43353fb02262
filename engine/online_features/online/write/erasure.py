"""Erases entities on request, in every generation of their view, and takes erasures back.

An erasure is recorded before it is made, and the generations are read again after it: one that was registered meanwhile
either has read the record or is erased from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from online_features.common.batches import batched
from online_features.errors import InvalidRowsError, OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts.layout import Key, RowLayout
from online_features.layouts.layout_registry import layout_of
from online_features.online.generations.erasures import (
    erased_entity,
    erased_field,
    read_erasures,
    record_erasures,
    take_back_erasures,
)
from online_features.online.generations.push_states import read_live
from online_features.online.generations.view_state import ViewState, as_online, read_state
from online_features.online.read.entity_keys import entity_key, plain_value
from online_features.online.redis.deployment import KEYS_PER_CALL, Deployment
from online_features.online.write._row_script import RowScript
from online_features.schema import Column
from online_features.types import values

LAST_OF_ALL = datetime.max.replace(tzinfo=UTC)  # a created timestamp that no row has


def erase(deployment: Deployment, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]], *, now: datetime) -> int:
    """Erase entities and leave tombstones; see :meth:`~online_features.OnlineStore.delete`."""
    seen = read_live(deployment, view)
    entities = _Entities(deployment, view, seen[-1][-1], entity_rows)
    until = dict.fromkeys(range(len(entity_rows)), now)
    record_erasures(deployment, view, {entities.field(i): now for i in until})
    erased: int | None = None
    while True:
        till = dict(until)
        for generation in seen[-1]:
            count, later = entities.bury(generation, until)
            until |= later
            # A row of the future stays out up to its own timestamp, in later generations, too.
            record_erasures(deployment, view, {entities.field(i): instant for i, instant in later.items()})
        erased = count if erased is None else erased
        seen, before = read_live(deployment, view), seen
        if (seen, until) == (before, till):
            return erased


def unerase(deployment: Deployment, view: FeatureView, entity_rows: Sequence[Mapping[str, Any]]) -> int:
    """Take erasures back; see :meth:`~online_features.OnlineStore.unerase`."""
    seen = read_live(deployment, view)
    taken = 0
    while True:
        for generation in reversed(seen[-1]):  # the published one first: what does not fit it is refused
            try:
                entities = _Entities(deployment, view, generation, entity_rows)
            except InvalidRowsError:
                if generation == seen[-1][-1]:
                    raise
                continue  # it has other join keys, by which nothing was erased
            taken += take_back_erasures(deployment, view, {entities.field(i) for i in range(len(entity_rows))})
            entities.unbury()
        seen, before = read_live(deployment, view), seen
        if seen == before:
            return taken


def bury_erased(deployment: Deployment, layout: RowLayout, keys: Sequence[Column]) -> None:
    """Leave tombstones at all entities of the view that were erased.

    :param keys: the join keys of the rows.
    """
    bury, last = RowScript(deployment, layout, "bury"), layout.stamp(LAST_OF_ALL)
    for batch in read_erasures(deployment, layout.view):
        found = ((_respelled(keys, erased_entity(field)), until) for field, until in batch.items())
        # An entity without a key in these types cannot come back.
        stones = [(layout.key(keys, texts), layout.stamp(until)) for texts, until in found if texts is not None]
        for some in batched(stones, KEYS_PER_CALL):
            bury([key for key, _ in some], of_each=[(until, last) for _, until in some])


class _Entities:
    """Entities of a view, as a caller names them.

    :param generation: by whose types of join keys they are recorded.
    """

    def __init__(
        self, deployment: Deployment, view: FeatureView, generation: str, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        self._deployment = deployment
        self._view = view
        self._rows = rows
        self._state = read_state(deployment, view, generation)
        self._keys = self._keys_in(self._state)
        columns = self._state.schema.keys if self._state.schema else None
        self._columns = [columns or self._inferred(row) for row in rows]

    def field(self, i: int) -> str:
        """Return how an entity is recorded as erased."""
        columns, row = self._columns[i], self._rows[i]
        return erased_field(columns, [values.encode_key(column, plain_value(row[column.name])) for column in columns])

    def bury(self, generation: str, until: Mapping[int, datetime]) -> tuple[int, dict[int, datetime]]:
        """Leave tombstones in a generation.

        :param until: up to when rows stay out.
        :returns: how many entities had rows, and those that stay out longer than ``until`` because of them.
        """
        state = self._state if generation == self._state.generation else read_state(
            self._deployment, self._view, generation
        )  # fmt: skip
        layout = self._layout(state)
        keys = self._keys if state is self._state else self._keys_if_possible(state)
        script, last = RowScript(self._deployment, layout, "delete"), layout.stamp(LAST_OF_ALL)
        erased, later = 0, {}
        for some in batched(range(len(keys)), KEYS_PER_CALL):
            chosen = [keys[i] for i in some]
            outcomes = script(chosen, last, of_each=[[layout.stamp(until[i])] for i in some])
            for part, outcome in zip(script.parts(chosen), outcomes, strict=True):
                erased += sum(outcome[::2])
                for i, stamp in zip((some[place] for place in part), outcome[1::2], strict=True):
                    if (instant := layout.instant(stamp)) > until[i]:
                        later[i] = instant
        return erased, later

    def unbury(self) -> None:
        """Remove the tombstones of erasures in the generation."""
        layout = self._layout(self._state)
        script = RowScript(self._deployment, layout, "unbury")
        for some in batched(self._keys, KEYS_PER_CALL):
            script(some, layout.stamp(LAST_OF_ALL))

    def _layout(self, state: ViewState) -> RowLayout:
        return layout_of(as_online(self._view, state.layout), state.generation)

    def _keys_in(self, state: ViewState) -> list[Key]:
        stored = state.schema
        if stored is not None and not stored.has_entities(self._view.entities):
            raise InvalidRowsError(
                f"feature view {self._view.name!r}: what is online has entities {[key.name for key in stored.keys]}; "
                "materialize the view before you erase by other join keys"
            )
        layout = self._layout(state)
        return [entity_key(layout, stored.keys if stored else None, row) for row in self._rows]

    def _keys_if_possible(self, state: ViewState) -> list[Key]:
        """Return the keys in another generation; none if it has other join keys, by which nothing can be erased."""
        try:
            return self._keys_in(state)
        except InvalidRowsError:
            return []

    def _inferred(self, row: Mapping[str, Any]) -> list[Column]:
        return [values.inferred_column(name, plain_value(row[name])) for name in self._view.entities]


def _respelled(keys: Sequence[Column], entity: Sequence[tuple[str, str, str]]) -> list[str] | None:
    """Return the texts of an entity's join keys in other types, or ``None`` if a value does not fit them."""
    by_name = {name: text for name, _, text in entity}
    try:
        return [values.encode_key(key, values.decode(key, by_name[key.name])) for key in keys]
    except (KeyError, OnlineDataError, InvalidRowsError):
        return None
