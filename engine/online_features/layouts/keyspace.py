"""The Redis keyspace: every key and field that this package writes.

``docs/keyspace.md`` describes it for readers in other languages; keep the two equal.

==================================================== ======= ================================================
key                                                  type    holds
==================================================== ======= ================================================
``<project>:<view>:<generation>:{<entity>}``         string  the row of an entity or its tombstone, in the
                                                     or hash layout of the generation
``@online_features:published:{<project>}``           hash    the pointer: view → ``<generation> <switch>``
``@online_features:generations:{<project>}:<view>``  hash    the view's list of generations, hold included
``@online_features:generation:{…}:<view>:<id>``      hash    watermark, cursor, schema, … of one generation
``@online_features:lease:{<project>}:<view>``        string  the run that is building; ends by itself
``@online_features:closing:{<project>}:<view>``      string  a build is about to be published; ends by itself
``@online_features:runs:{<project>}:<view>``         list    the last runs as JSON, newest first
``@online_features:run:{<project>}:<view>:<id>``     string  marks a run that is writing; gone when it has ended
``@online_features:statistics:{<project>:<view>:…}`` string  statistics of the rows of one generation
``@online_features:parts:{<project>:<view>:…}``      hash    plan and reports of a build in parts; ends by itself
``@online_features:erased:{<project>:<view>:<n>}``   hash    a bucket of erased entities
``@online_features:features:{<project>}:<view>``     set     layout ``feast``: features that rows may have
``@online_features:views``                           set     ``<project>:<view>`` of every view held here
==================================================== ======= ================================================

``<entity>`` joins the text of the join keys, in the order of ``entities``, with ``:``. Inside a value the
characters ``%``, ``:``, ``{`` and ``}`` are percent-encoded (RFC 3986), so that different entities never share a
key and braces never change a key's slot in a cluster. Names of projects and views hold none of these, nor ``@``.

The braces choose the slot in a cluster. All generations of an entity share one, and so do all views of the same
entity. What scripts change together is in the slot of the project.

Rows of layout ``feast`` are at Feast's keys: see :mod:`~online_features.layouts.feast.feast_format`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol
from urllib.parse import unquote

SEPARATOR = ":"
RESERVED_PREFIX = "@online_features"

TIMESTAMP_FIELD = "_ts"
CREATED_FIELD = "_created"
FLAGS_FIELD = "_flags"
GONE_FIELD = "_gone"
PUSHED_FIELD = "_pushed"

# Flags of a row.
TOMBSTONE, PUSHED = 1, 2

# The id of the generation that pushes and windows write to before the first full run.
FIRST_GENERATION = "0"

# The percent sign first: the escapes of the others contain it.
ESCAPES = {"%": "%25", ":": "%3A", "{": "%7B", "}": "%7D"}

VIEWS_KEY = f"{RESERVED_PREFIX}:views"


class Named(Protocol):
    """A feature view, or its name."""

    @property
    def project(self) -> str:
        """Namespace of the view."""
        ...

    @property
    def name(self) -> str:
        """Unique within the project."""
        ...


class ViewName(NamedTuple):
    """Project and name of a feature view."""

    project: str
    name: str


def view_id(view: Named) -> str:
    """Return ``<project>:<view>``."""
    return f"{view.project}{SEPARATOR}{view.name}"


def published_key(project: str) -> str:
    """Return the key of the project's pointer."""
    return f"{RESERVED_PREFIX}:published:{{{project}}}"


def generations_key(view: Named) -> str:
    """Return the key of the view's list of generations."""
    return _of_view("generations", view)


def generation_key(view: Named, generation: str) -> str:
    """Return the key of what is recorded of one generation, such as its watermark and schema."""
    return f"{_of_view('generation', view)}:{generation}"


def statistics_key(view: Named, generation: str) -> str:
    """Return the key of the statistics of a generation's rows."""
    return f"{RESERVED_PREFIX}:statistics:{{{view_id(view)}:{generation}}}"


def parts_key(view: Named, generation: str) -> str:
    """Return the key of the plan of a build in parts."""
    return f"{RESERVED_PREFIX}:parts:{{{view_id(view)}:{generation}}}"


def lease_key(view: Named) -> str:
    """Return the key that exists while a run is building."""
    return _of_view("lease", view)


def closing_key(view: Named) -> str:
    """Return the key that exists while a build is in its last catch-up."""
    return _of_view("closing", view)


def runs_key(view: Named) -> str:
    """Return the key of the view's run history."""
    return _of_view("runs", view)


def run_key(view: Named, run_id: str) -> str:
    """Return the key that exists while the run writes."""
    return f"{_of_view('run', view)}:{run_id}"


def features_key(view: Named) -> str:
    """Return the key of the names of features that rows of layout ``feast`` may have."""
    return _of_view("features", view)


def erased_key(view: Named, bucket: int) -> str:
    """Return the key of a bucket of erased entities."""
    return f"{RESERVED_PREFIX}:erased:{{{view_id(view)}:{bucket}}}"


def entity_prefix(view: Named, generation: str) -> str:
    """Return what stands before the entity in the key of a row; ``}`` stands after it."""
    return f"{view_id(view)}{SEPARATOR}{generation}{SEPARATOR}{{"


def entity_key(view: Named, generation: str, values: Sequence[str]) -> str:
    """Return the key of one entity's row, from the texts of its join keys."""
    return f"{entity_prefix(view, generation)}{SEPARATOR.join(map(escape, values))}}}"


def entity_values(view: Named, generation: str, key: str) -> list[str]:
    """Return the texts of the join keys in the key of an entity's row: the inverse of :func:`entity_key`."""
    entity = key.removeprefix(entity_prefix(view, generation)).removesuffix("}")
    return [unquote(part) for part in entity.split(SEPARATOR)]


def escape(value: str) -> str:
    """Escape a join key's text as part of a key."""
    for character, escaped in ESCAPES.items():
        value = value.replace(character, escaped)
    return value


def escape_all(values: Sequence[str]) -> Sequence[str]:
    """Escape texts of join keys; return the same sequence if none has a character to escape."""
    joined = "".join(values)
    return list(map(escape, values)) if any(character in joined for character in ESCAPES) else values


def _of_view(what: str, view: Named) -> str:
    """Return a key of the view in the slot of its project."""
    return f"{RESERVED_PREFIX}:{what}:{{{view.project}}}{SEPARATOR}{view.name}"
