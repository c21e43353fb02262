"""``make demo``: materialize real data twice through Airflow, and show and check the result."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from online_features import OnlineRow, OnlineStore
from online_features.embedded import packaged_redis_cli, postgres_server, redis_server
from online_features.layouts import keyspace
from rich import box
from rich.console import Console
from rich.table import Table

from demo.airflow import DemoAirflow
from demo.flights import Flights
from demo.workplace import PROJECT, unwind_on_signals, workplace

sys.path.insert(0, str(PROJECT / "dags_examples"))
from flights_views import airport_weather, plane_trips

HELD_BACK = timedelta(days=1)
MAX_LAG = timedelta(minutes=10)
PLANES_SHOWN = 3
SHOWN_OF_GENERATION = ("layout", "rows", "watermark")
FEATURES_SHOWN = ("carrier", "flight", "origin", "dest", "dep_delay")

console = Console(width=80, highlight=False)


def main() -> None:
    """Run the demo.

    :raises SystemExit: if a check fails.
    """
    unwind_on_signals()
    with workplace("demo") as folder, postgres_server(folder) as postgres_uri, redis_server(folder) as redis_url:
        console.print(f"Postgres {_without_login(postgres_uri)}, Redis {redis_url}")
        airflow = DemoAirflow(folder / "airflow", postgres_uri=postgres_uri, redis_url=redis_url)
        flights = Flights(postgres_uri)
        online = OnlineStore.from_url(redis_url)
        forget_earlier_demos(redis_url)

        with step("Airflow's metadata database made"):
            airflow.run("db", "migrate")
        with step("336,776 flights and 26,115 hours of weather loaded, last day held back"):
            flights.stage()
            flights.release(HELD_BACK)
        with step("First DAG run: all of history"):
            airflow.run("dags", "test", "flights_features")
        show_runs(online, "First run: full")
        check_runs(online, kind="full", expected=flights.entities_created_since(None))

        released_at = datetime.now(UTC)
        with step("Last day loaded"):
            flights.release(timedelta(0))
        with step("Second DAG run: what came since"):
            airflow.run("dags", "test", "flights_features")
        show_runs(online, "Second run: incremental")
        check_runs(online, kind="incremental", expected=flights.entities_created_since(released_at))

        show_freshness(online)
        show_planes(online, flights)
        show_keys(redis_url, online.state(airport_weather).generation)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Print what was done and how long it took, when it is done."""
    began = time.monotonic()
    with console.status(f"{what} …"):
        yield
    console.print(f"{what} [dim]({time.monotonic() - began:.1f} s)[/]")


def forget_earlier_demos(redis_url: str) -> None:
    """Delete what an earlier demo left in a Redis that was running before."""
    client = redis.Redis.from_url(redis_url)
    for view in (plane_trips, airport_weather):
        for key in client.scan_iter(f"*{view.project}:{view.name}*", count=1000):
            client.delete(key)


def show_runs(online: OnlineStore, title: str) -> None:
    """Print a table of the last run of each view."""
    table = _table(title)
    for column in ("view", "read", "written", "stale", "rejected", "seconds", "rows/s"):
        table.add_column(column, justify="left" if column == "view" else "right")
    for view in (plane_trips, airport_weather):
        run = online.runs(view)[0]
        counts = [f"{run[f'rows_{outcome}']:,}" for outcome in ("read", "written", "stale", "rejected")]
        table.add_row(view.name, *counts, f"{run['seconds']:.2f}", f"{run['rows_read'] / run['seconds']:,.0f}")
    console.print(table)


def check_runs(online: OnlineStore, *, kind: str, expected: dict[str, int]) -> None:
    """Compare the last run of each view with Postgres."""
    for view in (plane_trips, airport_weather):
        run = online.runs(view)[0]
        outcomes = sum(run[f"rows_{outcome}"] for outcome in ("written", "stale", "expired", "deleted", "rejected"))
        check(run["outcome"] == "success" and run["kind"] == kind, f"{view.name}: a successful {kind} run", run)
        check(run["rows_read"] == outcomes, f"{view.name}: every row in one counter", run)
        check(run["rows_written"] == expected[view.name], f"{view.name}: {expected[view.name]} rows written", run)


def show_freshness(online: OnlineStore) -> None:
    """Print watermark and lag of each view."""
    table = _table("Freshness, measured in Redis")
    for column in ("view", "watermark (UTC)", "lag", "newest event (UTC)"):
        table.add_column(column)
    for view in (plane_trips, airport_weather):
        fresh = online.freshness(view)
        check(fresh.lag is not None and timedelta(0) <= fresh.lag < MAX_LAG, f"{view.name} is fresh", fresh)
        assert fresh.lag is not None
        assert fresh.watermark is not None
        assert fresh.max_event_timestamp is not None
        table.add_row(view.name, f"{fresh.watermark:%Y-%m-%d %H:%M:%S}", f"{fresh.lag.total_seconds():.1f} s",
                      f"{fresh.max_event_timestamp:%Y-%m-%d %H:%M}")  # fmt: skip
    console.print(table)


def show_planes(online: OnlineStore, flights: Flights) -> None:
    """Print rows read from Redis and compare them with Postgres."""
    newest = flights.newest(PLANES_SHOWN)
    rows = online.get_online_features(plane_trips, [{"tailnum": flight["tailnum"]} for flight in newest])
    table = _table("Features of three planes, read from Redis")
    for column in ("tailnum", "event (UTC)", *FEATURES_SHOWN):
        table.add_column(column)
    for flight, row in zip(newest, rows, strict=True):
        check(_is_same(flight, row), f"{flight['tailnum']}: Redis holds the newest row of Postgres", row)
        table.add_row(str(flight["tailnum"]), f"{row.event_timestamp:%m-%d %H:%M}",
                      *(str(row.values[feature]) for feature in FEATURES_SHOWN))  # fmt: skip
    console.print(table)


def show_keys(redis_url: str, generation: str) -> None:
    """Print a command to try by hand, and its output."""
    key = keyspace.generation_key(airport_weather, generation)
    redis_cli = packaged_redis_cli()
    command = [str(redis_cli), "-u", redis_url, "HMGET", key, *SHOWN_OF_GENERATION]
    console.print(f"By hand, with {os.path.relpath(redis_cli)}, while the server runs (make up keeps one):")
    console.print(f"[bold]{redis_cli.name} {shlex.join(command[1:])}[/]", soft_wrap=True)
    console.print(subprocess.run(command, capture_output=True, text=True, check=True).stdout, style="dim", end="")
    console.print("\n[bold green]Everything above held.[/]")


def check(holds: bool, claim: str, evidence: Any) -> None:
    """Stop the demo if a claim does not hold.

    :raises SystemExit: naming the claim.
    """
    if not holds:
        raise SystemExit(f"This did not hold: {claim}\n{evidence}")


def _table(title: str) -> Table:
    return Table(title=f"\n[bold]{title}[/]", title_justify="left", title_style="", box=box.SIMPLE_HEAD, padding=(0, 1))


def _is_same(flight: dict[str, Any], row: OnlineRow) -> bool:
    return row.event_timestamp == flight["event_timestamp"] and all(
        value == flight[feature] for feature, value in row.values.items()
    )


def _without_login(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
