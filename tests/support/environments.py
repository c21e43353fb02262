"""Environments of other tools, whose requirements do not fit beside Airflow's: each is built once and kept."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

from tests.support.processes import alone


def environment_of(requirement: str, constraints: Path, folder: Path) -> Path:
    """Return the folder of an environment's programs, built if there is none yet or the constraints have changed."""
    programs, installed = folder / "bin", folder / "constraints.txt"
    with alone(constraints):
        if not installed.exists() or installed.read_text() != constraints.read_text():
            venv.create(folder, clear=True, with_pip=True)
            install: list[str | Path] = [programs / "python", "-m", "pip", "install", "-qq"]
            install += ["--disable-pip-version-check", "--constraint", constraints]
            subprocess.run([*install, *requirement.split()], check=True)
            installed.write_text(constraints.read_text())
    return programs
