"""Several processes write what one would write, and count, measure and fail as one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from online_features import (
    FeatureView,
    OfflineStore,
    OnlineStore,
    OptionError,
    PartLostError,
    TransformError,
    materialize,
)
from online_features.layouts import keyspace
from online_features.materialization.parallel.part_processes import PartProcesses
from online_features.materialization.reporting.progress import Progress

from tests.support.divided import compared, counts_of
from tests.support.online import GenerationOnline, generation_online, rows_online
from tests.support.processes import until
from tests.support.servers.databases import Database
from tests.support.transforms import doubles, fails_at_ninety, kills_itself_at_ninety

BATCH_ROWS = 20  # so that each part has several batches


@pytest.mark.layouts
def test_several_processes_do_what_one_does(
    database: Database, offline: OfflineStore, online: OnlineStore, pairs: FeatureView, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ours = [{"id": "pushed", "of": 1}, {"id": "k5", "of": 1}]
    online.push(pairs, [{**entity, "ts": datetime.now(UTC), "x": 1, "price": 2, "gone": False} for entity in ours])
    found: list[tuple[dict[str, int], GenerationOnline, Any]] = []
    seen: list[Progress] = []
    options: Sequence[dict[str, Any]] = [{}, {"parallel": 2, "on_progress": seen.append}]
    for option in options:
        result = materialize(pairs, offline, online, full=True, batch_rows=BATCH_ROWS, **option)
        assert sum(value for name, value in counts_of(result).items() if name not in ("rows_read", "rows_future")) == (
            result.rows_read
        )
        assert online.runs(pairs)[0]["rows_read"] == result.rows_read
        measured = online.statistics(pairs)
        found.append((counts_of(result), generation_online(online, pairs, ["x", "price"]), measured))
    (one, rows, statistics), (several, rows_of_several, statistics_of_several) = found
    if pairs.layout != "feast":  # there, the second run finds the rows of the first
        assert several == one
        assert one["rows_rejected"] == 5
    assert rows_of_several == rows
    assert len(rows.rows) > 90
    assert vars(statistics)["rows"] == vars(statistics_of_several)["rows"]
    assert {name: vars(feature) for name, feature in statistics_of_several.features.items()} == compared(statistics)
    assert [progress.rows for progress in seen] == sorted(progress.rows for progress in seen)
    assert len(seen) > 5
    assert seen[-1].rows == several["rows_read"] - several["rows_rejected"]
    assert "is divided into 2 parts by ranges of 'id', by a sample of 603 keys" in caplog.text.replace("\n", " ")
    assert "another part is written" in caplog.text


def test_one_snapshot_is_read_and_pushes_go_on(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    view = small(layout="msgpack")
    hand_out = PartProcesses.hand_out

    def change_and_hand_out(processes: PartProcesses, tasks: Any) -> None:
        """Change all rows after the snapshot was exported, and before any part imports it."""
        database("UPDATE rows SET x = -x, ts = now() - interval '1 hour'")
        hand_out(processes, tasks)

    def push(progress: Progress) -> None:
        if progress.rows <= BATCH_ROWS:
            online.push(view, [{"id": n, "ts": datetime.now(UTC), "x": 7} for n in (1, 50, 100, 101)])

    monkeypatch.setattr(PartProcesses, "hand_out", change_and_hand_out)
    materialize(view, offline, online, full=True, parallel=3, batch_rows=BATCH_ROWS, on_progress=push)
    expected = {str(n): str(n) for n in range(1, 101)} | dict.fromkeys(("1", "50", "100", "101"), "7")
    assert {name: row["x"] for name, row in rows_online(online, view, ["x"]).items()} == expected
    # A run in place meets what was pushed, and counts it as stale; pruning is the run's own.
    monkeypatch.undo()
    database("DELETE FROM rows WHERE id > 90")
    result = materialize(view, offline, online, full=True, in_place=True, prune=True, parallel=2)
    assert (result.rows_written, result.rows_stale) == (88, 2)
    assert rows_online(online, view, ["x"])["2"]["x"] == "-2"
    assert "95" not in rows_online(online, view, ["x"])


def test_a_transform_runs_in_the_processes(
    offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView], caplog: pytest.LogCaptureFixture
) -> None:
    view = small(features=["y"], transform=doubles)
    result = materialize(view, offline, online, full=True, parallel=2)
    assert result.rows_written == 100
    assert rows_online(online, view, ["y"])["42"]["y"] == "84"
    elsewhere = [record for record in caplog.records if record.process != os.getpid()]
    assert [record.getMessage() for record in elsewhere] == ["doubling 0 rows", "doubling 50 rows"]
    with pytest.raises(TransformError, match="fails_at_ninety.*ninety") as failed:
        materialize(small(features=["y"], transform=fails_at_ninety), offline, online, full=True, parallel=2)
    assert "In another process of the run" in failed.value.__notes__[0]
    assert not part_processes()


def test_what_no_other_process_can_import_is_refused(
    offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView], monkeypatch: pytest.MonkeyPatch
) -> None:
    view = small(features=["y"], transform=doubles)
    monkeypatch.setattr(doubles, "__module__", "unusual_prefix_dag")
    with pytest.raises(OptionError, match="parallel= starts processes.*in a module|define its functions in modules"):
        materialize(view, offline, online, full=True, parallel=2)
    monkeypatch.setattr(doubles, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "doubles", doubles, raising=False)
    with pytest.raises(OptionError, match="define transforms and classes in a module that can be imported"):
        materialize(view, offline, online, full=True, parallel=2)
    assert {generation.state for generation in online.generations(view).generations} == {"failed"}


def test_other_runs_are_of_one_process(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView],
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    caplog.set_level("INFO")
    view = small()
    materialize(view, offline, online, parallel=2)  # the first run is a full one
    assert "is divided into 2 parts" in caplog.text
    monkeypatch.setattr(PartProcesses, "start", None)
    database("INSERT INTO rows VALUES (101, now(), 1)")
    assert materialize(view, offline, online, parallel=2).rows_written == 1
    assert materialize(view, offline, online, start=datetime(2026, 1, 1, tzinfo=UTC), parallel=2).rows_read == 101
    assert "One process reads it: parallel= is for full runs" in caplog.text
    with pytest.raises(OptionError, match="parallel= must be a number of processes, at least 1, not 0"):
        materialize(view, offline, online, full=True, parallel=0)


def test_an_empty_table_is_read_by_the_run_itself(
    database: Database, offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView]
) -> None:
    database("TRUNCATE rows")
    assert materialize(small(), offline, online, full=True, parallel=2).rows_read == 0


@pytest.mark.faults
def test_a_killed_process_fails_the_run_and_the_others_are_stopped(
    offline: OfflineStore, online: OnlineStore, small: Callable[..., FeatureView]
) -> None:
    view = small(features=["y"], transform=kills_itself_at_ninety)
    with pytest.raises(PartLostError, match="one of the run's processes was ended by SIGKILL"):
        materialize(view, offline, online, full=True, parallel=2)
    assert not part_processes()
    assert [generation.state for generation in online.generations(view).generations] == ["failed"]
    assert online.runs(view)[0]["outcome"] == "PartLostError"
    view = small(features=["y"], transform=doubles)
    assert materialize(view, offline, online, full=True, parallel=2).rows_written == 100


KILLED = """
import logging, os, signal
import psutil
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from tests.support.transforms import waits_at_ninety

