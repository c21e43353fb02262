"""What Redis knows of a feature view beside its rows: watermark, schema, runs. It is lost when they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from online_features.common.instants import from_text, to_text
from online_features.errors import OnlineDataError, OnlineDataLostError, OvertakenError
from online_features.feature_view import LAYOUTS, FeastOptions, FeatureView, Layout
from online_features.layouts import keyspace
from online_features.layouts.feast.feast_types import FeastType
from online_features.online.redis import scripts
from online_features.online.redis.redis_failures import Client
from online_features.online.redis.replication import Replication
from online_features.online.redis.replies import text
from online_features.online.redis.servers import Server, check_evictions, evicted_counts, evicted_since, eviction
from online_features.online.redis.session import RUN_MARKER_MILLISECONDS, AnySession
from online_features.schema import UNKNOWN, Column, Encoding, RowSchema
from online_features.source_note import SourceNote
from online_features.types.registry import codec_of

# What reading raises when this package has not written it.
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)

# In the history of a view: a week of runs every five minutes. The newest hundred stay, however old they are.
RUNS_KEPT = 2000
RUNS_KEPT_FOR = timedelta(days=7)
RUNS_SHOWN = 100
TEXTS = ("text", "character varying")  # types of join keys whose values are the same characters online
CLAIMS = ("watermark", "cursor", "pending", "max_event_timestamp", "materialized_at", "source")  # fields of the state


@dataclass(frozen=True, kw_only=True)
class ViewState:
    """What is online, as recorded beside it; all ``None`` before the first materialization.

    :param watermark: everything in the source up to this instant has been materialized.
    :param cursor: where the next incremental run begins; ``None`` until a run has covered all of history.
    :param max_event_timestamp: the newest event timestamp that was read or pushed and not in the future then.
    :param materialized_at: when the last successful run ended.
    :param layout: in which the rows were written.
    :param definition: with which the rows were written; see :func:`definition`.
    :param fingerprint: of the definition.
    :param schema: types of the columns, as of the last run or the first push.
    :param schema_fingerprint: of the schema; a reader that has met it need not read the schema again.
    :param servers: which held the rows after the last run.
    :param source: what the last full or incremental run noted of its source.
    :param evicted: how many keys each of them had evicted.
    """

    watermark: datetime | None
    cursor: datetime | None
    max_event_timestamp: datetime | None
    materialized_at: datetime | None
    layout: Layout | None
    definition: dict[str, Any] | None
    fingerprint: str | None
    schema: RowSchema | None
    schema_fingerprint: str | None
    servers: str | None
    source: SourceNote | None
    evicted: dict[str, int] | None


def definition(view: FeatureView, schema: RowSchema) -> dict[str, Any]:
    """Everything that decides how the view's online rows look, by part, as JSON can hold it."""
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
    """The definition in short, as the state and the run history keep it."""
    return _fingerprint(json.dumps(definition(view, schema)))


def _key_form(key: Column) -> tuple[str, ...]:
    """What decides which key an equal value has: a uuid has another text than the same characters in a text."""
    is_text = key.encoding == Encoding.TEXT and key.type in TEXTS
    form = key.encoding if is_text or key.encoding != Encoding.TEXT else key.type
    return (form,) if key.feast is None else (form, key.feast)


def changes_since(state: ViewState, view: FeatureView, schema: RowSchema) -> list[str]:
    """The parts of the definition that differ from those with which the rows online were written."""
    if state.definition is None:
        # Rows may have been pushed before the first run.
        pushed = {
            "entities": state.schema is None or _are_alike(state.schema.keys, schema.keys),
            "layout": state.layout in (None, view.layout),
        }
        return [part for part, is_same in pushed.items() if not is_same]
    return [part for part, now in definition(view, schema).items() if state.definition.get(part) != now]


def _are_alike(pushed: Sequence[Column], keys: Sequence[Column]) -> bool:
    """Whether join keys that were pushed look as those of the source. Of a type not known yet, none is online."""
    return [key.name for key in pushed] == [key.name for key in keys] and all(
        before.type == UNKNOWN or _key_form(before) == _key_form(now) for before, now in zip(pushed, keys, strict=True)
    )


def read_state(client: Client, view: FeatureView) -> ViewState:
    """The state of a view.

    :raises OnlineDataError: when it is not what this package writes.
    """
    stored = client.hgetall(keyspace.state_key(view))
    with named(keyspace.state_key(view)):
        texts = {text(field): text(value) for field, value in stored.items()}
    return state_from(view, texts)


def state_from(view: FeatureView, stored: Mapping[str, str]) -> ViewState:
    """The state of a view, or as much of it as the fields at hand tell.

    :raises OnlineDataError: when it is not what this package writes.
    """
    with named(keyspace.state_key(view)):
        return ViewState(
            watermark=_instant(stored, "watermark"),
            cursor=_instant(stored, "cursor"),
            max_event_timestamp=_instant(stored, "max_event_timestamp"),
            materialized_at=_instant(stored, "materialized_at"),
            layout=_layout(stored.get("layout")),
            definition=_object(stored["definition"]) if "definition" in stored else None,
            fingerprint=stored.get("fingerprint"),
            schema=_schema_from(stored["schema"], stored.get("layout")) if "schema" in stored else None,
            schema_fingerprint=stored.get("schema_fingerprint"),
            servers=stored.get("servers"),
            source=SourceNote.from_dict(_object(stored["source"])) if "source" in stored else None,
            evicted=_counts(stored["evicted"]) if "evicted" in stored else None,
        )


