"""One measured job in a process of its own: reads a JSON object and answers with one, as Feast's driver does.

A job is a function that prepares (imports, connections) and returns what is timed. It imports only what it needs,
because the peak memory of the process counts.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.source import CREATED, EVENT, KEY, TABLE

if TYPE_CHECKING:
    import pyarrow as pa
    from online_features import FeatureView

Job: TypeAlias = Callable[[], Any]

VIEW = "view"
DEFAULT = "msgpack"
COMMANDS_PER_PIPELINE = 10_000  # about what people choose who write it by hand


def materialize(
    job: dict[str, Any], *, layout: str, full: bool = True, in_place: bool = False, publish: bool = True,
    keep_generations: int = 1, name: str = VIEW, parallel: int = 1, is_heavy: bool = False,
) -> Job:  # fmt: skip
    """Materialize by our engine: each row acknowledged, the watermark set, and a full run published.

    :param is_heavy: whether a transform in Python adds a feature.
    """
    import online_features.online.write.online_run  # noqa: F401 - what the first call would import
    from online_features import OfflineStore, OnlineStore, materialize

    view = view_of(job, layout, name)
    if is_heavy:
        from benchmarks.heavy import ADDED, heavy

        view = replace(view, features=[*job["features"], ADDED], transform=heavy)
    offline, online = OfflineStore(job["postgres_uri"]), OnlineStore.from_url(job["redis_url"])
    return lambda: materialize(
        view, offline, online, full=full, in_place=in_place, publish=publish, keep_generations=keep_generations,
        parallel=parallel,
    ).rows_written  # fmt: skip


def materialize_in_parts(job: dict[str, Any], *, parts: int, at_once: int) -> Job:
    """Materialize in parts, some at once, in as many new processes."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    from online_features import OfflineStore, OnlineStore, finish_build, plan_build

    from benchmarks.in_parts import copy

    view, stores = view_of(job, DEFAULT), (job["postgres_uri"], job["redis_url"])
    offline, online = OfflineStore(stores[0]), OnlineStore.from_url(stores[1])

    def run() -> int:
        plan = plan_build(view, offline, online, parts=parts)
        with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as processes:
            sum(processes.map(partial(copy, view, stores), (part.to_dict() for part in plan.parts)))
        return finish_build(plan, offline, online).rows_written

    return run


def materialize_unmeasured(job: dict[str, Any]) -> Job:
    """Materialize without measuring the rows for statistics."""
    from online_features.statistics.measurement import Measurement

    Measurement.add = lambda *_: None  # type: ignore[method-assign]
    return materialize(job, layout=DEFAULT)


def verify(job: dict[str, Any]) -> Job:
    """Compare every row online with the source; all of them are equal."""
    from online_features import OfflineStore, OnlineStore, verify

    view = view_of(job, DEFAULT)
    offline, online = OfflineStore(job["postgres_uri"]), OnlineStore.from_url(job["redis_url"])

    def run() -> None:
        report = verify(view, offline, online, sample=None)
        assert report.equal == report.rows_compared == job["entities"], report.in_words()

    return run


def by_hand(job: dict[str, Any]) -> Job:
    """Materialize as people do by hand: pandas and a pipeline, unguarded."""
    import pandas as pd
    import redis
    import sqlalchemy as sa

    engine, client = sa.create_engine(job["postgres_uri"]), redis.Redis.from_url(job["redis_url"])
    query = f"SELECT DISTINCT ON ({KEY}) * FROM {TABLE} ORDER BY {KEY}, {EVENT} DESC, {CREATED} DESC"
    engine.connect().close()
    client.ping()

    def run() -> int:
        frame = pd.read_sql(query, engine)
        pipeline = client.pipeline(transaction=False)
        for row in frame.to_dict("records"):
            values: dict[Any, Any] = {name: str(value) for name, value in row.items() if not pd.isna(value)}
            pipeline.hset(f"features:{row[KEY]}", mapping=values)
            if len(pipeline) >= COMMANDS_PER_PIPELINE:
                pipeline.execute()
        pipeline.execute()
        return len(frame)

    return run


