"""Copies one part of a build; other processes import it."""

from __future__ import annotations

from typing import Any

from online_features import BuildPart, FeatureView, OfflineStore, OnlineStore, materialize_part


def copy(view: FeatureView, stores: tuple[str, str], part: dict[str, Any]) -> int:
    """Copy a part and return its rows."""
    offline, online = OfflineStore(stores[0]), OnlineStore.from_url(stores[1])
    return materialize_part(BuildPart.from_dict(view, part), offline, online).rows_written
