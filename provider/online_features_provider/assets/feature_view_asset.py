"""A feature view as an asset: ``online-features://<project>/<view>``.

The URI names the view and no server, so that it is known when a DAG file is parsed, without looking up a connection.
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
CHANGES = "changes"  # last part of the URI of a view's source as something that changes


def feature_view_asset(feature_view: FeatureView | str) -> Asset:
    """The asset of which every run and push emits an event: ``schedule=[feature_view_asset(plane_trips)]``.

    :param feature_view: a feature view, or where to import one from.
    :raises FeatureViewError: when there is none.
    """
    view = feature_view_of(feature_view)
    return create_asset(project=view.project, view=view.name)


def create_asset(*, project: str, view: str, extra: dict[str, Any] | None = None) -> Asset:
    """The asset of a feature view by its names.

    :param extra: of the asset, not of its events.
    """
    return Asset(uri=f"{SCHEME}://{project}/{view}", extra=extra)


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """The URI as it is, if it is one of ours.

    :raises ValueError: when it is not.
    """
    view, _, rest = uri.path.removeprefix("/").partition("/")
    if not (NAME.fullmatch(uri.netloc) and NAME.fullmatch(view) and rest in ("", CHANGES)) or uri.query:
        # What is not ours may hold a login.
        raise ValueError(f"asset {uri.path!r}: this is no URI of a feature view -> write {SCHEME}://<project>/<view>")
    return uri


def convert_asset_to_openlineage(asset: Asset, lineage_context: Any) -> Dataset:  # noqa: ARG001
    """The asset as OpenLineage knows it; runs name it as another name of the dataset in Redis."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{SCHEME}://{uri.netloc}", name=uri.path.removeprefix("/"))