class Death(logging.Handler):
    def emit(self, record):
        if record.getMessage() == "waiting":
            print(*(child.pid for child in psutil.Process().children()), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

logging.root.addHandler(Death())
view = FeatureView(name="view", project={project!r}, entities=["id"], features=["y"], transform=waits_at_ninety,
                   layout="hash", source=PostgresSource(table="rows", timestamp_field="ts"))
materialize(view, OfflineStore({uri!r}), OnlineStore.from_url({url!r}), full=True, parallel=2)
"""


PRINTING = """
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize
from tests.support.transforms import {transform}
view = FeatureView(name="view", project={project!r}, entities=["id"], features=["y"], transform={transform},
                   layout="hash", source=PostgresSource(table="rows", timestamp_field="ts"))
materialize(view, OfflineStore({uri!r}), OnlineStore.from_url({url!r}), full=True, parallel=2)
"""


def test_what_is_printed_where_standard_streams_are_closed_goes_nowhere(
    database: Database, online: OnlineStore, redis_url: str, small: Callable[..., FeatureView]
) -> None:
    view = small(features=["y"], transform=doubles)
    script = PRINTING.format(project=view.project, uri=database.uri, url=redis_url, transform="doubles_aloud")
    closing = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    subprocess.run([*closing, sys.executable, "-c", script], check=True, timeout=60)
    assert len(rows_online(online, view, ["y"])) == 100


def test_what_is_printed_in_another_process_is_not_lost(
    database: Database, redis_url: str, small: Callable[..., FeatureView], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    view = small(features=["y"], transform=doubles)
    script = PRINTING.format(project=view.project, uri=database.uri, url=redis_url, transform="doubles_unflushed")
    # Into a pipe, so that Python does not flush line by line.
    run = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True, timeout=60)
    assert run.stdout.count(b"doubling 50\n") == 2  # once in each part


@pytest.mark.faults
def test_no_process_outlives_a_killed_run(
    database: Database, offline: OfflineStore, online: OnlineStore, redis_url: str, tmp_path: Path,
    small: Callable[..., FeatureView],
) -> None:  # fmt: skip
    view = small(features=["y"], transform=doubles)
    script = KILLED.format(project=view.project, uri=database.uri, url=redis_url)
    # Into a file: a pipe would be open as long as a process that has outlived the run.
    with (tmp_path / "pids").open("w+") as printed:
        run = subprocess.run([sys.executable, "-c", script], stdout=printed, check=False)
        printed.seek(0)
        pids = [int(pid) for pid in printed.read().split()]
    assert (run.returncode, len(pids)) == (-signal.SIGKILL, 1)
    until(lambda: not any(map(is_running, pids)), seconds=20)
    online._client.delete(keyspace.lease_key(view))  # it ends by itself, half a minute later
    assert materialize(view, offline, online, full=True, parallel=2).rows_written == 100
    assert len(rows_online(online, view, ["y"])) == 100


def part_processes() -> list[psutil.Process]:
    """Return the processes of parts that this one has."""
    return [child for child in psutil.Process().children() if any("part_process" in word for word in child.cmdline())]


def is_running(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
