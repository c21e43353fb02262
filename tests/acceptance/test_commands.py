"""The README's commands, as a newcomer runs them, and what is left behind when they are stopped."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from online_features.embedded import UNPRIVILEGED_USER

from demo.workplace import PROJECT

pytestmark = pytest.mark.slow


@pytest.fixture
def clone() -> Iterator[Path]:
    """A copy of the project's files, and of nothing else, in a folder that every user may enter."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT, check=True, capture_output=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="a clone ") as folder:
        copy = Path(folder)
        copy.chmod(0o755)
        for name in filter(None, listed.stdout.decode().split("\0")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, copy / name)
        yield copy


def as_ordinary_user(folder: Path) -> tuple[list[str], str]:
    """Words before a command that run it as an ordinary user, who is given the folder, and that user's Python."""
    if os.geteuid() != 0:
        return [], sys._base_executable
    user = pwd.getpwnam(UNPRIVILEGED_USER)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user.pw_uid, user.pw_gid)
    # Root's own Python may be in a folder that only root may enter.
    return ["setpriv", "--reuid", str(user.pw_uid), "--regid", str(user.pw_gid), "--clear-groups"], "/usr/bin/python3"


@pytest.mark.timeout(900)
def test_make_demo_in_a_fresh_clone_as_an_ordinary_user(clone: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "VIRTUAL"))}
    environment["HOME"] = str(clone)
    user, python = as_ordinary_user(clone)
    run = subprocess.run(
        [*user, "make", f"PYTHON={python}", "demo"],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Everything above held." in run.stdout
    assert [line for line in run.stdout.splitlines() if len(line) > 80 and "valkey-cli" not in line] == []
    assert list((clone / ".servers").iterdir()) == []
    assert processes_in(clone) == []


@pytest.mark.parametrize("how, seconds", [(signal.SIGINT, 10), (signal.SIGTERM, 0), (signal.SIGKILL, 5)])
def test_a_stopped_demo_leaves_no_process_behind(how: signal.Signals, seconds: int) -> None:
    demo = subprocess.Popen([sys.executable, "-m", "demo"], cwd=PROJECT, stdout=subprocess.DEVNULL)
    folder = PROJECT / ".servers" / f"demo-{demo.pid}"
    wait_until(lambda: processes_in(folder) != [])
    time.sleep(seconds)
    demo.send_signal(how)
    assert demo.wait(60) != 0
    wait_until(lambda: processes_in(folder) == [])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [line for line in lines if str(folder) in line]
