"""Loads the feature views of a Feast repository from the JSON that ``feast_export.py`` prints."""

from __future__ import annotations

import json
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any

from online_features.errors import FeatureViewFileError
from online_features.feature_view import FeastOptions, FeatureView, PostgresSource
from online_features.layouts.feast.feast_export import FORMAT

CURE = "write it again with feast_export.py"


def load_feature_views(path: str | PathLike[str]) -> dict[str, FeatureView]:
    """Load the feature views of a file, by name, in layout ``feast``.

    :param path: of the output of ``feast_export.py``.
    :raises FeatureViewFileError: when the file cannot be read, is not such an output, or has a later format.
    :raises FeatureViewError: naming the view, the field and the cure.
    """
    document = _document(path)
    try:
        views = [_feature_view(view, document) for view in document["feature_views"]]
    except (KeyError, TypeError, AttributeError) as error:
        raise FeatureViewFileError(f"{path}: {type(error).__name__}: {error} in a feature view -> {CURE}") from error
    return {view.name: view for view in views}


def _document(path: str | PathLike[str]) -> dict[str, Any]:
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FeatureViewFileError(f"{path} cannot be read: {error.strerror} -> {CURE}") from error
    except ValueError as error:
        raise FeatureViewFileError(f"{path} is not JSON: {error} -> {CURE}") from error
    found = document.get("format") if isinstance(document, dict) else None
    if not isinstance(found, int):
        raise FeatureViewFileError(f"{path} does not describe feature views -> {CURE}")
    if found > FORMAT:
        raise FeatureViewFileError(
            f"{path} has format {found}, but this version of online-features reads formats up to {FORMAT} "
            "-> upgrade it, or export with the feast_export.py of this version"
        )
    return document  # type: ignore[no-any-return]


def _feature_view(view: dict[str, Any], document: dict[str, Any]) -> FeatureView:
    keys, features = view["join_keys"], view["features"]
    return FeatureView(
        name=view["name"],
        project=document["project"],
        entities=list(keys),
        features=list(features),
        source=PostgresSource(**view["source"]),
        ttl=_seconds(view["ttl_seconds"]),
        layout="feast",
        feast=FeastOptions(types={**features, **keys}, key_ttl=_seconds(document["key_ttl_seconds"])),
    )


def _seconds(number: float | None) -> timedelta | None:
    return None if number is None else timedelta(seconds=number)
