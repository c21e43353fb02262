"""The command as a process: exit codes, pipes, terminals, connections of Airflow, a missing extra."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import airflow.sdk  # noqa: F401 - it configures logging, which is not to happen while a command has its own stdout
import pytest
import redis
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.cli import options
from online_features_provider.hooks import named_stores
from sqlalchemy.engine import make_url

from demo.workplace import PROJECT
from tests.cli.conftest import Run
from tests.support.processes import modules_after

pytestmark = pytest.mark.oldest

COMMAND = [sys.executable, "-m", "online_features"]


@pytest.fixture
def environment(redis_url: str) -> dict[str, str]:
    return {**os.environ, "ONLINE_FEATURES_REDIS": redis_url, "COLUMNS": "60"}


def provider_entry_points() -> dict[str, str]:
    """The provider's entry points for the command, as pyproject.toml has them."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    return dict(project["entry-points"][options.ENTRY_POINTS])


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    points = provider_entry_points()
    assert points.keys() == {"redis", "postgres"}
    monkeypatch.setattr(
        options, "entry_points", lambda *, group, name: [EntryPoint(name=name, value=points[name], group=group)]
    )


@pytest.fixture
def airflow_connections(connections: None, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connections of Airflow, on the test's database of Redis."""
    url = make_url(redis_url)
    known = {"conn_type": "redis", "host": url.host, "port": url.port, "extra": {"db": int(url.database or 0)}}
    monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", json.dumps(known))
    monkeypatch.setenv(named_stores.CONTEXT_VARIABLE, named_stores.WITH_DATABASE)  # and not for later tests


def test_a_pipe_gets_whole_lines_without_colours(
    make_view: Callable[..., FeatureView], trips: FeatureView, offline: OfflineStore, online: OnlineStore,
    environment: dict[str, str],
) -> None:  # fmt: skip
    materialize(trips, offline, online)
    name = "v" * 200
    materialize(make_view(name=name, project="shop"), offline, online)
    piped = subprocess.run([*COMMAND, "status"], env=environment, capture_output=True, text=True, check=False)
    assert (piped.returncode, piped.stderr) == (0, "")
    assert f"shop:{name}" in piped.stdout
    assert "\x1b" not in piped.stdout
    assert "…" not in piped.stdout


def test_a_terminal_asks_and_cuts_nothing_off(
    trips: FeatureView, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    environment: dict[str, str],
) -> None:  # fmt: skip
    first = materialize(trips, offline, online).generation
    second = materialize(trips, offline, online, full=True).generation
    told = in_terminal([*COMMAND, "rollback", "trips"], environment, b"n\n")
    assert "Do this? [y/N]" in told
    assert online.generations(trips).published == second
    told = in_terminal([*COMMAND, "rollback", "trips"], environment, b"y\n")
    assert f"readers see generation {first}" in told
    assert online.generations(trips).published == first
    name = "v" * 100
    materialize(make_view(name=name, project="shop"), offline, online)
    shown = in_terminal([*COMMAND, "status"], {**environment, "TERM": "xterm"}, b"")
    assert "\x1b[" in shown, "colours"
    assert shown.count("v") > 100


def in_terminal(command: list[str], environment: dict[str, str], typed: bytes) -> str:
    """Run the command in a terminal, and return what it shows."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdin=end, stdout=end, stderr=end)
    os.close(end)
    os.write(terminal, typed)
    shown = b""
    while True:
        try:
            some = os.read(terminal, 65536)
        except OSError:  # the process has closed its end
            break
        if not some:
            break
        shown += some
    process.wait()
    os.close(terminal)
    return shown.decode()


def test_errors_of_a_process(environment: dict[str, str]) -> None:
    command = [*COMMAND, "show", "[red]none"]
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: feature view '[red]none': this Redis holds no feature view at all")
    assert "Traceback" not in failed.stderr
    unknown = subprocess.run([*COMMAND, "nonsense"], env=environment, capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "nonsense" in unknown.stderr


def test_a_missing_extra_is_named_in_one_line() -> None:
    script = "import sys; sys.modules['typer'] = None\nfrom online_features.cli.entry import main\nmain()"
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert failed.returncode == 2
    assert failed.stderr == (
        "Error: online-features[cli] is needed for the command -> pip install 'online-features[cli]'\n"
    )


def test_the_engine_does_not_load_the_command() -> None:
    statement = "from online_features import FeatureView, OnlineStore, OfflineStore, materialize, verify"
    loaded = modules_after(statement)
    assert not [name for name in loaded if name.split(".")[0] == "typer" or name.startswith("online_features.cli")]


def test_looking_loads_no_arrow() -> None:
    loaded = modules_after("from online_features.cli.app import app")
    assert not loaded.intersection({"airflow", "pyarrow", "pandas", "sqlalchemy", "adbc_driver_postgresql"})


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_for_shells(shell: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from online_features.cli.entry import main; main()", "--show-completion", shell]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "online-features" in shown.stdout


def test_stores_by_the_ids_of_airflow_connections(
    registered: None,
    airflow_connections: None,
    trips: FeatureView,
    offline: OfflineStore,
    online: OnlineStore,
    run: Run,
) -> None:
    materialize(trips, offline, online)
    outcome = run("status", "--conn-id", "online_store", "--json", ONLINE_FEATURES_REDIS=None)
    assert (outcome.code, outcome.err) == (0, "")
    assert [each["view"] for each in outcome.json["views"]] == ["shop:trips"]
    verified = run("verify", "trips", "--conn-id", "online_store", "--postgres-conn-id", "offline_store", "--json")
    assert (verified.code, verified.json["equal"]) == (0, 20)
    unknown = run("status", "--conn-id", "nowhere")
    assert unknown.code == 2
    assert "connection 'nowhere' is not defined in Airflow" in unknown.err


def test_ids_of_connections_need_airflow(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "entry_points", lambda **_: [])
    outcome = run("status", "--conn-id", "online_store")
    assert outcome.code == 2
    assert "connection 'online_store': ids of connections need airflow-provider-online-features" in outcome.err


def test_what_a_look_up_of_connections_prints_is_no_part_of_the_answer(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    materialize(trips, offline, online)

    class Talkative:
        def load(self) -> Callable[[str], redis.Redis]:
            print("loaded")
            return lambda conn_id: print(conn_id) or online._client  # type: ignore[func-returns-value]

    monkeypatch.setattr(options, "entry_points", lambda **_: [Talkative()])
    outcome = run("status", "--conn-id", "chatter", "--json")
    assert [each["view"] for each in outcome.json["views"]] == ["shop:trips"]
    assert outcome.err == "loaded\nchatter\n"


def test_stdout_is_json_alone_beside_airflow(
    airflow_connections: None, trips: FeatureView, offline: OfflineStore, online: OnlineStore,
    environment: dict[str, str], tmp_path: Path,
) -> None:  # fmt: skip
    """Also what Airflow logs, which is imported for its connections."""
    materialize(trips, offline, online)
    script = (
        "from importlib.metadata import EntryPoint\n"
        "from online_features.cli import options\n"
        f"points = {provider_entry_points()!r}\n"
        "options.entry_points = lambda *, group, name: [EntryPoint(name, points[name], group)]\n"
        "from online_features.cli.entry import main; main()"
    )
    command = [sys.executable, "-c", script, "verify", "trips", "--json", "--conn-id", "online_store",
               "--postgres-conn-id", "offline_store"]  # fmt: skip
    variables = {**os.environ, **environment, "AIRFLOW_HOME": str(tmp_path)}
    told = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["equal"] == 20
