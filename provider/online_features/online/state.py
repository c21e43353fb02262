"""What Redis knows of a feature view beside its rows: watermark, schema, runs. It is lost when they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis

from online_features.errors import OnlineDataError, OnlineDataLostError
from online_features.feature_view import FeatureView
from online_features.instants import from_text, to_text
from online_features.online import keyspace, scripts
from online_features.schema import Column, RowSchema

RUNS_KEPT = 100  # in the history of a view: a day and a night of runs every quarter of an hour
RUN_MARKER_TTL = timedelta(days=7)  # longer than any run; the marker of a crashed run is gone after it


@dataclass(frozen=True, kw_only=True)
class ViewState:
    """What is online, as recorded beside it; all ``None`` before the first materialization.

    :param watermark: everything in the source up to this instant has been materialized.
    :param cursor: where the next incremental run begins; ``None`` until a run has covered all of history.
    :param max_event_timestamp: the newest event timestamp that was read.
    :param materialized_at: when the last successful run ended.
    :param fingerprint: of the definition and types with which the rows were written.
    :param schema: types of join keys and features.
    """

    watermark: datetime | None
    cursor: datetime | None
    max_event_timestamp: datetime | None
    materialized_at: datetime | None
    fingerprint: str | None
    schema: StoredSchema | None


@dataclass(frozen=True, kw_only=True)
class StoredSchema:
    """Types that a reader needs to address rows and to give typed values."""

    keys: tuple[Column, ...]
    features: tuple[Column, ...]


def fingerprint(view: FeatureView, schema: RowSchema) -> str:
    """Digest of everything that decides how the view's online rows look."""
    source = view.source
    definition = {
        "layout": view.layout,
        "source": [source.table, source.query, source.timezone],
        "ttl": view.ttl.total_seconds() if view.ttl else None,
        "parts": {
            part: [(column.name, column.type) for column in columns if column]
            for part, columns in (
                ("keys", schema.keys),
                ("event_timestamp", (schema.event_timestamp,)),
                ("created_timestamp", (schema.created_timestamp,)),
                ("deleted", (schema.deleted,)),
                ("features", sorted(schema.features, key=lambda column: column.name)),
            )
        },
    }
    return hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()


def read_state(client: redis.Redis, view: FeatureView) -> ViewState:
    """The state of a view.

    :raises OnlineDataError: when it is not what this package writes.
    """
    stored = {_text(field): _text(value) for field, value in client.hgetall(keyspace.state_key(view)).items()}
    try:
        return ViewState(
            watermark=_instant(stored, "watermark"),
            cursor=_instant(stored, "cursor"),
            max_event_timestamp=_instant(stored, "max_event_timestamp"),
            materialized_at=_instant(stored, "materialized_at"),
            fingerprint=stored.get("fingerprint"),
            schema=_schema(json.loads(stored["schema"])) if "schema" in stored else None,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OnlineDataError(
            f"{keyspace.state_key(view)!r} in Redis is damaged ({error}); delete it and materialize with full=True"
        ) from error


def begin_run(client: redis.Redis, view: FeatureView, run_id: str) -> None:
    """Mark the run as writing; :func:`commit_run` finds out by the mark whether Redis lost data meanwhile."""
    client.sadd(keyspace.VIEWS_KEY, keyspace.view_id(view))
    client.set(keyspace.run_key(view, run_id), "writing", px=RUN_MARKER_TTL)


def commit_run(
    client: redis.Redis,
    view: FeatureView,
    run_id: str,
    *,
    run: Mapping[str, Any],
    covered: tuple[datetime | None, datetime] | None,
    cursor: datetime | None,
    max_event_timestamp: datetime | None,
    materialized_at: datetime,
    schema: RowSchema,
) -> datetime | None:
    """End a run whose rows are all acknowledged, in one atomic step.

    :param run: for the history, as JSON.
    :param covered: the part of the source's history that is online now because of the run.
    :param cursor: where the next incremental run begins, or ``None`` to leave that as it is.
    :returns: the watermark, which has moved forward or not at all.
    :raises OnlineDataLostError: Redis no longer knows the run.
    """
    fields = {
        "materialized_at": to_text(materialized_at),
        "layout": view.layout,
        "fingerprint": fingerprint(view, schema),
        "schema": json.dumps(
            {
                "keys": {column.name: column.type for column in schema.keys},
                "features": {column.name: column.type for column in schema.features},
            }
        ),
    }
    if cursor is not None:
        fields["cursor"] = to_text(cursor)
    start, end = covered or (None, None)
    watermark = client.register_script(scripts.source("commit_run"))(
        keys=[keyspace.state_key(view), keyspace.runs_key(view), keyspace.run_key(view, run_id)],
        args=[
            RUNS_KEPT,
            json.dumps(run),
            _optional_text(start),
            _optional_text(end),
            _optional_text(max_event_timestamp),
            *(word for field in fields.items() for word in field),
        ],
    )
    if watermark is None:
        raise OnlineDataLostError(
            f"feature view {view.name!r}: Redis lost data while the run was writing (flushed or restored?); "
            "the watermark has not moved -> run again"
        )
    return from_text(_text(watermark)) if watermark else None


def abandon_run(client: redis.Redis, view: FeatureView, run_id: str, *, run: Mapping[str, Any]) -> None:
    """End a run that failed: the history tells it, the watermark stays."""
    with client.pipeline(transaction=True) as pipeline:
        pipeline.delete(keyspace.run_key(view, run_id))
        pipeline.lpush(keyspace.runs_key(view), json.dumps(run))
        pipeline.ltrim(keyspace.runs_key(view), 0, RUNS_KEPT - 1)
        pipeline.execute()


def read_runs(client: redis.Redis, view: FeatureView) -> list[dict[str, Any]]:
    """The last runs, newest first."""
    return [json.loads(run) for run in client.lrange(keyspace.runs_key(view), 0, RUNS_KEPT - 1)]


def _schema(stored: dict[str, dict[str, str]]) -> StoredSchema:
    keys, features = (tuple(Column(*column) for column in stored[part].items()) for part in ("keys", "features"))
    return StoredSchema(keys=keys, features=features)


def _instant(stored: Mapping[str, str], field: str) -> datetime | None:
    return from_text(stored[field]) if field in stored else None


def _optional_text(instant: datetime | None) -> str:
    return "" if instant is None else to_text(instant)


def _text(reply: bytes | str) -> str:
    # Which of the two depends on the user's client (decode_responses).
    return reply.decode() if isinstance(reply, bytes) else reply
