"""``make docs``: run the commands that docs/command.md shows, and write what they print into it.

A block of the page is a command behind ``$ `` and what it printed. Times, sizes and ids differ from run to run, so the
page is written only if something else has changed.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import redis
from online_features import OfflineStore, OnlineStore, materialize
from online_features.common.instants import to_text
from online_features.embedded import postgres_server, redis_server
from online_features.layouts import keyspace

from demo.flights import Flights
from demo.workplace import PROJECT, workplace

sys.path.insert(0, str(PROJECT / "dags_examples"))
from flights_views import airport_weather, plane_trips

PAGE = PROJECT / "docs" / "command.md"
BLOCK = re.compile(r"(?<=^```console\n)\$ (online-features [^\n]*)\n(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
OBJECTIVE = timedelta(minutes=10)
NIGHTS = 4  # full runs, before the one that finds fewer rows
STOPPED_FOR = timedelta(hours=3)  # the DAG of the late view
LEFT_OUT = "N9"  # the beginning of the tail numbers that the source lacks in the last night
CHANGED = "N14228"  # a plane whose row in Postgres changes without a timestamp

# What differs from run to run, and what stands for it in a comparison.
VOLATILE = (
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?", "TIME"),
    (r"(\d+ days?, )?\d+:\d\d:\d\d", "DURATION"),
    (r"\d+ ms", "DURATION"),
    (r"\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "SIZE"),
    (r"database \w+", "database NAME"),
    (r"\b[0-9a-z]{8}\b", "GENERATION"),
    (r"(?<=version)(\s+ok\s+)[\d.]+", r"\1VERSION"),
    (r"\b\d+\.\d\d\b(?=\s+GENERATION)", "SECONDS"),
    (r"[ \t]+", " "),
)


def main() -> None:
    """Write the page, if what commands print has changed."""
    logging.getLogger("online_features").setLevel(logging.ERROR)  # rows of the source that a run rejects
    with workplace("command_guide") as folder, postgres_server(folder) as postgres, redis_server(folder) as url:
        prepare(postgres, url)
        text = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_outputs(text, postgres=postgres, redis_url=url), encoding="utf-8")


def prepare(postgres: str, redis_url: str) -> None:
    """Make a morning on which one view is late, and another one has fewer rows than usual, one of them changed."""
    flights, offline, online = Flights(postgres), OfflineStore(postgres), OnlineStore.from_url(redis_url)
    flights.stage()
    flights.release(timedelta(0))
    trips, weather = (replace(view, max_staleness=OBJECTIVE) for view in (plane_trips, airport_weather))
    materialize(weather, offline, online, origin={"dag_id": "flights_features", "task_id": "airport_weather"})
    nightly = {"dag_id": "flights_nightly", "task_id": "plane_trips"}
    for _ in range(NIGHTS):
        materialize(trips, offline, online, full=True, origin=nightly)
    flights.execute(f"DELETE FROM nycflights.flights WHERE tailnum LIKE '{LEFT_OUT}%'")
    materialize(trips, offline, online, full=True, origin=nightly)
    flights.execute(f"UPDATE nycflights.flights SET dep_delay = 999 WHERE tailnum = '{CHANGED}'")
    with redis.Redis.from_url(redis_url) as client:
        state = online.state(weather)
        assert state.watermark
        key = keyspace.generation_key(weather, state.generation)
        client.hset(key, "watermark", to_text(state.watermark - STOPPED_FOR))


def with_outputs(text: str, *, postgres: str, redis_url: str) -> str:
    """Return the page with what its commands print, run in the order of the page; if that is the same, the page."""
    variables = {
        **os.environ, "ONLINE_FEATURES_REDIS": redis_url, "ONLINE_FEATURES_POSTGRES": postgres,
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    printed = BLOCK.sub(_with_output(variables), text)
    return text if comparable(printed) == comparable(text) else printed


def comparable(text: str) -> str:
    """Return what of the page is the same in every run."""
    for pattern, word in VOLATILE:
        text = re.sub(pattern, word, text)
    return text


def _with_output(variables: dict[str, str]) -> Callable[[re.Match[str]], str]:
    def with_output(found: re.Match[str]) -> str:
        words = [sys.executable, "-m", "online_features", *shlex.split(found[1])[1:]]
        run = subprocess.run(words, env=variables, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, check=False)  # fmt: skip
        code = f"(exit code {run.returncode})\n" if run.returncode else ""
        return f"$ {found[1]}\n{run.stdout}{code}"

    return with_output


if __name__ == "__main__":
    main()
