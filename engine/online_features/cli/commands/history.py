"""Subcommands that tell the runs, the generations and the statistics of a view."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Annotated, Any

import typer

from online_features.cli import options, output
from online_features.errors import OptionError
from online_features.online.generations.generation_list import Generation, GenerationState
from online_features.online.generations.runs import RUNS_KEPT
from online_features.statistics.view_statistics import FeatureStatistics

COUNTS = ("read", "written", "stale", "expired", "deleted", "rejected")
ALWAYS = ("read", "written")  # are shown also if there are none
MEDIAN = 50  # percent
USUAL_RUNS = 3  # fewer successes of a kind do not say what is usual


def runs(
    view: options.View,
    *,
    limit: Annotated[int, typer.Option("--limit", min=1, max=RUNS_KEPT, help="How many runs, the newest first.")] = 20,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell what the last runs did, and what is usual."""
    online = options.online_store(redis, conn_id)
    found = online.stored_view(view).view
    records = online.runs(found, limit)
    usual = _usual(records)
    if as_json:
        output.print_json({"view": str(found), "runs": records, "usual": usual})
        return
    counts = [each for each in COUNTS if each in ALWAYS or any(run.get(f"rows_{each}") for run in records)]
    columns = ("began (UTC)", "outcome", "kind", *counts, "seconds", "generation", "by", "error")
    output.print_table(columns, (_run_line(run, counts) for run in records), title=str(found), folding=2)
    for kind, each in usual.items():
        output.print_line(
            f"The last {kind} run wrote {each['last']:,} rows; the {each['runs']} before it wrote {each['median']:,} "
            f"in the median, {each['least']:,} to {each['most']:,}."
        )


def generations(
    view: options.View,
    *,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """List the generations that Redis holds."""
    online = options.online_store(redis, conn_id)
    found = online.stored_view(view).view
    known = online.generations(found)
    if as_json:
        listed = [{**vars(each), "origin": each.origin} for each in known.generations]
        output.print_json({
            "view": str(found), "published": known.published, "builder": known.builder, "needs_full": known.needs_full,
            "held_since": known.hold.since if known.hold else None, "generations": listed,
        })  # fmt: skip
        return
    columns = ("generation", "state", "rows", "bytes", "watermark (UTC)", "published (UTC)",
               "before it", "by", "note")  # fmt: skip
    lines = (_generation_line(each, known.builder) for each in reversed(known.generations))
    output.print_table(columns, lines, title=str(found))
    if known.hold:
        output.print_line(
            f"Held since {output.value_text(known.hold.since)}: runs do not publish. "
            f"End that: online-features release {found}"
        )


def stats(
    view: options.View,
    *,
    generation: options.GenerationId = None,
    redis: options.Redis = None,
    conn_id: options.ConnId = None,
    as_json: options.AsJson = False,
) -> None:
    """Tell what a full run has measured of each feature."""
    online = options.online_store(redis, conn_id)
    found = online.stored_view(view).view
    measured = online.statistics(found, generation)
    if measured is None:
        which = f"generation {generation}" if generation else "the published generation"
        raise OptionError(f"feature view {found.name!r}: nothing was measured of {which} -> only full runs measure")
    if as_json:
        features = {name: _statistics(each) for name, each in measured.features.items()}
        output.print_json({
            "view": str(found), "generation": generation or online.state(found).generation, "rows": measured.rows,
            "sampled": measured.sampled, "features": features,
        })  # fmt: skip
        return
    columns = ("feature", "type", "NULL", "zero", "not finite", "minimum", "median", "mean", "deviation", "maximum",
               "commonest")  # fmt: skip
    lines = (_feature_line(name, each) for name, each in measured.features.items())
    output.print_table(columns, lines, title=f"{found}: {measured.rows:,} rows")


COMMANDS = (runs, generations, stats)


def _usual(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return, by kind of run, what the last success wrote and what those before it did, if there are some."""
    usual = {}
    for kind in ("full", "incremental"):
        written = [run["rows_written"] for run in records if run["outcome"] == "success" and run.get("kind") == kind]
        last, before = written[:1], written[1:]
        if len(before) >= USUAL_RUNS:
            usual[kind] = {"last": last[0], "runs": len(before), "median": int(median(before)),
                           "least": min(before), "most": max(before)}  # fmt: skip
    return usual


def _run_line(run: dict[str, Any], counts: Sequence[str]) -> list[Any]:
    seconds = output.number(f"{run['seconds']:.2f}")
    return [
        run["began"][:19].replace("T", " "), run["outcome"], run.get("kind"),
        *(run.get(f"rows_{each}") for each in counts), seconds,
        run.get("generation"), _by(run.get("origin")), output.in_one_line(run.get("error", "")),
    ]  # fmt: skip


def _generation_line(known: Generation, builder: str | None) -> list[Any]:
    note = (
        "its run is gone; the next full run replaces it"
        if _is_abandoned(known, builder)
        else known.failure or (f"published in spite of {known.ignored}" if known.ignored else "")
    )
    return [
        known.id, str(known.state), known.rows, output.size_cell(known.bytes), known.watermark,
        known.published, known.before, _by(known.origin), note,
    ]  # fmt: skip


def _is_abandoned(known: Generation, builder: str | None) -> bool:
    """Return whether nobody builds a generation any more that is listed as being built."""
    return known.state == GenerationState.BUILDING and known.run_id != builder


def _by(origin: Any) -> str:
    """Return who asked for it: the task in Airflow, the user of the command, or whatever is recorded."""
    match origin:
        case None:
            return ""
        case {"dag_id": dag, "task_id": task}:
            return f"{dag}.{task}"
        case {"command": _, "user": user}:
            return str(user)
        case _:
            return ", ".join(map(str, dict(origin).values()))


def _statistics(measured: FeatureStatistics) -> dict[str, Any]:
    histogram, commonest = measured.histogram, measured.commonest
    return {
        **vars(measured),
        "null_share": measured.null_share,
        "histogram": vars(histogram) if histogram else None,
        "commonest": [vars(each) for each in commonest] if commonest is not None else None,
    }


def _feature_line(name: str, measured: FeatureStatistics) -> list[Any]:
    commonest = measured.commonest[0] if measured.commonest else None
    return [
        name, measured.type, output.number(f"{measured.null_share:.1%}"), measured.zeros, measured.not_finite,
        _number(measured.minimum), _number((measured.quantiles or {}).get(MEDIAN)), _number(measured.mean),
        _number(measured.deviation), _number(measured.maximum),
        f"{output.value_text(commonest.value)} ({commonest.share:.1%})" if commonest else None,
    ]  # fmt: skip


def _number(value: Any) -> Any:
    """Return a measure as a cell; seven digits tell what people look for."""
    return output.number(f"{value:.7g}") if isinstance(value, float) else value
