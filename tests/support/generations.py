"""Generations for tests: built in a few calls, and made older."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import redis
from online_features import FeatureView
from online_features.common.instants import from_text, to_text
from online_features.layouts import keyspace
from online_features.online.generations.building import mark_ready, register_build, sync_point
from online_features.online.generations.generation_list import INSTANTS, Access
from online_features.online.generations.leases import release_lease
from online_features.online.generations.switching import publish


def build(access: Access, view: FeatureView, run_id: str = "run", *, refusal: str | None = None, **fields: str) -> str:
    """Build a generation that is ready, or refused, with fields of its hash, and return its id."""
    generation = register_build(access, view, run_id=run_id, fingerprint="f")
    synced = sync_point(access, view)
    mark_ready(access, view, generation, run_id=run_id, synced=synced, rows=1, size=80, refusal=refusal, fields=fields)
    release_lease(access, view, run_id)
    return generation


def build_and_publish(access: Access, view: FeatureView, **fields: str) -> str:
    """Build a generation and publish it."""
    generation = build(access, view, **fields)
    publish(access, [view], generations={view.name: generation})
    return generation


def make_older(client: redis.Redis, view: FeatureView, by: timedelta) -> None:
    """Set back all instants in the list of a view."""
    key = keyspace.generations_key(view)
    for name, stored in client.hgetall(key).items():
        older: Any = stored
        if not name.startswith("@"):
            entry = json.loads(stored)
            older = json.dumps({part: _earlier(value, by) if part in INSTANTS else value
                                for part, value in entry.items()})  # fmt: skip
        elif name in ("@listed", "@swept", "@retired"):
            older = _earlier(stored, by)
        client.hset(key, name, older)


def _earlier(instant: str, by: timedelta) -> str:
    return to_text(from_text(instant) - by)
