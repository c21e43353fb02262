from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from demo.workplace import PROJECT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "project, folder, package",
    [(PROJECT / "engine", "engine", "online_features"), (PROJECT, "provider", "online_features_provider")],
    ids=["engine", "provider"],
)
def test_a_wheel_contains_its_package_and_nothing_else(
    project: Path, folder: str, package: str, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=project, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = {path for path in (PROJECT / folder / package).rglob("*") if path.is_file()}
    wanted = {path for path in files if path.suffix in {".py", ".lua", ".sql", ".typed"}}
    assert names == {str(path.relative_to(PROJECT / folder)) for path in wanted}
