"""One measured job in a process of its own: takes a JSON object and answers with one, as Feast's driver does.

A job is a function that prepares (imports, connections) and returns what is timed. Each imports what it needs and no
more, because a process's peak memory counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from benchmarks.source import CREATED, EVENT, KEY, TABLE

if TYPE_CHECKING:
    from online_features import FeatureView

Job: TypeAlias = Callable[[], Any]

VIEW = "view"
COMMANDS_PER_PIPELINE = 10_000  # what people who write it by hand choose, or something like it


def materialize(job: dict[str, Any], *, layout: str, full: bool = True) -> Job:
    """Ours: guarded, every row acknowledged, the watermark set."""
    import online_features.online.write.online_run  # noqa: F401 - what the first call would import
    from online_features import OfflineStore, OnlineStore, materialize

    view = view_of(job, layout)
    offline, online = OfflineStore(job["postgres_uri"]), OnlineStore.from_url(job["redis_url"])
    return lambda: materialize(view, offline, online, full=full).rows_written


def by_hand(job: dict[str, Any]) -> Job:
    """What people write: pandas and a pipeline; unguarded."""
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
    """Not measured: what Redis holds as ``HSET`` commands in a file, for :func:`redis_alone`."""
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
    """A floor: ready-made commands through ``redis-cli --pipe``."""
    command = [redis_cli, "-u", job["redis_url"], "--pipe"]

    def run() -> None:
        with Path(path).open("rb") as commands:
            subprocess.run(command, stdin=commands, stdout=subprocess.DEVNULL, check=True)

    return run


def postgres_alone(job: dict[str, Any]) -> Job:
    """A floor: the query of :func:`materialize`, binary as there, to nowhere."""
    from online_features import OfflineStore
    from online_features.embedded import packaged_postgres
    from online_features.offline.sql.source_rows import sql_text
    from online_features.offline.sql.statements import newest_rows
    from online_features.window import Window
    from psycopg2.extensions import parse_dsn

    view = view_of(job, "hash")
    query = sql_text(newest_rows(view.source, OfflineStore(job["postgres_uri"]).describe(view), Window()))
    # By environment variables, so that no list of processes shows the password.
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    login = {names[name]: value for name, value in parse_dsn(job["postgres_uri"]).items()}
    command = [str(packaged_postgres() / "psql"), "--no-psqlrc", "-c", f"COPY ({query}) TO STDOUT (FORMAT binary)"]
    return lambda: subprocess.run(command, env=os.environ | login, stdout=subprocess.DEVNULL, check=True).returncode


def read_online(job: dict[str, Any], *, layout: str, times: int, keys: int) -> Job:
    """Ours: values typed as in Postgres, freshness in the same round trip."""
    from online_features import OnlineStore

    view, online = view_of(job, layout), OnlineStore.from_url(job["redis_url"])
    requests = [[{KEY: key} for key in some] for some in chosen(job["entities"], keys, times)]
    assert all(row.status == "present" for row in online.get_online_features(view, requests[0]))
    return lambda: [seconds(partial(online.get_online_features, view, request)) for request in requests]


def read_by_hand(job: dict[str, Any], *, times: int, keys: int) -> Job:
    """What people write: a pipeline of HMGET; every value a string."""
    import redis

    client = redis.Redis.from_url(job["redis_url"], decode_responses=True)
    names = job["features"]
    prefix = f"{view_of(job, 'hash').project}:{VIEW}"

    def read(some: list[int]) -> list[dict[str, str]]:
        pipeline = client.pipeline(transaction=False)
        for key in some:
            pipeline.hmget(f"{prefix}:{key}", names)
        return [dict(zip(names, values, strict=True)) for values in pipeline.execute()]

    requests = chosen(job["entities"], keys, times)
    assert all(row[names[0]] for row in read(requests[0]))
    return lambda: [seconds(partial(read, some)) for some in requests]


def ping(job: dict[str, Any], *, times: int) -> Job:
    """A floor: one round trip."""
    import redis

    client = redis.Redis.from_url(job["redis_url"])
    client.ping()
    return lambda: [seconds(client.ping) for _ in range(times)]


def view_of(job: dict[str, Any], layout: str) -> FeatureView:
    """The table as a feature view of a project that the layout has to itself."""
    from online_features import FeatureView, PostgresSource

    return FeatureView(
        name=VIEW, project=f"bench_{layout}", entities=[KEY], features=job["features"], layout=layout,  # type: ignore[arg-type]
        source=PostgresSource(table=TABLE, timestamp_field=EVENT, created_timestamp_column=CREATED),
    )  # fmt: skip


def chosen(entities: int, keys: int, times: int) -> list[list[int]]:
    """For each of ``times`` reads, so many keys, the same ones in every contender."""
    return [random.Random(i).choices(range(1, entities + 1), k=keys) for i in range(times)]


def seconds(work: Job) -> float:
    """How long the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measured(work: Job) -> dict[str, Any]:
    """The work's answer, wall time and CPU time of process and children in seconds, and the process's peak memory."""
    cpu_began, began = _cpu_seconds(), time.perf_counter()
    answer = work()
    return {
        "answer": answer,
        "seconds": time.perf_counter() - began,
        "cpu_seconds": _cpu_seconds() - cpu_began,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }


def _cpu_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _batches(things: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := [thing for _, thing in zip(range(size), things, strict=False)]:
        yield batch


def main() -> None:
    """Answer the job on standard input; what else is printed goes to standard error."""
    job = json.load(sys.stdin)
    with contextlib.redirect_stdout(sys.stderr):
        answer = measured(globals()[job["do"]](job, **job["arguments"]))
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
