"""What the page of a view shows: read from Redis alone."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from online_features.common.instants import from_text
from online_features.errors import OnlineDataError
from online_features.online.generations.generation_list import (
    COMPLETE,
    Generation,
    GenerationList,
    GenerationState,
)
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.read.overview.view_summary import QUIET_OUTCOMES, ViewSummary
from online_features.online.store import OnlineStore
from online_features.statistics.view_statistics import ViewStatistics

RUNS_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of the history.

    :param record: as Redis holds it; docs/keyspace.md lists its fields.
    """

    record: Mapping[str, Any]
    began: datetime
    ended: datetime
    watermark: datetime | None

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Run:
        """Parse a record."""
        watermark = record.get("watermark")
        return cls(
            record=record,
            began=from_text(record["began"]),
            ended=from_text(record["ended"]),
            watermark=from_text(watermark) if watermark else None,
        )

    @property
    def id(self) -> str:
        """Its id, short enough for an anchor."""
        return str(self.record["run_id"])[:12]

    @property
    def is_failed(self) -> bool:
        """Whether it ended with an error."""
        return self.record["outcome"] not in QUIET_OUTCOMES

    @property
    def moved_watermark(self) -> datetime:
        """When it moved the watermark; of several runs in one record, when the first did, which read nothing."""
        return self.began if self.record.get("runs", 1) > 1 else self.ended

    @property
    def seconds(self) -> timedelta:
        """How long it took."""
        return timedelta(seconds=self.record["seconds"])


@dataclass(frozen=True, kw_only=True)
class ViewPage:
    """A view, its runs, and the statistics of two of its generations.

    :param stored: its definition; ``None`` if nothing is online.
    :param runs: the newest first.
    :param older: the generation to compare with; ``None`` if there is none.
    :param newer: the generation that is compared.
    :param statistics: of the two, as far as there are any.
    :param commands: lines for a shell that publish, roll back or release, with what each does.
    """

    summary: ViewSummary
    stored: StoredView | None
    runs: Sequence[Run]
    older: Generation | None
    newer: Generation | None
    statistics: tuple[ViewStatistics | None, ViewStatistics | None]
    commands: Mapping[str, str]

    @property
    def last_checks(self) -> tuple[Run, Sequence[Mapping[str, Any]]] | None:
        """The newest run that was judged by checks, and their results."""
        return next(((run, run.record["checks"]) for run in self.runs if run.record.get("checks")), None)


def read_view(store: OnlineStore, name: str, conn_id: str, *, compared: str = "") -> ViewPage:
    """Read a view.

    :param name: ``project:view``.
    :param conn_id: of its Redis, for the commands.
    :param compared: the generation to compare with the published one; by default a newer build that is not published,
        or the one that was published before.
    :raises UnknownViewError: when Redis has no such view.
    """
    summary = store.summary(name)
    try:
        stored = store.stored_view(name)
    except OnlineDataError:  # the summary says what is damaged
        stored = None
    records = store.runs(stored.view, RUNS_SHOWN) if stored else [summary.last_run] if summary.last_run else []
    older, newer = _pair(summary.generations, compared) if summary.generations else (None, None)
    return ViewPage(
        summary=summary,
        stored=stored,
        runs=[Run.of(record) for record in records],
        older=older,
        newer=newer,
        statistics=(_statistics(store, stored, older), _statistics(store, stored, newer)),
        commands=_commands(name, conn_id, summary.generations) if summary.generations else {},
    )


def _pair(found: GenerationList, compared: str) -> tuple[Generation | None, Generation | None]:
    """Return the published generation and the one it is compared with, the older one first."""
    published = found.get(found.published)
    unpublished = [each for each in found.generations if each.state in COMPLETE and each.id > found.published]
    before = found.get(published.before) if published and published.before else None
    other = found.get(compared) if compared else unpublished[-1] if unpublished else before
    pair = sorted((each for each in (published, other) if each is not None), key=lambda each: each.id)
    return (pair[0], pair[1]) if len(pair) > 1 else (None, pair[0] if pair else None)


def _statistics(store: OnlineStore, stored: StoredView | None, of: Generation | None) -> ViewStatistics | None:
    return store.statistics(stored.view, of.id) if stored and of else None


def _commands(name: str, conn_id: str, found: GenerationList) -> dict[str, str]:
    """Return what can be done to a view, each with the line to type."""
    view, at = shlex.quote(name), f"--conn-id {shlex.quote(conn_id)}"
    commands = {}
    for known in found.generations:
        if known.state in COMPLETE:
            chosen = shlex.quote(f"{name.partition(':')[2]}={known.id}")
            is_refused = known.state == GenerationState.REFUSED
            although, forced = (" although it failed checks", " --ignore-checks") if is_refused else ("", "")
            commands[f"publish generation {known.id}{although}"] = (
                f"online-features publish {view} --generation {chosen}{forced} {at}"
            )
    published = found.get(found.published)
    before = found.get(published.before) if published and published.before else None
    if before is not None and before.state != GenerationState.RETIRED:
        commands[f"go back to generation {before.id}"] = f"online-features rollback {view} {at}"
    if found.hold:
        commands["end the hold; the next run is a full one"] = f"online-features release {view} {at}"
    return commands
