"""What a process of its own has imported."""

from __future__ import annotations

import json
import subprocess
import sys

HEAVY = ("pandas", "pyarrow", "adbc_driver_postgresql", "sqlalchemy")


def modules_after(statement: str) -> set[str]:
    """All modules that are loaded when a new process has executed the statement."""
    script = f"{statement}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    return set(json.loads(printed.splitlines()[-1]))
