"""The pointer of a project: which generation of each view readers see."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from online_features.errors import OnlineDataError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.redis.deployment import Deployment
from online_features.resp.commands import Command, hmget

POINTER = re.compile(r"([0-9a-z]{8}) ([1-9][0-9]*)")


@dataclass(frozen=True)
class Published:
    """The published generation of a view.

    :param switch: how often the view has been switched to another generation.
    """

    generation: str
    switch: int


NOTHING_PUBLISHED = Published(keyspace.FIRST_GENERATION, 0)


def pointer_command(project: str, names: Sequence[str]) -> Command:
    """Return the command that reads the pointer of some views of a project."""
    return hmget(tuple(names)), keyspace.published_key(project)


def published_from(project: str, stored: Any) -> Published:
    """Parse one field of a pointer.

    :raises OnlineDataError: when this package has not written it.
    """
    if stored is None:
        return NOTHING_PUBLISHED
    words = stored.decode(errors="backslashreplace") if isinstance(stored, bytes) else stored
    parts = POINTER.fullmatch(words)
    if parts is None:
        raise OnlineDataError(
            f"{keyspace.published_key(project)!r} in Redis is damaged ({words[:50]!r}); delete it and materialize with "
            "full=True"
        )
    return Published(parts[1], int(parts[2]))


def read_published(deployment: Deployment, view: FeatureView) -> Published:
    """Read which generation of the view is published."""
    return published_from(view.project, deployment.command("HGET", keyspace.published_key(view.project), view.name))
