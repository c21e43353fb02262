"""The state of a generation of a feature view, which Redis keeps beside its rows."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, TypeAlias, cast

from online_features.common.instants import from_text
from online_features.errors import OnlineDataError
from online_features.feature_view import FeastOptions, FeatureView, Layout
from online_features.layouts import keyspace
from online_features.layouts.layout_registry import LAYOUTS
from online_features.online.generations._stored_schema import schema_fields, schema_from
from online_features.online.redis.deployment import Deployment, Session
from online_features.online.redis.scripts import state_script
from online_features.resp.replies import text
from online_features.schema import RowSchema
from online_features.source_note import SourceNote

# What parsing raises when this package has not written the text.
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)

MOST_COUNTED = 2**63 - 1  # counters of Redis are 64-bit integers

Gap: TypeAlias = tuple[datetime | None, datetime]  # [start, end); without a start if nothing before it is known

# Fields of the state that are removed with the rows.
CLAIMS = (
    "watermark",
    "cursor",
    "pending",
    "max_event_timestamp",
    "materialized_at",
    "source",
)


@dataclass(frozen=True, kw_only=True)
class ViewState:
    """The state of one generation of a view; all ``None`` before the first materialization.

    :param generation: whose state it is.
    :param watermark: everything in the source up to this instant is online.
    :param cursor: where the next incremental run begins; ``None`` until a run has covered all of history.
    :param max_event_timestamp: the newest event timestamp that was read or pushed, unless it was in the future.
    :param materialized_at: when the last successful run ended.
    :param layout: of the rows.
    :param definition: with which the rows were written; see :func:`.view_definition.definition`.
    :param fingerprint: of the definition.
    :param schema: types of the columns, as of the last run or the first push.
    :param schema_fingerprint: of the schema; a reader with the same one in its cache need not read the schema again.
    :param servers: that held the rows after the last run.
    :param source: the last full or incremental run's note of its source.
    :param evicted: how many keys each of the servers had evicted.
    :param commits: how many runs have committed in it.
    :param is_pushed: whether producers have pushed rows.
    :param rows: that the build of the generation has put online.
    :param bytes: of them in Redis, by estimate.
    :param last_run: id of the last run in the history when the build was registered.
    :param max_staleness: the objective of the view, as of the last run.
    :param verification: the counts of the last verification that was recorded, and when it ended.
    :param pending: windows ``[start, end)`` that runs have covered beyond a gap, and that the watermark leaves out.
    """

    generation: str
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
    commits: int = 0
    is_pushed: bool = False
    rows: int | None = None
    bytes: int | None = None
    last_run: str | None = None
    max_staleness: timedelta | None = None
    verification: Mapping[str, Any] | None = None
    pending: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """What no run has covered before windows that runs have covered, the oldest first."""
        return tuple(_gaps(self.watermark, self.pending))


def read_state(deployment: Deployment, view: FeatureView, generation: str) -> ViewState:
    """Read the state of a generation.

    :raises OnlineDataError: when this package has not written it.
    """
    key = keyspace.generation_key(view, generation)
    stored = deployment.command("HGETALL", key)
    with named(key):
        texts = {text(field): text(value) for field, value in stored.items()}
    return state_from(view, generation, texts)


def state_from(view: keyspace.Named, generation: str, stored: Mapping[str, str]) -> ViewState:
    """Parse the state of a generation; what is not among the fields is ``None``.

    :raises OnlineDataError: when this package has not written it.
    """
    with named(keyspace.generation_key(view, generation)):
        return ViewState(
            generation=generation,
            watermark=_instant(stored, "watermark"),
            cursor=_instant(stored, "cursor"),
            max_event_timestamp=_instant(stored, "max_event_timestamp"),
            materialized_at=_instant(stored, "materialized_at"),
            layout=_layout(stored.get("layout")),
            definition=json_object(stored["definition"]) if "definition" in stored else None,
            fingerprint=stored.get("fingerprint"),
            schema=schema_from(stored["schema"], stored.get("layout")) if "schema" in stored else None,
            schema_fingerprint=stored.get("schema_fingerprint"),
            servers=stored.get("servers"),
            source=SourceNote.from_dict(json_object(stored["source"])) if "source" in stored else None,
            evicted=_counts(stored["evicted"]) if "evicted" in stored else None,
            commits=int(stored.get("commits", 0)),
            is_pushed="pushed" in stored,
            rows=count_from(stored["rows"]) if "rows" in stored else None,
            bytes=count_from(stored["bytes"]) if "bytes" in stored else None,
            last_run=stored.get("last_run"),
            max_staleness=timedelta(seconds=float(stored["max_staleness"])) if stored.get("max_staleness") else None,
            verification=_verification(stored["verification"]) if "verification" in stored else None,
            pending=_windows(stored["pending"]) if "pending" in stored else (),
        )


def as_online(view: FeatureView, layout: Layout | None) -> FeatureView:
    """Return the view in the layout of its rows online, which its next run may change."""
    if layout in (None, view.layout):
        return view
    return replace(view, layout=layout, feast=FeastOptions())


def features_online(command: Callable[..., Any], view: FeatureView, added: Collection[str] = ()) -> set[str]:
    """Add features to those that rows of the view may have, and return them all; empty unless the layout records them.

    :param command: sends a command to Redis and returns the reply.
    """
    if not LAYOUTS[view.layout].records_features:
        return set()
    if added:
        command("SADD", keyspace.features_key(view), *added)
    return set(map(text, command("SMEMBERS", keyspace.features_key(view))))


def record_schema(session: Session, view: FeatureView, generation: str, schema: RowSchema) -> None:
    """Record the schema of rows before they are written, so that a run after a crash finds out what is online."""
    fields = {"layout": view.layout, **schema_fields(schema)}
    words = [word for field in fields.items() for word in field]
    session.command("HSET", keyspace.generation_key(view, generation), *words)


def record_verification(deployment: Deployment, view: FeatureView, generation: str, counts: Mapping[str, Any]) -> None:
    """Record the counts of a verification, until the next one or the end of the generation."""
    key = keyspace.generation_key(view, generation)
    deployment.command(*state_script("record_verification").call_in_full([key], [json.dumps(counts)]))


def forget_definition(session: Session, view: FeatureView, generation: str) -> None:
    """Remove the definition before rows of another one are written, so that every run is full until one has ended."""
    session.command("HDEL", keyspace.generation_key(view, generation), "definition", "fingerprint", "cursor")


@contextmanager
def named(key: str) -> Iterator[None]:
    """Raise our error, naming the key, for what this package has not written.

    :raises OnlineDataError: in place of one of :data:`DAMAGE`.
    """
    try:
        yield
    except DAMAGE as error:
        raise OnlineDataError(
            f"{key!r} in Redis is damaged ({error}); delete it and materialize with full=True"
        ) from error


def json_object(stored: str | bytes) -> dict[str, Any]:
    """Parse a JSON object.

    :raises TypeError: when it is other JSON.
    """
    found = json.loads(stored)
    if not isinstance(found, dict):
        raise TypeError(f"{stored[:50]!r} is not a JSON object")
    return found


def count_from(stored: str) -> int:
    """Parse a count.

    :raises ValueError: when it is negative, or more than Redis can count.
    """
    found = int(stored)
    if not 0 <= found <= MOST_COUNTED:
        raise ValueError(f"{stored[:50]!r} is not a count")
    return found


def _verification(stored: str) -> dict[str, Any]:
    """Parse the counts of a verification: whole numbers, shares by feature, and an instant."""
    found = json_object(stored)
    from_text(found["verified_at"])
    for name, count in found.items():
        if name not in ("verified_at", "features") and type(count) is not int:
            raise TypeError(f"{name}: {count!r} is not a count")
    return found


def _windows(stored: str) -> tuple[tuple[datetime, datetime], ...]:
    return tuple((from_text(start), from_text(end)) for start, end in json.loads(stored))


def _gaps(watermark: datetime | None, pending: Iterable[tuple[datetime, datetime]]) -> Iterator[Gap]:
    covered = watermark
    for start, end in sorted(pending):
        if covered is None or covered < start:
            yield covered, start
        covered = end if covered is None else max(covered, end)


def _counts(stored: str) -> dict[str, int]:
    return {name: int(count) for name, count in json_object(stored).items()}


def _instant(stored: Mapping[str, str], field: str) -> datetime | None:
    return from_text(stored[field]) if field in stored else None


def _layout(stored: str | None) -> Layout | None:
    if stored is not None and stored not in LAYOUTS:
        raise ValueError(f"layout {stored!r} is unknown")
    return cast("Layout | None", stored)
