"""The definition of a view, recorded with its rows, so that a run detects that it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from online_features.feature_view import FeatureView
from online_features.online.generations.view_state import ViewState
from online_features.schema import UNKNOWN, Column, Encoding, RowSchema

TEXTS = ("text", "character varying")  # types of join keys whose values have the same text online


def definition(view: FeatureView, schema: RowSchema) -> dict[str, Any]:
    """Return all that determines the view's online rows, by part, as values that JSON has."""
    source = view.source

    def types(*columns: Column | None) -> list[list[str]]:
        return [[column.name, column.type, *filter(None, [column.feast])] for column in columns if column is not None]

    return {
        "entities": [[key.name, *_key_form(key)] for key in schema.keys],
        "features": sorted(types(*schema.features)),
        "layout": view.layout,
        "source": [source.table, source.query, source.timezone],
        "timestamps": types(schema.event_timestamp, schema.created_timestamp, schema.deleted),
        "transform": getattr(view.transform, "__qualname__", None),
        "ttl": view.ttl.total_seconds() if view.ttl else None,
        **({"key_ttl": view.feast.key_ttl.total_seconds()} if view.feast.key_ttl else {}),
    }


def definition_fingerprint(view: FeatureView, schema: RowSchema) -> str:
    """Return a hash of the definition, as the state and the run history record it."""
    return hashlib.sha256(json.dumps(definition(view, schema)).encode()).hexdigest()


def changes_since(state: ViewState, view: FeatureView, schema: RowSchema) -> list[str]:
    """Return the parts of the definition that differ from those of the rows online."""
    if state.definition is None:
        # Rows may have been pushed before the first run.
        pushed = {
            "entities": state.schema is None or _are_alike(state.schema.keys, schema.keys),
            "layout": state.layout in (None, view.layout),
        }
        return [part for part, is_same in pushed.items() if not is_same]
    return [part for part, now in definition(view, schema).items() if state.definition.get(part) != now]


def _key_form(key: Column) -> tuple[str, ...]:
    """Return what determines the key of a value: its text differs between a uuid and a text column, for example."""
    is_text = key.encoding == Encoding.TEXT and key.type in TEXTS
    form = key.encoding if is_text or key.encoding != Encoding.TEXT else key.type
    return (form,) if key.feast is None else (form, key.feast)


def _are_alike(pushed: Sequence[Column], keys: Sequence[Column]) -> bool:
    """Return whether pushed join keys have the form of the source's; no value of an unknown type is online."""
    return [key.name for key in pushed] == [key.name for key in keys] and all(
        before.type == UNKNOWN or _key_form(before) == _key_form(now) for before, now in zip(pushed, keys, strict=True)
    )
