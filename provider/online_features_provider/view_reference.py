"""Feature views by import path, so that DAG files need not import the module that defines them."""

from __future__ import annotations

import re
from pkgutil import resolve_name
from typing import Any

from online_features.errors import FeatureViewError
from online_features.feature_view import FeatureView

CURE = "give a FeatureView, or its import path, such as 'features.views.plane_trips'"
IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d]\w*(\.[^\W\d]\w*)*")


def check_reference(reference: Any) -> None:
    """Validate a reference without importing it, since the view may be importable only by workers.

    :param reference: as for :func:`feature_view_of`; a template, or the output of a task, passes.
    :raises FeatureViewError: with the cure.
    """
    if isinstance(reference, FeatureView) or hasattr(reference, "resolve"):
        return
    if isinstance(reference, (list, tuple, set, frozenset)):
        raise FeatureViewError(
            f"feature_view={reference!r} is a {type(reference).__name__}, and a task is for one view "
            "-> make a task of each by .expand(feature_view=[…]), or a DAG by materialization_dag([…])"
        )
    if not isinstance(reference, str):
        raise FeatureViewError(f"feature_view={reference!r} is not a feature view -> {CURE}")
    if "{{" not in reference and "{%" not in reference and not IMPORT_PATH.fullmatch(reference):
        raise FeatureViewError(f"feature_view={reference!r} is not an import path -> {CURE}")


def short_name(reference: FeatureView | str) -> str:
    """Return the name of the view, or the end of its import path."""
    if isinstance(reference, FeatureView):
        return reference.name
    return reference.replace(":", ".").rpartition(".")[2]


def feature_view_of(reference: FeatureView | str) -> FeatureView:
    """Return the feature view, imported if needed.

    :param reference: a feature view, or its import path: ``"package.module.name"`` or ``"package.module:name"``.
    :raises FeatureViewError: when there is no such view.
    """
    if isinstance(reference, FeatureView):
        return reference
    if not isinstance(reference, str):
        raise FeatureViewError(f"feature_view={reference!r} is not a feature view -> {CURE}")
    try:
        found = resolve_name(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise FeatureViewError(f"feature_view={reference!r} cannot be imported: {error} -> {CURE}") from error
    if not isinstance(found, FeatureView):
        raise FeatureViewError(f"feature_view={reference!r} is a {type(found).__name__}, not a feature view -> {CURE}")
    return found
