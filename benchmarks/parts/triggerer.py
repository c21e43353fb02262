"""What a thousand deferred sensors cost a triggerer of Airflow: ``python -m benchmarks.parts.triggerer [interval]``.

A thousand tasks of a run in an Airflow of its own are set to deferred. For comparison, they first get a trigger of
Airflow that only sleeps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import redis
from online_features.embedded import redis_server

from benchmarks.parts.triggers import MEASURED_SECONDS, TRIGGERS, make_stale, trigger_of, view_of
from demo.airflow import DemoAirflow

START_SECONDS = 90.0  # in which Airflow starts all triggers; a thousand take about a minute
DAG = f"""
from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

with DAG("many", schedule=None):
    for number in range({TRIGGERS}):
        BashOperator(task_id=f"task_{{number}}", bash_command="true")
"""


def main(interval: str = "60") -> None:
    """Measure and print a line for each kind of trigger."""
    for kind in ("airflow", "freshness"):
        with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
            make_stale(url, [view_of(number) for number in range(TRIGGERS)])
            _measure(_airflow_with_triggers(Path(folder), url, kind, interval), url, kind)


def fill(kind: str, interval: str) -> None:
    """Defer every task; called in a process with the environment of that Airflow."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.trigger import Trigger
    from airflow.providers.standard.triggers.temporal import DateTimeTrigger
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        for number, task in enumerate(session.scalars(select(TaskInstance))):
            tomorrow = DateTimeTrigger(moment=datetime.now(UTC) + timedelta(days=1))
            trigger = trigger_of(view_of(number), float(interval)) if kind == "freshness" else tomorrow
            row = Trigger.from_object(trigger)
            session.add(row)
            session.flush()
            task.trigger_id, task.state, task.next_method = row.id, "deferred", "execute_complete"


def _airflow_with_triggers(folder: Path, url: str, kind: str, interval: str) -> DemoAirflow:
    dags = folder / "dags"
    dags.mkdir()
    (dags / "many.py").write_text(DAG)
    home = folder / "home"
    airflow = DemoAirflow(home, postgres_uri="postgresql://unused", redis_url=url, AIRFLOW__CORE__DAGS_FOLDER=str(dags))
    for words in ("db migrate", "dags reserialize", "dags trigger many"):
        airflow.run(*words.split())
    filling = [sys.executable, "-m", __spec__.name, "fill", kind, interval]
    subprocess.run(filling, env=airflow.environment, check=True)
    return airflow


def _measure(airflow: DemoAirflow, url: str, kind: str) -> None:
    command = ["airflow", "triggerer", "--capacity", str(TRIGGERS)]
    with airflow.log.open("a") as log:
        triggerer = subprocess.Popen(command, env=airflow.environment, stdout=log, stderr=subprocess.STDOUT)
    time.sleep(START_SECONDS)
    # The last of its processes runs the triggers.
    loop = psutil.Process(triggerer.pid).children()[-1]
    with redis.Redis.from_url(url) as client:
        commands, cpu = client.info()["total_commands_processed"], sum(loop.cpu_times()[:2])
        time.sleep(MEASURED_SECONDS)
        commands, cpu = client.info()["total_commands_processed"] - commands, sum(loop.cpu_times()[:2]) - cpu
    triggerer.terminate()
    triggerer.wait()
    print(f"{kind}: {cpu / MEASURED_SECONDS:.1%} of a core, {commands / MEASURED_SECONDS:.1f} Redis commands/s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", kind, interval]:
            fill(kind, interval)
        case given:
            main(*given)
