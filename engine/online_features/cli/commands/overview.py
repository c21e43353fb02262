"""How views are: all of them, and one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from online_features.cli import options, output
from online_features.cli.entry import ATTENTION
from online_features.cli.row_count import count_rows
from online_features.errors import OnlineDataError, OptionError
from online_features.online.read.overview.stored_view import StoredView
from online_features.online.read.overview.view_summary import Condition, ViewSummary
from online_features.online.store import OnlineStore
from online_features.schema import RowSchema
from online_features.verification.report import SKEW


def status(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Only views whose project:name contains this.")] = "",
    *,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only views in this state; may be given again.")
    ] = None,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell how all views are, the most urgent first.

    The exit code is 1 if a view is late or damaged, or if Redis holds no view.
    """
    if unknown := set(state or ()).difference(Condition):
        raise OptionError(f"state {min(unknown)!r} is unknown -> choose of {', '.join(Condition)}")
    found = options.online_store(redis, conn_id).overview()
    shown = [each for each in found if text in str(each) and (not state or each.condition in state)]
    shown.sort(key=lambda each: (each.condition.urgency, str(each)))
    if as_json:
        output.print_json({"views": list(map(_summary, shown))})
    elif found:
        _tell(shown, len(found))
    is_missing = not any(text in str(each) for each in found)  # a Redis that was flushed must not look well
    if is_missing:
        output.tell(
            f"no view's name contains {text!r}" if found else
            "This Redis holds no feature view -> is it the right server and database?"
        )  # fmt: skip
    alarming = [each for each in shown if each.is_late or each.condition == Condition.DAMAGED]
    if alarming:
        output.tell(f"late or damaged: {', '.join(map(str, alarming))}")
    if alarming or is_missing:
        raise typer.Exit(ATTENTION)


