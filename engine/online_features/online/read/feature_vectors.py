"""Feature vectors: the input of a model, read from several views in one round trip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from online_features.errors import AmbiguousNameError
from online_features.extras import needs_materialize
from online_features.online.read._row_query import RowQuery, read_views
from online_features.online.read._view_cache import ViewCache
from online_features.online.read.freshness import Freshness
from online_features.online.read.online_rows import OnlineRow, OnlineRows, Status
from online_features.online.redis.conversation import Conversation

if TYPE_CHECKING:
    import pandas

FULL_NAME_SEPARATOR = "__"  # as in Feast's full feature names


class FeatureVector(NamedTuple):
    """The features of one entity row, from all views that were read.

    :param entity: join keys of all views, as given by the caller.
    :param values: feature to value, in the order of the views and of their features; ``None`` where the feature is
        NULL or its view's row is not present.
    :param rows: name of each view to its row.
    """

    entity: Mapping[str, Any]
    values: Mapping[str, Any]
    rows: Mapping[str, OnlineRow]

    @property
    def statuses(self) -> Mapping[str, Status]:
        """Name of each view to the status of its row."""
        return {name: row.status for name, row in self.rows.items()}

    @property
    def is_complete(self) -> bool:
        """Whether the row of every view is present."""
        return all(row.status == "present" for row in self.rows.values())


class FeatureVectors(list[FeatureVector]):
    """Feature vectors, one per entity row, in the caller's order.

    :param freshness: name of each view to its freshness. It is read before the rows, so they are at least as fresh.
    :param generations: name of each view to the generation from which all its rows are.
    """

    def __init__(
        self, vectors: Iterable[FeatureVector], *, freshness: Mapping[str, Freshness], generations: Mapping[str, str]
    ) -> None:
        super().__init__(vectors)
        self.freshness = freshness
        self.generations = generations

    def to_pandas(self) -> pandas.DataFrame:
        """Return one line per vector: join keys, ``<view>__event_timestamp``, ``<view>__status``, then features.

        :raises AmbiguousNameError: when two of these have the same name.
        """
        with needs_materialize("for to_pandas()"):
            import pandas

        return pandas.DataFrame([_line(vector) for vector in self])


def read_vectors(queries: Sequence[RowQuery], views: ViewCache, *, full_names: bool) -> Conversation[FeatureVectors]:
    """Read one vector per entity row; see :meth:`~online_features.OnlineStore.get_feature_vectors`."""
    _check_distinct((query.view.name for query in queries), "feature view", "read them in two calls")
    found = yield from read_views(queries, views)
    by_view = {query.view.name: rows for query, rows in zip(queries, found, strict=True)}
    labels = {name: _labels(name, rows, full_names=full_names) for name, rows in by_view.items()}
    _check_distinct(
        (label for of_view in labels.values() for label in of_view.values()),
        "feature",
        "leave one out with features=, or read with full_feature_names=True",
    )
    return FeatureVectors(
        (_vector(dict(zip(by_view, rows, strict=True)), labels) for rows in zip(*found, strict=True)),
        freshness={name: rows.freshness for name, rows in by_view.items()},
        generations={name: rows.generation for name, rows in by_view.items()},
    )


def _labels(view_name: str, rows: OnlineRows, *, full_names: bool) -> Mapping[str, str]:
    """Map the view's features to their names in the vector."""
    names = rows[0].values if rows else ()
    return {name: f"{view_name}{FULL_NAME_SEPARATOR}{name}" if full_names else name for name in names}


def _vector(rows: Mapping[str, OnlineRow], labels: Mapping[str, Mapping[str, str]]) -> FeatureVector:
    values = {label: rows[view].values[name] for view, of_view in labels.items() for name, label in of_view.items()}
    return FeatureVector(entity=next(iter(rows.values())).entity, values=values, rows=rows)


def _line(vector: FeatureVector) -> dict[str, Any]:
    about_rows = {
        f"{view}{FULL_NAME_SEPARATOR}{name}": getattr(row, name)
        for view, row in vector.rows.items()
        for name in ("event_timestamp", "status")
    }
    columns = [*vector.entity.items(), *about_rows.items(), *vector.values.items()]
    _check_distinct((name for name, _ in columns), "column", "read with full_feature_names=True")
    return dict(columns)


def _check_distinct(names: Iterable[str], kind: str, cure: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise AmbiguousNameError(f"{kind} {repeated[0]!r} occurs twice in a feature vector -> {cure}")
