"""The trigger that watches a feature view's source, for an :class:`~airflow.sdk.AssetWatcher`."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Sequence
from contextlib import aclosing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeGuard

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from asgiref.sync import sync_to_async
from online_features.common.backoff import Backoff
from online_features.common.log_lines import say
from online_features.errors import OnlineFeaturesError
from online_features.feature_view import FeatureView, PostgresSource
from online_features.offline.notifications import is_among, watched_table

from online_features_provider.triggers._debounce import debounce
from online_features_provider.view_reference import feature_view_of

if TYPE_CHECKING:
    from online_features.offline.store import OfflineStore

QUIET_SECONDS = 0.5  # without a commit, that end a burst
INTERVAL_SECONDS = 10.0  # between two events: about the duration of the run that an event starts
OUTAGE_BACKOFF = Backoff(base=1.0, longest=60.0, jitter=0.5)  # between attempts while Postgres cannot be reached


class FeatureViewChangeTrigger(BaseEventTrigger):
    """Fire whenever rows have been committed to the source of a feature view.

    The trigger listens to the notifications that :func:`~online_features.notification_sql` sets up. Whenever it
    begins to listen, it also queries the source for rows committed before. The event is ``{"project": …,
    "feature_view": …, "reason": "committed" | "found"}``.

    :param feature_view: the view whose source to watch, or its import path.
    :param tables: tables to watch; by default the view's table. Required if the view reads a query.
    :param postgres_conn_id: Airflow connection of the offline store. From Airflow 3.3 on, all triggers of a connection
        share one session.
    :param redis_conn_id: Airflow connection of the online store, whose cursor says which rows are online.
    :param quiet_seconds: seconds without a commit that end a burst of commits.
    :param interval_seconds: least seconds between two events; a longer burst is cut.
    :raises FeatureViewError: when the view reads a query and no tables are given.
    """

    def __init__(
        self,
        *,
        feature_view: FeatureView | str,
        tables: Sequence[str] | None = None,
        postgres_conn_id: str = "offline_store",
        redis_conn_id: str = "online_store",
        quiet_seconds: float = QUIET_SECONDS,
        interval_seconds: float = INTERVAL_SECONDS,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.view = _load(feature_view) if _is_dumped(feature_view) else feature_view_of(feature_view)
        self.tables = list(tables) if tables else [watched_table(self.view)]
        self.postgres_conn_id = postgres_conn_id
        self.redis_conn_id = redis_conn_id
        self.quiet_seconds = quiet_seconds
        self.interval_seconds = interval_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments; of the view, only the fields that finding pending rows needs."""
        names = ("tables", "postgres_conn_id", "redis_conn_id", "quiet_seconds", "interval_seconds")
        arguments = {"feature_view": _dump(self.view), **{name: getattr(self, name) for name in names}}
        return f"{__name__}.{type(self).__name__}", arguments

    def shared_stream_key(self) -> Hashable:
        """Return the key of the session that triggers of one Postgres connection share."""
        return __name__, self.postgres_conn_id

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncGenerator[frozenset[str], None]:
        """Yield the tables that have changed, and an empty set when listening begins, until closed."""
        conn_id, failures = kwargs["postgres_conn_id"], 0
        while True:
            try:
                async with aclosing(await _in_a_thread(_changed_tables, conn_id)) as changes:
                    async for tables in changes:
                        failures = 0
                        yield tables
            except Exception as error:  # noqa: BLE001 - whatever fails, listen again
                delay = OUTAGE_BACKOFF.delay(failures, random.random())  # noqa: S311 - spreads attempts in time
                failures += 1
                say(cls.logger().warning, f"Connection {conn_id!r}: {error}")
                cls.logger().warning("Listening again in %.0f s", delay)
                await asyncio.sleep(delay)

    async def filter_shared_stream(self, shared_stream: AsyncIterator[frozenset[str]]) -> AsyncIterator[TriggerEvent]:
        """Fire once for each burst of changes of the view's tables."""
        gathered = debounce(
            self._changes(shared_stream), quiet_seconds=self.quiet_seconds, interval_seconds=self.interval_seconds
        )
        async with aclosing(gathered):
            async for burst in gathered:
                committed = any(burst)
                if committed or await _in_a_thread(self._has_pending_rows):
                    yield TriggerEvent({
                        "project": self.view.project, "feature_view": self.view.name,
                        "reason": "committed" if committed else "found",
                    })  # type: ignore[no-untyped-call]  # fmt: skip

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire on a session of this trigger's own, where Airflow does not share streams."""
        async with aclosing(self.open_shared_stream(self.serialize()[1])) as stream:
            async for event in self.filter_shared_stream(stream):
                yield event

    async def _changes(self, shared_stream: AsyncIterator[frozenset[str]]) -> AsyncIterator[bool]:
        """Yield True when the view's tables have changed, and False when they may have."""
        yield False  # The shared session may have begun to listen before this trigger.
        async for changed in shared_stream:
            if not changed:
                yield False
            elif any(is_among(changed, table) for table in self.tables):
                yield True

    def _has_pending_rows(self) -> bool:
        # Imported here, in a thread: loading drivers would block the event loop.
        from online_features.materialization.pending import has_pending_rows

        from online_features_provider.hooks.online import OnlineStoreHook

        try:
            offline = _offline_store(self.postgres_conn_id)
            self._warn_of_missing_notifications(offline)
            return has_pending_rows(self.view, offline, OnlineStoreHook(redis_conn_id=self.redis_conn_id).get_store())
        except OnlineFeaturesError as error:
            # A run meets the same error, and shows it to the user.
            say(self.log.warning, str(error))
            self.log.warning("Firing an event, since it is unknown whether there are pending rows")
            return True

    def _warn_of_missing_notifications(self, offline: OfflineStore) -> None:
        for table in self.tables:
            if not offline._source(self.view).announces_changes(table):
                say(
                    self.log.warning,
                    f"Feature view {self.view.name!r}: Postgres does not notify of changes of table {table!r} -> run "
                    f"the SQL that online_features.notification_sql({table!r}) returns",
                )


async def _in_a_thread(function: Any, *arguments: Any) -> Any:
    # By asgiref: its threads can look up connections through the triggerer's event loop.
    return await sync_to_async(function, thread_sensitive=False)(*arguments)


def _offline_store(conn_id: str) -> OfflineStore:
    from online_features_provider.hooks.offline import OfflineStoreHook

    return OfflineStoreHook(postgres_conn_id=conn_id).get_store()


def _changed_tables(conn_id: str) -> AsyncGenerator[frozenset[str], None]:
    return _offline_store(conn_id)._changed_tables()


def _dump(view: FeatureView) -> str:
    """Return the fields of a view as JSON: Airflow 3.2 cannot read back a dictionary among a watcher's arguments."""
    return json.dumps({
        "project": view.project, "name": view.name, "entities": list(view.entities), "source": asdict(view.source)
    })  # fmt: skip


def _is_dumped(feature_view: object) -> TypeGuard[str]:
    return isinstance(feature_view, str) and feature_view.startswith("{")


def _load(dumped: str) -> FeatureView:
    fields = json.loads(dumped)
    return FeatureView(**{**fields, "source": PostgresSource(**fields["source"])})