def as_online(view: FeatureView, layout: Layout | None) -> FeatureView:
    """The view in the layout in which its rows are: its next run may be about to bring another."""
    if layout in (None, view.layout):
        return view
    return replace(view, layout=layout, feast=FeastOptions())


def begin_run(session: AnySession, view: FeatureView, run_id: str) -> frozenset[Server]:
    """Mark the run as writing; :func:`commit_run` finds out by the mark whether Redis lost data meanwhile.

    :returns: the servers that will hold the rows, by which it finds out, too.
    """
    session.command("SADD", keyspace.VIEWS_KEY, keyspace.view_id(view))
    session.command("SET", keyspace.run_key(view, run_id), "writing", "PX", RUN_MARKER_MILLISECONDS)
    return session.steadily(session.servers)


def features_online(command: Callable[..., Any], view: FeatureView, added: Collection[str] = ()) -> set[str]:
    """All features that rows of the view may have, after adding some; none where a row has its key for itself.

    :param command: sends a command to Redis and gives the reply.
    """
    if view.layout != "feast":
        return set()
    if added:
        command("SADD", keyspace.features_key(view), *added)
    return set(map(text, command("SMEMBERS", keyspace.features_key(view))))


def commit_run(
    session: AnySession,
    view: FeatureView,
    run_id: str,
    *,
    run: Mapping[str, Any],
    fingerprint_before: str | None,
    covered: tuple[datetime | None, datetime] | None,
    cursor: datetime | None,
    source: SourceNote | None,
    max_event_timestamp: datetime | None,
    materialized_at: datetime,
    schema: RowSchema,
    servers: frozenset[Server],
    replication: Replication,
) -> datetime | None:
    """End a run whose rows are all acknowledged, in one atomic step.

    :param run: for the history, as JSON.
    :param fingerprint_before: of the definition that the run found online, or ``None`` when it found none.
    :param covered: the part of the source's history that is online now because of the run.
    :param cursor: where the next incremental run begins, or ``None`` to leave that as it is.
    :param source: what the next run needs to know of the source, or ``None`` to leave that as it is.
    :param servers: which :func:`begin_run` found.
    :param replication: what has to be copied before the watermark moves.
    :returns: the watermark, which has moved forward or not at all.
    :raises OnlineDataLostError: Redis no longer knows the run, or is not the server that it was.
    :raises OnlineStoreFullError: Redis has evicted keys since the run began.
    :raises NotReplicatedError: too few replicas have the rows.
    :raises OvertakenError: a run with another definition of the view has ended meanwhile; the next run is a full one.
    """
    defined = json.dumps(definition(view, schema))
    fields = {
        "materialized_at": to_text(materialized_at),
        "layout": view.layout,
        "definition": defined,
        "servers": identities(servers),
        "evicted": json.dumps(evicted_counts(servers)),
        **schema_fields(schema),
    }
    if cursor is not None:
        fields["cursor"] = to_text(cursor)
    if source is not None:
        fields["source"] = json.dumps(source.to_dict())
    start, end = covered or (None, None)
    keys = (keyspace.state_key(view), keyspace.runs_key(view), keyspace.run_key(view, run_id))
    commit: tuple[str | int, ...] = (
        "EVAL",
        scripts.ending("commit_run"),
        len(keys),
        *keys,
        run_id,
        RUNS_KEPT,
        _record(run),
        _optional_text(start),
        _optional_text(end),
        _optional_text(max_event_timestamp),
        fingerprint_before or "",
        _fingerprint(defined),
        _oldest_kept(run),
        *(word for field in fields.items() for word in field),
    )

    evicted = 0

    def check_and_commit() -> Any:
        nonlocal evicted
        # One server is asked on one connection, which breaks if it restarts in between. Of a cluster, the next run
        # finds out: what is recorded are the servers of before.
        now = session.servers()
        if now != servers:
            raise OnlineDataLostError(
                f"feature view {view.name!r}: Redis restarted or failed over while the run was writing, and may have "
                "lost rows; the watermark has not moved -> run again"
            )
        check_evictions(view, servers, now)
        evicted = evicted_since(evicted_counts(servers), now)
        session.await_replicas(keyspace.run_key(view, run_id), replication)
        return session.exchange(*commit)

    watermark = session.steadily(check_and_commit)
    if watermark is None:
        if evicted:  # the run's mark among them, which expires
            raise eviction(view, evicted, servers)
        tells = all(server.evicted is not None for server in servers)
        raise OnlineDataLostError(
            f"feature view {view.name!r}: Redis lost data while the run was writing (flushed or restored"
            + ("?" if tells else ", or evicted keys? by INFO, which it refuses, it would tell")
            + "); the watermark has not moved -> run again"
        )
    if text(watermark) == "overtaken":
        raise OvertakenError(
            f"feature view {view.name!r}: a run with another definition of the view has ended while this one was "
            "writing; the watermark has not moved -> run again, and give the view one definition"
        )
    return from_text(text(watermark)) if watermark else None


