"""The runs of a view in Redis: marked while they write, committed in one step, and recorded in a history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from online_features.common.instants import from_text, to_text
from online_features.errors import OnlineDataLostError, OvertakenError, SwitchedError
from online_features.feature_view import FeatureView
from online_features.layouts import keyspace
from online_features.online.generations._stored_schema import schema_fields
from online_features.online.generations.view_definition import definition, definition_fingerprint
from online_features.online.generations.view_state import json_object, named
from online_features.online.redis.deployment import RUN_MARKER_MILLISECONDS, Deployment, Session
from online_features.online.redis.replication import Replication
from online_features.online.redis.scripts import state_script
from online_features.online.redis.servers import (
    Server,
    check_evictions,
    check_same,
    evicted_counts,
    evicted_since,
    eviction,
)
from online_features.resp.replies import text
from online_features.schema import RowSchema
from online_features.source_note import SourceNote

# The history keeps a week of runs every five minutes, and the newest hundred however old they are.
RUNS_KEPT = 2000
RUNS_KEPT_FOR = timedelta(days=7)
RUNS_SHOWN = 100

ALWAYS_RECORDED = frozenset({"began", "ended", "outcome", "seconds"})

# Types of fields of a record; counters of rows are whole numbers.
RECORD_TYPES: Mapping[str, Any] = {
    "outcome": str, "seconds": (int, float), "error": str, "kind": str | None, "generation": str | None,
    "origin": dict | None,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RunClaims:
    """What a run records of itself when all its rows are acknowledged.

    :param run: its record in the history, as JSON; ``None`` if the run goes on and :func:`end_run` ends it.
    :param fingerprint_before: of the run's definition if the rows online have it, else ``None``.
    :param covered: the part of the source's history that is online because of the run.
    :param cursor: where the next incremental run begins, or ``None`` to leave the cursor unchanged.
    :param source: a note on the source for the next run, or ``None`` to leave the one there unchanged.
    :param max_event_timestamp: the newest that the run has read, unless it is in the future.
    :param materialized_at: when the run ended.
    """

    run: Mapping[str, Any] | None
    fingerprint_before: str | None
    covered: tuple[datetime | None, datetime] | None
    cursor: datetime | None
    source: SourceNote | None
    max_event_timestamp: datetime | None
    materialized_at: datetime


def build_fields(view: FeatureView, schema: RowSchema) -> dict[str, str]:
    """Return what producers need of a generation that is being built, as fields of its state."""
    return {
        "layout": view.layout,
        "definition": json.dumps(definition(view, schema)),
        "fingerprint": definition_fingerprint(view, schema),
        **schema_fields(schema),
    }


def begin_run(session: Session, view: FeatureView, run_id: str) -> frozenset[Server]:
    """Set the run's marker; if it is gone, :func:`commit_run` concludes that Redis has lost data.

    :returns: the servers that will hold the rows.
    """
    session.command("SADD", keyspace.VIEWS_KEY, keyspace.view_id(view))
    session.command("SET", keyspace.run_key(view, run_id), "writing", "PX", RUN_MARKER_MILLISECONDS)
    return session.steadily(session.servers)


def commit_run(
    session: Session,
    view: FeatureView,
    generation: str,
    run_id: str,
    claims: RunClaims,
    *,
    schema: RowSchema,
    servers: frozenset[Server],
    replication: Replication,
    pointer: str | None,
) -> datetime | None:
    """Commit what a run has written to a generation when all rows are acknowledged, in one atomic step.

    :param servers: as returned by :func:`begin_run`.
    :param replication: what must be replicated before the watermark moves.
    :param pointer: of the view when the run began, see :attr:`.GenerationList.pointer_text`; ``None`` for a generation
        that readers need not read.
    :returns: the watermark, which has moved forward or not at all.
    :raises OnlineDataLostError: the run's marker is gone, or Redis is another server than before.
    :raises OnlineStoreFullError: Redis has evicted keys since the run began.
    :raises NotReplicatedError: too few replicas have the rows.
    :raises SwitchedError: readers see another generation by now.
    :raises OvertakenError: a run with another definition of the view has ended meanwhile; the next run is a full one.
    :raises SwitchedError: readers read another generation by now.
    """
    fields = {
        "materialized_at": to_text(claims.materialized_at),
        "layout": view.layout,
        "definition": json.dumps(definition(view, schema)),
        "servers": identities(servers),
        "evicted": json.dumps(evicted_counts(servers)),
        "max_staleness": "" if view.max_staleness is None else str(view.max_staleness.total_seconds()),
        **schema_fields(schema),
    }
    if claims.cursor is not None:
        fields["cursor"] = to_text(claims.cursor)
    if claims.source is not None:
        fields["source"] = json.dumps(claims.source.to_dict())
    start, end = claims.covered or (None, None)
    keys = [keyspace.generation_key(view, generation), keyspace.runs_key(view), keyspace.run_key(view, run_id)]
    if pointer is not None:
        keys.append(keyspace.published_key(view.project))
    words: tuple[str | int, ...] = (
        run_id,
        RUNS_KEPT,
        _record(claims.run) if claims.run else "",
        _optional_text(start),
        _optional_text(end),
        _optional_text(claims.max_event_timestamp),
        claims.fingerprint_before or "",
        definition_fingerprint(view, schema),
        _oldest_kept(claims.run) if claims.run else "",
        view.name,
        pointer or "",
        *(word for field in fields.items() for word in field),
    )
    commit = state_script("commit_run").call_in_full(keys, words)

    evicted = 0

    def check_and_commit() -> Any:
        nonlocal evicted
        # A single server may restart between this check and the commit, but then their connection breaks. In a
        # cluster, the next run detects a restart, because it finds the servers of this run recorded.
        now = session.servers()
        check_same(view, servers, now)
        check_evictions(view, servers, now)
        evicted = evicted_since(evicted_counts(servers), now)
        session.await_replicas(keyspace.run_key(view, run_id), replication)
        return session.exchange(*commit)

    watermark = session.steadily(check_and_commit)
    if watermark is None:
        if evicted:  # the run's marker is among the evicted keys
            raise eviction(view, evicted, servers)
        reports_evictions = all(server.evicted is not None for server in servers)
        raise OnlineDataLostError(
            f"feature view {view.name!r}: Redis lost data while the run was writing: it was flushed or restored"
            + ("" if reports_evictions else ", or has evicted keys, which it does not report by INFO")
            + "; the watermark has not moved -> run again"
        )
    if text(watermark) == "overtaken":
        raise OvertakenError(
            f"feature view {view.name!r}: a run with another definition of the view has ended while this one was "
            "writing; the watermark has not moved -> run again, and give the view one definition"
        )
    if text(watermark) == "switched":
        raise SwitchedError(
            f"feature view {view.name!r}: another generation than {generation} was published while the run was "
            "writing, so readers do not see its rows -> run again"
        )
    return from_text(text(watermark)) if watermark else None


def end_run(access: Session | Deployment, view: FeatureView, run_id: str, *, run: Mapping[str, Any]) -> None:
    """End a run and record it in the history; no watermark moves."""
    keys = (keyspace.runs_key(view), keyspace.run_key(view, run_id), keyspace.published_key(view.project))
    words = (run_id, RUNS_KEPT, _record(run), _oldest_kept(run))
    access.command(*state_script("end_run").call_in_full(keys, words))


def read_runs(deployment: Deployment, view: FeatureView, limit: int = RUNS_SHOWN) -> list[dict[str, Any]]:
    """Read the records of the last runs, newest first."""
    recorded = deployment.command("LRANGE", keyspace.runs_key(view), 0, limit - 1)
    with named(keyspace.runs_key(view)):
        return [run_from(run) for run in recorded]


def run_from(stored: str | bytes) -> dict[str, Any]:
    """Parse the record of a run.

    :raises Exception: one of :data:`.view_state.DAMAGE`, when this package has not written what people look at.
    """
    run = json_object(stored)
    for name in ("began", "ended"):
        from_text(run[name])
    if missing := ALWAYS_RECORDED.difference(run):
        raise KeyError(min(missing))
    for name, value in run.items():
        if not isinstance(value, _record_type(name)):
            raise TypeError(f"{name}: {str(value)[:50]!r} is not of its type")
    return run


def _record_type(name: str) -> Any:
    """Return what a field of a record may be."""
    if name.startswith("rows_"):
        return int
    return RECORD_TYPES.get(name, object)


def identities(servers: frozenset[Server]) -> str:
    """Return the servers as one text."""
    return " ".join(sorted(server.identity for server in servers))


def _record(run: Mapping[str, Any]) -> str:
    """Return the record of a run; if it did nothing, with a hash by which ``history.lua`` joins such records."""
    if run["outcome"] != "success" or run["kind"] != "incremental" or run["rows_read"] or run["entities_pruned"]:
        return json.dumps(run)
    origin = {name: value for name, value in (run.get("origin") or {}).items() if name in ("dag_id", "task_id")}
    same = json.dumps([run.get("definition"), run.get("held_by"), sorted(origin.items())])
    return json.dumps({**run, "runs": 1, "nothing": hashlib.sha256(same.encode()).hexdigest()[:16]})


def _oldest_kept(run: Mapping[str, Any]) -> str:
    return to_text(from_text(run["ended"]) - RUNS_KEPT_FOR)


def _optional_text(instant: datetime | None) -> str:
    return "" if instant is None else to_text(instant)
