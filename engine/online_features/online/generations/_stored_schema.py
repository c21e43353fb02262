"""The schema of a view's rows, as its state records it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from online_features.layouts.feast.feast_types import FeastType
from online_features.schema import Column, Encoding, RowSchema
from online_features.types.registry import codec_of


def schema_fields(schema: RowSchema) -> dict[str, str]:
    """Return the schema as fields of a view's state."""
    columns = asdict(schema, dict_factory=_without_feast)
    del columns["created_resolution"], columns["event_resolution"]
    schema_text = json.dumps(columns)
    return {"schema": schema_text, "schema_fingerprint": hashlib.sha256(schema_text.encode()).hexdigest()}


def schema_from(stored_text: str, layout: str | None) -> RowSchema:
    """Parse the schema in a view's state.

    :raises ValueError: when this package has not written it; or a KeyError, TypeError or AttributeError.
    """
    stored = json.loads(stored_text)

    def column(fields: dict[str, str]) -> Column:
        feast = fields.get("feast")
        kind = FeastType(feast) if feast else None
        found = Column(fields["name"], fields["type"], Encoding(fields["encoding"]), kind)
        if layout == "feast" and kind is None and fields in (*stored["keys"], *stored["features"]):
            raise ValueError(f"column {found.name!r} has no Feast type")
        # Readers decode a value by its type.
        if codec_of(found).encoding != found.encoding:
            raise ValueError(f"type {found.type!r} is not written as {found.encoding}")
        return found

    return RowSchema(
        keys=tuple(map(column, stored["keys"])),
        event_timestamp=column(stored["event_timestamp"]),
        created_timestamp=column(stored["created_timestamp"]) if stored["created_timestamp"] else None,
        deleted=column(stored["deleted"]) if stored["deleted"] else None,
        features=tuple(map(column, stored["features"])),
    )


def _without_feast(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """Leave out the Feast type of columns that have none."""
    return {name: value for name, value in fields if name != "feast" or value is not None}