def identities(servers: frozenset[Server]) -> str:
    """The servers in one text."""
    return " ".join(sorted(server.identity for server in servers))


def abandon_run(client: Client, view: FeatureView, run_id: str, *, run: Mapping[str, Any]) -> None:
    """End a run that failed: the history tells it, the watermark stays."""
    keys = (keyspace.runs_key(view), keyspace.run_key(view, run_id))
    client.eval(
        scripts.ending("abandon_run"), len(keys), *keys, run_id, RUNS_KEPT, _record(run), _oldest_kept(run)
    )  # fmt: skip


def _record(run: Mapping[str, Any]) -> str:
    """A run as its history keeps it: one that did nothing says so, and by what it may join another such."""
    if run["outcome"] != "success" or run["kind"] != "incremental" or run["rows_read"] or run["entities_pruned"]:
        return json.dumps(run)
    origin = {name: value for name, value in (run.get("origin") or {}).items() if name in ("dag_id", "task_id")}
    same = [run.get("definition"), run.get("held_by"), sorted(origin.items())]
    return json.dumps({**run, "runs": 1, "nothing": _fingerprint(json.dumps(same))[:16]})


def _oldest_kept(run: Mapping[str, Any]) -> str:
    return to_text(from_text(run["ended"]) - RUNS_KEPT_FOR)


def record_schema(session: AnySession, view: FeatureView, schema: RowSchema) -> None:
    """Record how rows look that are about to be written, so that a run after a crash knows what is online."""
    fields = {"layout": view.layout, **schema_fields(schema)}
    session.command("HSET", keyspace.state_key(view), *(word for field in fields.items() for word in field))


def read_runs(client: Client, view: FeatureView, limit: int = RUNS_SHOWN) -> list[dict[str, Any]]:
    """The last runs, newest first."""
    recorded = client.lrange(keyspace.runs_key(view), 0, limit - 1)
    with named(keyspace.runs_key(view)):
        return [_object(run) for run in recorded]


def schema_fields(schema: RowSchema) -> dict[str, str]:
    """The schema as fields of a view's state."""
    columns = asdict(schema, dict_factory=_without_feast)
    del columns["created_resolution"], columns["event_resolution"]
    schema_text = json.dumps(columns)
    return {"schema": schema_text, "schema_fingerprint": _fingerprint(schema_text)}


def _without_feast(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The fields, without the type in Feast where there is none."""
    return {name: value for name, value in fields if name != "feast" or value is not None}


def _fingerprint(told: str) -> str:
    return hashlib.sha256(told.encode()).hexdigest()


def _schema_from(stored_text: str, layout: str | None) -> RowSchema:
    stored = json.loads(stored_text)

    def column(fields: dict[str, str]) -> Column:
        feast = fields.get("feast")
        kind = FeastType(feast) if feast else None
        found = Column(fields["name"], fields["type"], Encoding(fields["encoding"]), kind)
        if layout == "feast" and kind is None and fields in (*stored["keys"], *stored["features"]):
            raise ValueError(f"column {found.name!r} has no type of Feast's")
        if codec_of(found).encoding != found.encoding:  # readers decode by the type
            raise ValueError(f"type {found.type!r} is not written as {found.encoding}")
        return found

    return RowSchema(
        keys=tuple(map(column, stored["keys"])),
        event_timestamp=column(stored["event_timestamp"]),
        created_timestamp=column(stored["created_timestamp"]) if stored["created_timestamp"] else None,
        deleted=column(stored["deleted"]) if stored["deleted"] else None,
        features=tuple(map(column, stored["features"])),
    )


@contextmanager
def named(key: str) -> Iterator[None]:
    """Name the key at which something is that this package does not write."""
    try:
        yield
    except DAMAGE as error:
        raise OnlineDataError(
            f"{key!r} in Redis is damaged ({error}); delete it and materialize with full=True"
        ) from error


def _object(told: str | bytes) -> dict[str, Any]:
    """An object of JSON."""
    found = json.loads(told)
    if not isinstance(found, dict):
        raise TypeError(f"{told[:50]!r} is no object")
    return found


def _counts(told: str) -> dict[str, int]:
    """Numbers by name."""
    return {name: int(count) for name, count in _object(told).items()}


def _instant(stored: Mapping[str, str], field: str) -> datetime | None:
    return from_text(stored[field]) if field in stored else None


def _layout(stored: str | None) -> Layout | None:
    if stored is not None and stored not in LAYOUTS:
        raise ValueError(f"layout {stored!r} is unknown")
    return cast("Layout | None", stored)


def _optional_text(instant: datetime | None) -> str:
    return "" if instant is None else to_text(instant)