def write_commands(job: dict[str, Any], *, path: str) -> Job:
    """Write what Redis holds to a file, as ``HSET`` commands for :func:`redis_alone`; not measured."""
    import redis

    client = redis.Redis.from_url(job["redis_url"])
    pattern = f"{view_of(job, 'hash').project}:{VIEW}:*"
    connection: Any = client.connection_pool.make_connection()

    def run() -> None:
        with Path(path).open("wb") as commands:
            for keys in _batches(client.scan_iter(pattern, count=10_000), 10_000):
                pipeline = client.pipeline(transaction=False)
                for key in keys:
                    pipeline.hgetall(key)
                for key, fields in zip(keys, pipeline.execute(), strict=True):
                    words = [word for pair in fields.items() for word in pair]
                    commands.writelines(connection.pack_command("HSET", key, *words))

    return run


def redis_alone(job: dict[str, Any], *, redis_cli: str, path: str) -> Job:
    """Send ready-made commands through ``redis-cli --pipe``: a floor."""
    command = [redis_cli, "-u", job["redis_url"], "--pipe"]

    def run() -> None:
        with Path(path).open("rb") as commands:
            subprocess.run(command, stdin=commands, stdout=subprocess.DEVNULL, check=True)

    return run


def postgres_alone(job: dict[str, Any]) -> Job:
    """Copy the query of :func:`materialize`, in binary, to /dev/null: a floor."""
    from online_features import OfflineStore
    from online_features.embedded import packaged_postgres
    from online_features.offline.sql.source_rows import sql_text
    from online_features.offline.sql.statements import newest_rows
    from online_features.window import Window
    from psycopg2.extensions import parse_dsn

    view = view_of(job, DEFAULT)
    query = sql_text(newest_rows(view.source, OfflineStore(job["postgres_uri"]).describe(view), Window()))
    # By environment variables, so that no list of processes shows the password.
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    login = {names[name]: value for name, value in parse_dsn(job["postgres_uri"]).items()}
    command = [str(packaged_postgres() / "psql"), "--no-psqlrc", "-c", f"COPY ({query}) TO STDOUT (FORMAT binary)"]
    return lambda: subprocess.run(command, env=os.environ | login, stdout=subprocess.DEVNULL, check=True).returncode


def push(job: dict[str, Any], *, way: str, rows: int, times: int) -> Job:
    """Push newer rows of known entities online, into the table, or both."""
    from online_features import OfflineStore, OnlineStore

    view = view_of(job, DEFAULT)
    if way == "online, transformed":
        view = replace(view, transform=unchanged)
    offline, online = OfflineStore(job["postgres_uri"]), OnlineStore.from_url(job["redis_url"])
    known = online.get_online_features(view, [{KEY: key} for key in range(1, rows + 1)])

    def once() -> None:
        now = datetime.now(UTC)
        given = [{**row.entity, EVENT: now, CREATED: now, **row.values} for row in known]
        if way == "offline":
            offline.append(view, given)
        else:
            online.push(view, given, offline=offline if way == "online and offline" else None)

    once()  # the store learns the types
    return lambda: [seconds(once) for _ in range(times)]


def read_online(job: dict[str, Any], *, layout: str, times: int, keys: int) -> Job:
    """Read by our engine: typed values, and freshness in the same round trip."""
    from online_features import OnlineStore

    view, online = view_of(job, layout), OnlineStore.from_url(job["redis_url"])
    requests = [[{KEY: key} for key in some] for some in chosen(job["entities"], keys, times)]
    assert all(row.status == "present" for row in online.get_online_features(view, requests[0]))
    return lambda: [seconds(partial(online.get_online_features, view, request)) for request in requests]


def watch(job: dict[str, Any], *, views: list[str], pause: float, until: str) -> Job:
    """Read one entity of each view in turn until a file is there; each read is its instant and its seconds."""
    from online_features import OnlineStore

    online = OnlineStore.from_url(job["redis_url"])
    turns = itertools.cycle([view_of(job, DEFAULT, name) for name in views])
    keys = random.Random(os.getpid())
    is_over = Path(until).exists

    def run() -> list[tuple[float, float]]:
        reads: list[tuple[float, float]] = []
        due = time.perf_counter()
        while not is_over():
            request = [{KEY: keys.randint(1, job["entities"])}]
            taken = seconds(partial(online.get_online_features, next(turns), request))
            reads.append((time.time(), taken))
            due += pause
            time.sleep(max(0.0, due - time.perf_counter()))
        return reads

    return run