def show(
    view: options.View,
    *,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell all that Redis holds of a view beside its rows."""
    online = options.online_store(redis, conn_id)
    summary = online.summary(view)
    stored = _stored(online, summary)
    if as_json:
        output.print_json({**_summary(summary), **_definition(summary, stored)})
        return
    output.print_facts(_facts(summary, stored), title=str(summary))
    schema = summary.state.schema if summary.state else None
    if schema is not None:
        output.print_line("")
        output.print_table(("column", "type", "part"), _columns(schema))


def count(
    view: options.View,
    *,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Count the rows of the published generation.

    This scans all keys of the Redis, in small steps. Tombstones of deleted entities are counted apart.
    """
    online = options.online_store(redis, conn_id)
    found = online.stored_view(view).view
    counted = count_rows(online, found)
    built = online.state(found).rows
    if as_json:
        output.print_json({
            "view": str(found), "generation": counted.generation, "rows": counted.rows,
            "tombstones": counted.tombstones, "rows_built": built,
        })  # fmt: skip
        return
    output.print_facts(
        {
            "rows online": counted.rows, "tombstones": counted.tombstones, "generation": counted.generation,
            "written by its build": built,
        },
        title=str(found),
    )  # fmt: skip


COMMANDS = (status, show, count)


def _tell(shown: Sequence[ViewSummary], known: int) -> None:
    """Print summaries, and how many views there are in each state."""
    if shown:
        columns = ("state", "view", "lag", "objective", "rows", "bytes", "last run", "skew", "reason")
        output.print_table(columns, map(_line, shown))
    counts = Counter(each.condition for each in shown)
    told = ", ".join(f"{counts[each]} {each}" for each in Condition if counts[each])
    output.print_line(f"{len(shown)} of {known} views: {told or 'none'}")


def _line(summary: ViewSummary) -> list[Any]:
    run = summary.last_run or {}
    return [
        str(summary.condition),
        str(summary),
        summary.freshness.lag,
        summary.max_staleness,
        summary.rows,
        output.size_cell(summary.bytes),
        run.get("outcome"),
        _skew(summary),
        output.in_one_line(summary.reason),
    ]


def _skew(summary: ViewSummary) -> str | None:
    """Return how many rows the last verification found to differ, of how many."""
    found = summary.state.verification if summary.state else None
    if not found:
        return None
    return f"{sum(found.get(kind) or 0 for kind in SKEW):,} of {found.get('rows_compared', 0):,}"


def _summary(summary: ViewSummary) -> dict[str, Any]:
    """Return a summary as documented in docs/command.md."""
    fresh = summary.freshness
    return {
        "view": str(summary),
        "project": summary.project,
        "name": summary.name,
        "state": summary.condition,
        "reason": summary.reason,
        "is_late": summary.is_late,
        "lag_seconds": fresh.lag,
        "max_staleness_seconds": summary.max_staleness,
        "watermark": fresh.watermark,
        "newest_event": fresh.max_event_timestamp,
        "materialized_at": fresh.materialized_at,
        "generation": summary.generation,
        "rows": summary.rows,
        "bytes": summary.bytes,
        "last_run": summary.last_run,
        "verification": summary.state.verification if summary.state else None,
    }


def _stored(online: OnlineStore, summary: ViewSummary) -> StoredView | None:
    try:
        return online.stored_view(str(summary))
    except OnlineDataError:
        return None  # the summary says what is damaged


def _definition(summary: ViewSummary, stored: StoredView | None) -> dict[str, Any]:
    schema = summary.state.schema if summary.state else None
    hold = summary.generations.hold if summary.generations else None
    source = stored.view.source if stored and stored.has_source else None
    return {
        "layout": stored.view.layout if stored else None,
        "ttl_seconds": stored.view.ttl if stored else None,
        "transform": stored.transform if stored else None,
        "table": source.table if source else None,
        "query": source.query if source else None,
        "columns": [dict(zip(("name", "type", "part"), each, strict=True)) for each in _columns(schema)]
        if schema
        else [],
        "builder": summary.generations.builder if summary.generations else None,
        "held_since": hold.since if hold else None,
        "written_by": _written_by(summary),
    }


def _facts(summary: ViewSummary, stored: StoredView | None) -> dict[str, Any]:
    told, known = _summary(summary), _definition(summary, stored)
    run = summary.last_run or {}
    return {
        "state": str(summary.condition),
        "reason": output.lines(summary.reason) if summary.reason else None,
        "lag": summary.freshness.lag,
        "objective": summary.max_staleness,
        "watermark (UTC)": told["watermark"],
        "newest event (UTC)": told["newest_event"],
        "materialized at (UTC)": told["materialized_at"],
        "last run": _last_run(run) if run else None,
        "error": output.lines(run["error"]) if run.get("error", summary.reason) != summary.reason else None,
        "generation": summary.generation,
        "rows": summary.rows,
        "bytes": output.size_cell(summary.bytes),
        "skew": _skew(summary),
        "held since (UTC)": known["held_since"],
        "building": known["builder"],
        "layout": known["layout"],
        "time to live": known["ttl_seconds"],
        "transform": known["transform"],
        "table": known["table"],
        "query": known["query"],
        "written by": known["written_by"],
    }


def _last_run(run: Mapping[str, Any]) -> str:
    kind = f", {run['kind']}" if run.get("kind") else ""
    return f"{run['outcome']}{kind}, {run.get('rows_written', 0):,} rows written"


def _written_by(summary: ViewSummary) -> dict[str, Any] | None:
    """Return the origin of the last run, or of the published generation."""
    if summary.last_run and summary.last_run.get("origin"):
        return dict(summary.last_run["origin"])
    known = summary.generations.get(summary.generation or "") if summary.generations else None
    return dict(known.origin) if known and known.origin else None


def _columns(schema: RowSchema) -> list[tuple[str, str, str]]:
    parts = [
        *((key, "join key") for key in schema.keys),
        (schema.event_timestamp, "event timestamp"),
        *((each, "created timestamp") for each in [schema.created_timestamp] if each),
        *((each, "deleted") for each in [schema.deleted] if each),
        *((each, "feature") for each in schema.features),
    ]
    return [(column.name, column.type, part) for column, part in parts]
