"""The measured servers, and what they have used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from threading import Event

import psutil
import redis
from online_features.embedded import embedded_postgres, embedded_redis, packaged_redis, packaged_redis_cli
from psycopg2 import sql

from benchmarks.source import session

SAMPLE_SECONDS = 0.05  # between two looks at the memory of Redis: some 10,000 rows


@dataclass(frozen=True)
class Usage:
    """What the servers have used since they started, and the memory of Redis now.

    :param postgres_seconds: of CPU, of all its processes.
    :param redis_seconds: of CPU.
    :param bytes_to_redis: received from clients.
    :param redis_bytes: of memory.
    """

    postgres_seconds: float
    redis_seconds: float
    bytes_to_redis: float
    redis_bytes: float

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


class Servers:
    """Postgres and Redis of the benchmark; Redis is emptied before each measured run.

    :param redis_cli: the program beside the server's.
    """

    def __init__(self, folder: Path, postgres_uri: str, redis_url: str, redis_cli: Path) -> None:
        self.folder = folder
        self.postgres_uri = postgres_uri
        self.redis_url = redis_url
        self.redis_cli = redis_cli
        # Emptying ten million keys takes longer than the usual time-out.
        self.redis = redis.Redis.from_url(redis_url, socket_timeout=None)
        self._postgres_process = psutil.Process(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
        self._redis_process = psutil.Process(self.redis.info("server")["process_id"])

    @property
    def versions(self) -> dict[str, str]:
        """Return versions, where the programs come from, and the setting of Postgres that sorts depend on."""
        with session(self.postgres_uri) as cursor:
            cursor.execute("SELECT current_setting('server_version'), current_setting('work_mem')")
            version, work_mem = cursor.fetchone()
        origin = "embedded" if self.redis_cli == packaged_redis_cli() else "the system's"
        return {
            "Postgres": f"{version} (embedded)",
            "work_mem": work_mem,
            "Redis": f"{self.redis.info('server')['redis_version']} ({origin})",
        }

    def empty_redis(self) -> None:
        """Remove all keys; their memory is free when this returns, which Valkey leaves for later by default."""
        self.redis.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Keep Redis on the first core, and Postgres and what the caller starts on the others."""
        first, *others = cores = sorted(os.sched_getaffinity(0))
        try:
            _place([self._redis_process], [first])
            _place([self._postgres_process, *self._postgres_process.children()], others)
            os.sched_setaffinity(0, others)
            yield
        finally:
            os.sched_setaffinity(0, cores)
            _place([self._redis_process, self._postgres_process, *self._postgres_process.children()], cores)

    def usage(self) -> Usage:
        """Return what has been used up to now."""
        stats, memory = self.redis.info("stats"), self.redis.info("memory")
        return Usage(
            postgres_seconds=_tree_seconds(self._postgres_process),
            redis_seconds=_own_seconds(self._redis_process),
            bytes_to_redis=stats["total_net_input_bytes"],
            redis_bytes=memory["used_memory"],
        )

    @contextmanager
    def peak_memory(self) -> Iterator[Callable[[], float]]:
        """Sample the memory of Redis, and yield a function that returns the most that it was, in bytes."""
        samples: list[float] = []
        is_over = Event()

        def sample() -> None:
            while not is_over.wait(SAMPLE_SECONDS):
                samples.append(self.redis.info("memory")["used_memory"])

        samples.append(self.redis.info("memory")["used_memory"])
        with ThreadPoolExecutor(max_workers=1) as thread:
            sampling = thread.submit(sample)
            try:
                yield lambda: max(samples)
            finally:
                is_over.set()
                sampling.result()


def _place(processes: Iterable[psutil.Process], cores: list[int]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # a session has just ended
            process.cpu_affinity(cores)


def _own_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def _tree_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and its children, also of those that have ended."""
    ended = process.cpu_times()
    seconds = _own_seconds(process) + ended.children_user + ended.children_system
    for child in process.children():
        try:
            seconds += _own_seconds(child)
        except psutil.NoSuchProcess:  # it just ended, and is counted next time
            continue
    return seconds


@contextmanager
def servers(folder: Path, work_mem: str | None) -> Iterator[Servers]:
    """Start both servers: Postgres from its package, Redis from the system if it has one."""
    program, redis_cli = system_redis() or (packaged_redis(), packaged_redis_cli())
    with embedded_postgres(folder) as uri, embedded_redis(folder, program) as url:
        if work_mem is not None:
            _set_work_mem(uri, work_mem)
        yield Servers(folder, uri, url, redis_cli)


def system_redis() -> tuple[Path, Path] | None:
    """Return the system's programs of Redis, server and command line, if it has both."""
    server, redis_cli = shutil.which("redis-server"), shutil.which("redis-cli")
    return (Path(server), Path(redis_cli)) if server and redis_cli else None


def _set_work_mem(uri: str, work_mem: str) -> None:
    with session(uri) as cursor:
        cursor.execute(sql.SQL("ALTER DATABASE postgres SET work_mem = {}").format(sql.Literal(work_mem)))
