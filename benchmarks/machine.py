"""Date, machine and versions of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from demo.workplace import PROJECT
from tests.feast.environment import CONSTRAINTS

PACKAGES = ("apache-airflow", "pyarrow", "adbc-driver-postgresql", "redis", "hiredis", "SQLAlchemy", "pandas")


def machine() -> dict[str, str]:
    """Return what figures depend on besides the settings, as text."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "CPU": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "Feast": _pinned("feast"),
    }


def _commit() -> str:
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*: (.+)", cpuinfo.read_text()) if cpuinfo.exists() else None
    return named[1] if named else platform.machine()


def _pinned(package: str) -> str:
    pin = re.search(rf"^{package}==(.+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    return pin[1] if pin else "unknown"
