"""Feature views by import path, so that definitions live in one module that DAG files need not import."""

from __future__ import annotations

from pkgutil import resolve_name

from online_features.errors import FeatureViewError
from online_features.feature_view import FeatureView


def feature_view_of(reference: FeatureView | str) -> FeatureView:
    """The feature view itself.

    :param reference: a feature view, or where to import one from: ``"package.module.name"`` or
        ``"package.module:name"``.
    :raises FeatureViewError: when there is none.
    """
    if isinstance(reference, FeatureView):
        return reference
    cure = "give a FeatureView, or where to import one from, such as 'features.views.plane_trips'"
    if not isinstance(reference, str):
        raise FeatureViewError(f"feature_view={reference!r} is no feature view -> {cure}")
    try:
        found = resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise FeatureViewError(f"feature_view={reference!r} cannot be imported: {error} -> {cure}") from error
    if not isinstance(found, FeatureView):
        raise FeatureViewError(f"feature_view={reference!r} is a {type(found).__name__}, no feature view -> {cure}")
    return found
