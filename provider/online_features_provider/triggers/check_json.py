"""Freshness checks as small JSON, for the triggerer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from online_features.common.instants import from_text, to_text
from online_features.feature_view import FeatureView, PostgresSource
from online_features.online.read.entity_freshness_check import EntityFreshnessCheck
from online_features.online.read.store_reader import FreshnessCheck
from online_features.online.read.view_freshness_check import ViewFreshnessCheck

LARGEST = 64 * 1024  # characters: Airflow keeps a trigger's arguments in its database

# A check does not use the source, so it is not serialized, but a view needs one.
NO_SOURCE = PostgresSource(table="-", timestamp_field="-")


def is_small(check: FreshnessCheck) -> bool:
    """Return whether the check can be serialized; its entities may be too many, or not JSON."""
    try:
        return len(json.dumps(dump(check))) <= LARGEST
    except TypeError:
        return False


def dump(check: FreshnessCheck) -> dict[str, Any]:
    """Serialize the check, with the fields of its view that reading needs."""
    fields: dict[str, Any] = {
        "view": {
            "project": check.view.project,
            "name": check.view.name,
            "entities": list(check.view.entities),
            "layout": check.view.layout,
            "ttl": _microseconds(check.view.ttl),
        },
        "max_staleness": _microseconds(check.max_staleness),
    }
    if isinstance(check, EntityFreshnessCheck):
        entities = None if check.entities is None else [dict(entity) for entity in check.entities]
        return {**fields, "entities": entities, "sample": check.sample, "share": check.share}
    return {**fields, "at_least": None if check.at_least is None else to_text(check.at_least), "measure": check.measure}


def load(dumped: Mapping[str, Any]) -> FreshnessCheck:
    """Return the check that :func:`dump` has serialized."""
    fields = dict(dumped)
    view = fields.pop("view")
    fields["view"] = FeatureView(**{**view, "ttl": _duration(view["ttl"])}, source=NO_SOURCE)
    fields["max_staleness"] = _duration(fields["max_staleness"])
    if "measure" not in fields:
        return EntityFreshnessCheck(**fields)
    at_least = fields.pop("at_least")
    return ViewFreshnessCheck(**fields, at_least=None if at_least is None else from_text(at_least))


def _microseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else duration // timedelta(microseconds=1)


def _duration(microseconds: int | None) -> timedelta | None:
    return None if microseconds is None else timedelta(microseconds=microseconds)
