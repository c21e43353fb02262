"""Prints the feature views of a Feast repository as JSON, which ``feast_repository`` loads.

This file runs in Feast's own environment, in which Airflow cannot be installed, and needs nothing but Feast::

    python feast_export.py path/to/feature_repo > feature_views.json

It reads what is applied to the registry, as ``feast materialize`` does. Views that cannot be carried over are named
on standard error, with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
from datetime import timedelta
from typing import Any

FORMAT = 1  # of the JSON; greater when an older reader would misunderstand it

SERIALIZATION_VERSION = 3  # of Feast's entity keys, the only one that the engine writes

SCALARS = (
    "Bytes", "String", "Int32", "Int64", "Float64", "Float32", "Bool", "UnixTimestamp", "Json", "Uuid", "TimeUuid",
    "Decimal",
)  # fmt: skip
FEATURE_TYPES = frozenset({*SCALARS, *(f"Array({name})" for name in SCALARS), "PdfBytes", "ImageBytes"})
KEY_TYPES = frozenset({"Bytes", "String", "Int32", "Int64", "UnixTimestamp"})

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*")

# Tables whose names mean the same with quotes and without; Feast's SQL has none.
PLAIN_TABLE = re.compile(r"[a-z_][a-z0-9_$]*(\.[a-z_][a-z0-9_$]*)?")

LONGEST_TTL = timedelta(days=36525)


def main() -> None:
    """Print the repository's feature views."""
    parser = argparse.ArgumentParser(description="Print the feature views of a Feast repository as JSON.")
    parser.add_argument("repository", help="folder of feature_store.yaml")
    repository = parser.parse_args().repository
    with contextlib.redirect_stdout(sys.stderr):  # Feast prints to both
        from feast import FeatureStore

        store = FeatureStore(repository)
        reason = obstacle_to_all(store.config)
        if reason:
            sys.exit(f"nothing carried over: {reason}")
        document = document_of(store)
    print(json.dumps(document, indent=2))


def document_of(store: Any) -> dict[str, Any]:
    """Describe the repository; print to standard error what is left out or needs attention."""
    config = store.config
    versioned = config.registry.enable_online_feature_view_versioning
    views = []
    for view in store.list_all_feature_views():
        reason = obstacle(view, versioned=versioned)
        if reason:
            print(f"{view.name}: not carried over: {reason}", file=sys.stderr)
        else:
            views.append(carried_over(view))
    schema = getattr(config.offline_store, "db_schema", "public")
    if schema != "public":
        extra = json.dumps({"options": f"-c search_path={schema},public"})
        print(f"the Airflow connection of the offline store needs the extra {extra}", file=sys.stderr)
    return {
        "format": FORMAT,
        "project": store.project,
        "key_ttl_seconds": config.online_store.key_ttl_seconds or None,
        "feature_views": views,
    }


def obstacle_to_all(config: Any) -> str | None:
    """Return why none of a repository's views can be carried over; ``None`` when some can."""
    kind = getattr(config.online_store, "type", None)
    if kind != "redis":
        return f"the online store is of type {kind!r}, not 'redis'"
    version = config.entity_key_serialization_version
    if version != SERIALIZATION_VERSION:
        return f"entity_key_serialization_version is {version}, not {SERIALIZATION_VERSION}"
    return None


def obstacle(view: Any, *, versioned: bool) -> str | None:
    """Return why a view cannot be carried over; ``None`` when it can.

    :param versioned: whether each version of a view has its own rows online.
    """
    return obstacle_to_kind(view, versioned=versioned) or obstacle_to_definition(view)


def obstacle_to_kind(view: Any, *, versioned: bool) -> str | None:
    """Return what Feast does with the view other than copying its newest rows."""
    kind = type(view).__name__
    if kind not in {"FeatureView", "BatchFeatureView", "StreamFeatureView"}:
        return f"Feast makes the features of a view of type {kind} itself"
    if not view.online:
        return "it has online=False, so Feast does not materialize it"
    if not view.enabled:
        return "it is disabled, so Feast does not materialize it"
    if view.source_views:
        return "its source is another feature view"
    if any(getattr(view, part, None) for part in ("udf", "feature_transformation", "aggregations")):
        return "it has a transformation or aggregations"
    if versioned and view.current_version_number:
        return f"its rows are those of version {view.current_version_number}, and versions have rows of their own"
    source = type(view.batch_source).__name__
    if source != "PostgreSQLSource":
        return f"its source is of type {source}, not PostgreSQLSource"
    return None


def obstacle_to_definition(view: Any) -> str | None:
    """Return why the engine would refuse the definition of the view."""
    if not NAME.fullmatch(view.name):
        return "its name is not made of letters, digits, '_', '-' and '.'"
    if view.ttl and view.ttl > LONGEST_TTL:
        return f"its ttl is {view.ttl.days} days; ttl=timedelta(0) lets rows live for ever"
    keys = types_of(view.entity_columns)
    if not keys:
        return "it has no entity"
    if not view.features:
        return "it has no feature"
    for part, types, known in (
        ("join key", keys, KEY_TYPES),
        ("feature", types_of(view.features), FEATURE_TYPES),
    ):
        for name, kind in types.items():
            if kind not in known:
                return f"{part} {name!r} is of type {kind}"
    return None


def carried_over(view: Any) -> dict[str, Any]:
    """Describe the view."""
    return {
        "name": view.name,
        "join_keys": types_of(view.entity_columns),
        "features": types_of(view.features),
        "source": source_of(view),
        "ttl_seconds": view.ttl.total_seconds() if view.ttl else None,
    }


def types_of(fields: Any) -> dict[str, str]:
    """Map names to types as Feast prints them."""
    return {field.name: str(field.dtype) for field in fields}


def source_of(view: Any) -> dict[str, Any]:
    """Describe where the view's rows are, with columns named as in the view."""
    source = view.batch_source
    given = json.loads(source.to_proto().custom_options.configuration)
    where: dict[str, Any] = {
        "timestamp_field": source.timestamp_field,
        "created_timestamp_column": source.created_timestamp_column or None,
    }
    relation = given["table"] or f"({given['query']}\n)"
    if source.field_mapping:
        return {"query": f"SELECT {renamed_columns(view)} FROM {relation} AS source", **where}
    if not given["table"]:
        return {"query": given["query"], **where}
    if PLAIN_TABLE.fullmatch(relation):
        return {"table": relation, **where}
    return {"query": f"SELECT * FROM {relation} AS source", **where}


def renamed_columns(view: Any) -> str:
    """Select the columns that the view reads, named by the source's ``field_mapping``."""
    source = view.batch_source
    columns = {name: column for column, name in source.field_mapping.items()}
    names = [
        *types_of(view.entity_columns), *types_of(view.features), source.timestamp_field,
        source.created_timestamp_column,
    ]  # fmt: skip
    pairs = ((columns.get(name, name), name) for name in dict.fromkeys(filter(None, names)))
    return ", ".join(f"{quoted(column)} AS {quoted(name)}" for column, name in pairs)


def quoted(name: str) -> str:
    """Quote a name, so that SQL reads it literally."""
    return '"' + name.replace('"', '""') + '"'


if __name__ == "__main__":
    main()
