"""Both distributions, built and installed into environments that have nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.feature_view import LAYOUTS

from demo.workplace import PROJECT
from tests.support.servers.databases import Database

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MEBIBYTE = 2**20

# What a reader prints: a value of each layout, without and with asyncio.
READER = """
import asyncio, json, sys
from online_features import AsyncOnlineStore, FeatureView, OnlineStore, PostgresSource

url, project, *layouts = sys.argv[1:]
source = PostgresSource(table="rows", timestamp_field="ts")
views = [FeatureView(name=layout, project=project, entities=["id"], source=source, layout=layout) for layout in layouts]

async def read():
    async with AsyncOnlineStore.from_url(url) as online:
        return [(await online.get_online_features(view, [{"id": 1}]))[0].values["name"] for view in views]

online = OnlineStore.from_url(url)
print(json.dumps([
    [online.get_online_features(view, [{"id": 1}])[0].values["name"] for view in views],
    asyncio.run(read()),
]))
"""

# What a run without Airflow prints: how many rows it has written.
RUN = """
import importlib.util, sys
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize

assert importlib.util.find_spec("airflow") is None
uri, url, project = sys.argv[1:]
view = FeatureView(
    name="run", project=project, entities=["id"], source=PostgresSource(table="rows", timestamp_field="ts")
)
print(materialize(view, OfflineStore(uri), OnlineStore.from_url(url)).rows_written)
"""

# What Airflow is told of the provider, by its entry point.
PROVIDER = """
from importlib.metadata import entry_points
from online_features_provider.operators.materialize import MaterializeOperator

(entry,) = [e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("online_features_provider")]
print(entry.load()()["package-name"])
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment that holds what was asked for, and not even pip."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> set[str]:
        """Names of the installed distributions."""
        listed = pip("--python", str(self.python), "list", "--format=json")
        return {package["name"] for package in json.loads(listed)}

    @property
    def size(self) -> int:
        """Bytes of all installed files."""
        (packages,) = self.folder.glob("lib/python*/site-packages")
        return sum(path.stat().st_size for path in packages.rglob("*") if path.is_file())

    def run(self, code: str, *arguments: str) -> str:
        """Run the code, away from the project's files, and return what it prints."""
        words = [self.python, "-I", "-c", code, *arguments]
        return subprocess.run(words, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()


def pip(*words: str) -> str:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the wheel and the sdist of each distribution, as ``make dist`` builds them."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (PROJECT, PROJECT / "engine"):
        command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return folder


@pytest.fixture
def install(built: Path, tmp_path: Path) -> Callable[[str], Environment]:
    """Install a requirement, ours from the wheels, into an environment of its own."""

    def install(requirement: str) -> Environment:
        environment = Environment(tmp_path / "environment")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment.folder], check=True)
        pip("--python", str(environment.python), "install", "--find-links", str(built),
            "--constraint", str(PROJECT / "constraints.txt"), requirement)  # fmt: skip
        return environment

    return install


@pytest.fixture
def rows(database: Database) -> Database:
    """A table ``rows`` with one row."""
    database("CREATE TABLE rows (id bigint, ts timestamptz, fare numeric, name text)")
    database("INSERT INTO rows VALUES (1, '2026-01-01', 12.50, 'Ada')")
    return database


DISTRIBUTIONS = pytest.mark.parametrize(
    "name, package",
    [("online_features", "engine/online_features"),
     ("airflow_provider_online_features", "provider/online_features_provider")],
    ids=["engine", "provider"],
)  # fmt: skip


@DISTRIBUTIONS
def test_a_wheel_contains_its_package_and_nothing_else(built: Path, name: str, package: str) -> None:
    (wheel,) = built.glob(f"{name}-*.whl")
    names = {file for file in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in file}
    folder = PROJECT / package
    files = {path for path in folder.rglob("*") if path.is_file() and path.parent.name != "__pycache__"}
    assert names == {str(path.relative_to(folder.parent)) for path in files}


@DISTRIBUTIONS
def test_an_sdist_builds_the_same_wheel_by_itself(built: Path, tmp_path: Path, name: str, package: str) -> None:
    (sdist,) = built.glob(f"{name}-*.tar.gz")
    pip("wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(sdist))
    (wheel,) = tmp_path.iterdir()
    assert content(wheel) == content(built / wheel.name)


def content(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


def test_an_index_accepts_the_metadata(built: Path) -> None:
    files = [str(file) for file in built.glob("*online_features-*")]
    assert len(files) == 4
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    checked = subprocess.run(command, check=False, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_engine_alone_is_small_and_reads_every_layout(
    install: Callable[[str], Environment],
    rows: Database,
    redis_url: str,
    online: OnlineStore,
    make_view: Callable[..., FeatureView],
    project: str,
) -> None:
    for layout in LAYOUTS:
        materialize(make_view(name=layout, layout=layout), OfflineStore(rows.uri), online)
    environment = install("online-features")
    assert len(environment.packages) <= 8, environment.packages
    assert environment.size < 30 * MEBIBYTE
    read = environment.run(READER, redis_url, project, *LAYOUTS)
    assert json.loads(read) == [["Ada"] * len(LAYOUTS)] * 2


def test_the_engine_alone_says_what_materializing_needs(install: Callable[[str], Environment]) -> None:
    code = """
try:
    from online_features import OfflineStore
    OfflineStore("postgresql://host/database")
except Exception as error:
    print(error)
"""
    assert "online-features[materialize]" in install("online-features").run(code)


def test_the_engine_materializes_without_airflow(
    install: Callable[[str], Environment], rows: Database, redis_url: str, project: str
) -> None:
    assert install("online-features[materialize]").run(RUN, rows.uri, redis_url, project) == "1"


def test_the_command_needs_its_extra_alone(
    install: Callable[[str], Environment], rows: Database, redis_url: str, online: OnlineStore,
    make_view: Callable[..., FeatureView], project: str,
) -> None:  # fmt: skip
    materialize(make_view(), OfflineStore(rows.uri), online)
    environment = install("online-features[cli]")
    assert not environment.packages & {"pyarrow", "pandas", "SQLAlchemy", "apache-airflow"}
    command = [environment.folder / "bin" / "online-features", "get", f"{project}:view", "id=1", "--redis", redis_url]
    told = subprocess.run(command, cwd=environment.folder, check=True, capture_output=True, text=True).stdout
    assert "Ada" in told
    command = [*command[:1], "verify", f"{project}:view", "--redis", redis_url, "--postgres", rows.uri]
    refused = subprocess.run(command, cwd=environment.folder, check=False, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("Error: online-features[materialize] is needed")
    assert refused.stderr.count("\n") == 1


def test_the_provider_is_found_by_airflow(install: Callable[[str], Environment]) -> None:
    environment = install("airflow-provider-online-features")
    assert environment.run(PROVIDER) == "airflow-provider-online-features"
