"""What the page of an entity shows: its row online and, on request, the one of the offline store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from online_features.errors import InvalidRowsError, OnlineFeaturesError
from online_features.online.read.online_rows import OnlineRow
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.store import OnlineStore
from online_features.types import values
from online_features.verification.entity_comparison import EntityComparison, compare_entity

from online_features_provider.ui.stores import offline_store
from online_features_provider.ui.view_page import RUNS_SHOWN

KEY = "key."  # before the names of join keys, so that none is the name of another parameter


@dataclass(frozen=True, kw_only=True)
class EntityPage:
    """An entity of a view.

    :param typed: texts of the join keys; empty before anybody has typed any.
    :param problem: why there is no row to show; empty if there is one, or nothing was typed.
    :param row: as readers see it.
    :param generation: from which it is.
    :param incomparable: why no page can compare it with the offline store; empty if that is possible.
    :param postgres_conn_id: with which the runs of the view read the offline store.
    :param comparison: with the row of the offline store, if it was asked for.
    :param failure: why the offline store did not answer.
    """

    stored: StoredView
    typed: Mapping[str, str]
    problem: str = ""
    row: OnlineRow | None = None
    generation: str = ""
    incomparable: str = ""
    postgres_conn_id: str = ""
    comparison: EntityComparison | None = None
    failure: str = ""

    @property
    def expires(self) -> datetime | None:
        """When the row is no longer served; ``None`` without one, or without a time to live."""
        at, ttl = self.row.event_timestamp if self.row else None, self.stored.view.ttl
        return at + ttl if at is not None and ttl is not None else None


def read_entity(store: OnlineStore, name: str, query: Mapping[str, str], compare_with: str) -> EntityPage:
    """Read an entity.

    :param name: ``project:view``.
    :param query: of the page; items that begin with :data:`KEY` are join keys.
    :param compare_with: the connection of the offline store with which to compare; empty: with none.
    :raises UnknownViewError: when Redis has no such view.
    :raises OnlineDataError: when nothing of the view is online, or its state is damaged.
    """
    stored = store.stored_view(name)
    texts = {key.name: query[KEY + key.name] for key in stored.schema.keys if KEY + key.name in query}
    postgres_conn_id = _postgres_conn_id(store, stored)
    page = EntityPage(
        stored=stored, typed=texts, postgres_conn_id=postgres_conn_id,
        incomparable=_incomparable(stored, postgres_conn_id),
    )  # fmt: skip
    if not texts:
        return page
    try:
        entity = {key.name: values.parse(key, texts.get(key.name, "")) for key in stored.schema.keys}
        rows = store.get_online_features(stored.view, [entity])
    except InvalidRowsError as error:
        return replace(page, problem=str(error))
    (row,) = rows
    page = replace(page, row=row, generation=rows.generation)
    is_asked = compare_with and compare_with == postgres_conn_id
    return _compared(page, row) if is_asked and not page.incomparable else page


def _compared(page: EntityPage, row: OnlineRow) -> EntityPage:
    try:
        offline = offline_store(page.postgres_conn_id)
        return replace(page, comparison=compare_entity(page.stored.view, offline, row, page.generation))
    except OnlineFeaturesError as error:
        return replace(page, failure=str(error))


def _postgres_conn_id(store: OnlineStore, stored: StoredView) -> str:
    """Return the connection that the newest run has named; empty if none has."""
    named = ((run.get("origin") or {}).get("postgres_conn_id") for run in store.runs(stored.view, RUNS_SHOWN))
    return next(filter(None, named), "")


def _incomparable(stored: StoredView, postgres_conn_id: str) -> str:
    if stored.transform is not None:
        return f"its features are made by the transform {stored.transform}, which only runs can apply"
    if not stored.has_source:
        return "its source is not recorded, because it was only pushed to"
    return "" if postgres_conn_id else "no run of it has named an Airflow connection to Postgres"
