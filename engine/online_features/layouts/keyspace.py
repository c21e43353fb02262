"""The Redis keyspace: every key and field that this package writes.

``docs/keyspace.md`` describes it for readers in other languages; keep the two equal.

============================================== ======= =====================================================
key                                            type    holds
============================================== ======= =====================================================
``<project>:<view>:<entity>``                  hash    layout ``hash``: one field per feature that is not NULL,
                                                       as text; ``_ts`` event timestamp, ``_created`` created one
the same                                       string  layout ``json``: one object, ``_ts`` and ``_created`` first
``@online_features:gone:{<entity's key>}``      hash    tombstone of a deleted entity: ``_ts`` and ``_created``
``@online_features:view:{<project>:<view>}``   hash    watermark, schema and last run of a feature view
``@online_features:runs:{<project>:<view>}``   list    the last runs as JSON, newest first
``@online_features:run:{<project>:<view>}:id`` string  marks a run that is writing; gone when it has ended
``@online_features:features:{…}``              set     layout ``feast``: names of all features that rows may have
``@online_features:burials:{…}``               string  present if the view has, or had, tombstones at such keys
``@online_features:packing:{…}``               –       never holds anything: a run tries ``RESTORE`` on it
``@online_features:views``                     set     ``<project>:<view>`` of every view held here
============================================== ======= =====================================================

``<entity>`` joins the text of the join keys, in the order of ``entities``, with ``:``. Inside a value the
characters ``%``, ``:``, ``{`` and ``}`` are percent-encoded (RFC 3986), so that different entities never share a
key and braces never change a key's slot in a cluster. Names of projects and views hold none of these, nor ``@``.

Rows of layout ``feast`` are at Feast's keys: see :mod:`~online_features.layouts.feast.feast_format`.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote

from online_features.feature_view import FeatureView

SEPARATOR = ":"
RESERVED_PREFIX = "@online_features"

TIMESTAMP_FIELD = "_ts"
CREATED_FIELD = "_created"

# The percent sign first: the escapes of the others contain it.
ESCAPES = {"%": "%25", ":": "%3A", "{": "%7B", "}": "%7D"}

VIEWS_KEY = f"{RESERVED_PREFIX}:views"


def view_id(view: FeatureView) -> str:
    """Return ``<project>:<view>``."""
    return f"{view.project}{SEPARATOR}{view.name}"


def state_key(view: FeatureView) -> str:
    """Return the key of the view's watermark and schema."""
    return f"{RESERVED_PREFIX}:view:{{{view_id(view)}}}"


def runs_key(view: FeatureView) -> str:
    """Return the key of the view's run history."""
    return f"{RESERVED_PREFIX}:runs:{{{view_id(view)}}}"


def run_key(view: FeatureView, run_id: str) -> str:
    """Return the key that exists while the run writes."""
    return f"{RESERVED_PREFIX}:run:{{{view_id(view)}}}:{run_id}"


def features_key(view: FeatureView) -> str:
    """Return the key of the names of features that rows of layout ``feast`` may have."""
    return f"{RESERVED_PREFIX}:features:{{{view_id(view)}}}"


def packing_key(view: FeatureView) -> str:
    """Return the key on which a run tries which packing the server accepts; it never holds anything."""
    return f"{RESERVED_PREFIX}:packing:{{{view_id(view)}}}"


def entity_prefix(view: FeatureView) -> str:
    """Return the prefix of the keys of all entities of the view."""
    return f"{view_id(view)}{SEPARATOR}"


def around_buried_key() -> tuple[str, str]:
    """Return what stands before and after the key of a row in the key of its tombstone, as in ``common.lua``."""
    return f"{RESERVED_PREFIX}:gone:{{", "}"


def tombstone_prefix(view: FeatureView) -> str:
    """Return the prefix of the keys of all tombstones of the view."""
    return around_buried_key()[0] + entity_prefix(view)


def tombstone_key(view: FeatureView, key: str) -> str:
    """Return the key of the tombstone of the row at ``key``."""
    return f"{tombstone_prefix(view)}{key.removeprefix(entity_prefix(view))}}}"


def entity_key(view: FeatureView, values: Sequence[str]) -> str:
    """Return the key of one entity's row, from the texts of its join keys."""
    return entity_prefix(view) + SEPARATOR.join(map(escape, values))


def entity_values(view: FeatureView, key: str) -> list[str]:
    """Return the texts of the join keys in the key of an entity's row: the inverse of :func:`entity_key`."""
    return [unquote(part) for part in key.removeprefix(entity_prefix(view)).split(SEPARATOR)]


def escape(value: str) -> str:
    """Escape a join key's text as part of a key."""
    if value.isalnum():
        return value
    for character, escaped in ESCAPES.items():
        value = value.replace(character, escaped)
    return value


def published_key(project: str) -> str:
    """Return the key of a project's pointer: which generation of each view readers read."""
    return f"{RESERVED_PREFIX}:published:{{{project}}}"


def generations_key(view: FeatureView) -> str:
    """Return the key of the list of the view's generations."""
    return f"{RESERVED_PREFIX}:generations:{{{view.project}}}{SEPARATOR}{view.name}"


def generation_key(view: FeatureView, generation: str) -> str:
    """Return the key of the schema, watermark and counts of one generation."""
    return f"{RESERVED_PREFIX}:generation:{{{view.project}}}{SEPARATOR}{view.name}{SEPARATOR}{generation}"


def lease_key(view: FeatureView) -> str:
    """Return the key that holds the id of the run that is building a generation."""
    return f"{RESERVED_PREFIX}:lease:{{{view.project}}}{SEPARATOR}{view.name}"


def closing_key(view: FeatureView) -> str:
    """Return the key that holds the id of the run for whose last catch-up increments wait."""
    return f"{RESERVED_PREFIX}:closing:{{{view.project}}}{SEPARATOR}{view.name}"


def erased_key(view: FeatureView, bucket: int) -> str:
    """Return the key of one bucket of the view's erased entities."""
    return f"{RESERVED_PREFIX}:erased:{{{view_id(view)}{SEPARATOR}{bucket}}}"
