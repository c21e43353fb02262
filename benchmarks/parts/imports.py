"""Part ``imports``: what a module costs a DAG file that has already imported Airflow's SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.results import Record
from benchmarks.servers import Servers
from benchmarks.settings import Settings

MODULES = (
    "online_features_provider.operators.materialize",
    "online_features_provider.operators.push",
    "online_features_provider.sensors.freshness",
    "online_features_provider.decorators.push",
)

SCRIPT = """
import importlib, json, sys, time
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator, task
loaded, began = len(sys.modules), time.perf_counter()
importlib.import_module(sys.argv[1])
seconds = time.perf_counter() - began
print("\\n" + json.dumps({"seconds": seconds, "modules": len(sys.modules) - loaded}))
"""


def records(_servers: Servers, settings: Settings) -> Iterator[Record]:
    """Import each module in a process of its own; the first import, which compiles, does not count."""
    uncounted = 0 if settings.small else 1
    for round_number in range(-uncounted, settings.rounds):
        for module in MODULES[: 1 if settings.small else None]:
            command = [sys.executable, "-c", SCRIPT, module]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            if round_number >= 0:
                yield {"module": module, "round": round_number, **json.loads(printed.splitlines()[-1])}