def switch(job: dict[str, Any], *, views: list[str], times: int, pause: float) -> Job:
    """Roll all views back and publish them again, in turn; the answer is the instants of the switches."""
    from online_features import OnlineStore

    online = OnlineStore.from_url(job["redis_url"])
    of_views = [view_of(job, DEFAULT, name) for name in views]
    newest = {view.name: online.generations(view).published for view in of_views}
    ways = [partial(online.rollback, of_views), partial(online.publish, of_views, generations=newest)]

    def run() -> list[float]:
        switches = []
        for way in itertools.islice(itertools.cycle(ways), times):
            time.sleep(pause)
            way()
            switches.append(time.time())
        time.sleep(pause)
        return switches

    return run


def remove(job: dict[str, Any], *, views: list[str]) -> Job:
    """Remove the unpublished generations of the views as runs do, ten minutes before it is due."""
    from datetime import timedelta

    from online_features import OfflineStore, OnlineStore, materialize
    from online_features.online.generations import removal

    removal.READABLE_FOR = timedelta(0)
    offline, online = OfflineStore(job["postgres_uri"]), OnlineStore.from_url(job["redis_url"])

    def run() -> None:
        for name in views:
            materialize(view_of(job, DEFAULT, name), offline, online, keep_generations=0)

    return run


def read_by_hand(job: dict[str, Any], *, times: int, keys: int) -> Job:
    """Read as people do by hand: a pipeline of HMGET; each value is a string."""
    import redis

    client = redis.Redis.from_url(job["redis_url"], decode_responses=True)
    names = job["features"]
    project = view_of(job, "hash").project
    published: Any = client.hget(f"@online_features:published:{{{project}}}", VIEW)
    prefix = f"{project}:{VIEW}:{published.split()[0]}"

    def read(some: list[int]) -> list[dict[str, str]]:
        pipeline = client.pipeline(transaction=False)
        for key in some:
            pipeline.hmget(f"{prefix}:{{{key}}}", names)
        return [dict(zip(names, values, strict=True)) for values in pipeline.execute()]

    requests = chosen(job["entities"], keys, times)
    assert all(row[names[0]] for row in read(requests[0]))
    return lambda: [seconds(partial(read, some)) for some in requests]


def ping(job: dict[str, Any], *, times: int) -> Job:
    """Make one round trip: a floor."""
    import redis

    client = redis.Redis.from_url(job["redis_url"])
    client.ping()
    return lambda: [seconds(client.ping) for _ in range(times)]


def unchanged(rows: pa.Table) -> pa.Table:
    """Return the rows: the cheapest transform."""
    return rows


def view_of(job: dict[str, Any], layout: str, name: str = VIEW) -> FeatureView:
    """Return the table as a feature view, in a project of the layout's own.

    Its name has four letters as that of Feast's: Redis holds it in every key.
    """
    from online_features import FeatureView, PostgresSource

    return FeatureView(
        name=name, project=layout[:4], entities=[KEY], features=job["features"], layout=layout,  # type: ignore[arg-type]
        source=PostgresSource(table=TABLE, timestamp_field=EVENT, created_timestamp_column=CREATED),
    )  # fmt: skip


def chosen(entities: int, keys: int, times: int) -> list[list[int]]:
    """Return ``keys`` entities for each of ``times`` reads, the same for each contender."""
    return [random.Random(i).choices(range(1, entities + 1), k=keys) for i in range(times)]


def seconds(work: Job) -> float:
    """Do the work and return the seconds it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(work: Job) -> dict[str, Any]:
    """Do the work and return its answer, when it began, wall time, CPU time with children, and peak memory.

    The peak is that of the process, or of the largest that it has started.
    """
    at, cpu_began, began = time.time(), _cpu_seconds(), time.perf_counter()
    answer = work()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "answer": answer,
        "began": at,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": _cpu_seconds() - cpu_began,
        "peak_bytes": peak * (1 if sys.platform == "darwin" else 1024),
    }


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _batches(things: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := [thing for _, thing in zip(range(size), things, strict=False)]:
        yield batch


def main() -> None:
    """Do the job on standard input and print its answer; all other output goes to standard error."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answer = measured(globals()[job["do"]](job, **job["arguments"]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
