"""A feature view made of what Redis has recorded of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches

from online_features.errors import OnlineDataError, UnknownViewError
from online_features.feature_view import FeastOptions, FeatureView, PostgresSource
from online_features.layouts import keyspace
from online_features.online.generations.view_state import ViewState, named
from online_features.schema import RowSchema

NAMES_SHOWN = 3  # in a message
NOT_RECORDED = "not recorded"  # in place of the table of a view that was only pushed to


@dataclass(frozen=True, kw_only=True)
class StoredView:
    """A feature view, as far as Redis has recorded it.

    :param view: reads what is online, and can be published, rolled back and dropped. It has no checks and no transform.
    :param schema: of the rows.
    :param transform: the name of the function that its rows go through; ``None`` if there is none.
    :param has_source: whether the source is recorded, which the first run of the view does.
    """

    view: FeatureView
    schema: RowSchema
    transform: str | None
    has_source: bool


def find_view(name: str, ids: Collection[str]) -> keyspace.ViewName:
    """Return project and name of a view.

    :param name: ``view``, if there is one project with such a view, or ``project:view``.
    :param ids: ``project:view`` of all views.
    :raises UnknownViewError: when there is none, or more than one.
    """
    of_name = [each for each in sorted(ids) if each == name or each.partition(keyspace.SEPARATOR)[2] == name]
    if len(of_name) == 1:
        project, _, view = of_name[0].partition(keyspace.SEPARATOR)
        return keyspace.ViewName(project, view)
    if of_name:
        raise UnknownViewError(f"feature view {name!r} is in several projects -> name one of {', '.join(of_name)}")
    if not ids:
        raise UnknownViewError(
            f"feature view {name!r}: this Redis holds no feature view at all -> is it the right server and database?"
        )
    names = {each.partition(keyspace.SEPARATOR)[2]: each for each in ids}
    near = get_close_matches(name, [*ids, *names], n=NAMES_SHOWN)
    similar = dict.fromkeys(names.get(each, each) for each in near)
    raise UnknownViewError(
        f"feature view {name!r} is unknown to this Redis, which holds {len(ids)} views"
        + (f"; similar: {', '.join(similar)}" if similar else "")
    )


def stored_view(view: keyspace.ViewName, state: ViewState) -> StoredView:
    """Make a view of the state of its published generation.

    :raises OnlineDataError: when nothing of the view is online, or its state is damaged.
    """
    schema, layout, recorded = state.schema, state.layout, state.definition
    if schema is None or layout is None:
        raise OnlineDataError(
            f"feature view {view.name!r}: nothing of it is online yet -> materialize it, or push to it"
        )
    with named(keyspace.generation_key(view, state.generation)):
        table, query, timezone = recorded["source"] if recorded else (NOT_RECORDED, None, "UTC")
        ttl = recorded["ttl"] if recorded else None
        key_ttl = recorded.get("key_ttl") if recorded else None
        types = {column.name: column.feast for column in (*schema.keys, *schema.features) if column.feast is not None}
        found = FeatureView(
            name=view.name,
            project=view.project,
            entities=[key.name for key in schema.keys],
            features=[feature.name for feature in schema.features],
            source=_source(schema, table, query, timezone),
            ttl=timedelta(seconds=ttl) if ttl else None,
            max_staleness=state.max_staleness,
            layout=layout,
            feast=FeastOptions(types=types, key_ttl=timedelta(seconds=key_ttl) if key_ttl else None),
        )
        transform = recorded.get("transform") if recorded else None
    return StoredView(view=found, schema=schema, transform=transform, has_source=recorded is not None)


def _source(schema: RowSchema, table: str | None, query: str | None, timezone: str) -> PostgresSource:
    created, deleted = schema.created_timestamp, schema.deleted
    return PostgresSource(
        table=table,
        query=query,
        timezone=timezone,
        timestamp_field=schema.event_timestamp.name,
        created_timestamp_column=created.name if created else None,
        deleted_field=deleted.name if deleted else None,
    )
