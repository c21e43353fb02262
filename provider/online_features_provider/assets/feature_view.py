"""A feature view as an asset: ``online-features://<project>/<view>``.

The URI does not name a server, so it is known when a DAG file is parsed, without looking up a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from airflow.sdk import Asset
from online_features.feature_view import NAME, FeatureView

from online_features_provider.view_reference import feature_view_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.openlineage.facet import Dataset

SCHEME = "online-features"
CHANGES = "changes"  # last part of the URI of the asset that stands for changes of a view's source


def feature_view_asset(feature_view: FeatureView | str) -> Asset:
    """Return the asset of a feature view, which has an event whenever its rows have changed online.

    Use it as a schedule: ``schedule=[feature_view_asset(plane_trips)]``.

    :param feature_view: the view, or its import path.
    :raises FeatureViewError: when there is no such view.
    """
    view = feature_view_of(feature_view)
    return create_asset(project=view.project, view=view.name)


def create_asset(*, project: str, view: str, extra: dict[str, Any] | None = None) -> Asset:
    """Return the asset of a feature view by its names; Airflow's factory of assets with this scheme.

    :param extra: of the asset, not of its events.
    """
    return Asset(uri=f"{SCHEME}://{project}/{view}", extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Validate the URI of an asset with this scheme, and return it unchanged.

    :raises ValueError: when it is not the URI of a feature view.
    """
    view, _, rest = uri.path.removeprefix("/").partition("/")
    if not (NAME.fullmatch(uri.netloc) and NAME.fullmatch(view) and rest in ("", CHANGES)) or uri.query:
        # Without the whole URI, which may hold a login.
        raise ValueError(
            f"asset {uri.path!r}: this is not the URI of a feature view -> write {SCHEME}://<project>/<view>"
        )
    return uri


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001
    """Return the asset as an OpenLineage dataset; runs name it as a symlink of the dataset in Redis."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{SCHEME}://{uri.netloc}", name=uri.path.removeprefix("/"))
