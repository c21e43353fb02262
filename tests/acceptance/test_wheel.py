from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

from demo.workplace import PROJECT


def test_the_wheel_contains_the_package_and_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)],
        cwd=PROJECT, check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "online_features", "airflow_provider_online_features"
    }  # fmt: skip
    package = PROJECT / "provider" / "online_features"
    sources = {path.relative_to(package.parent) for path in package.rglob("*") if path.is_file()}
    wanted = {str(path) for path in sources if path.suffix in {".py", ".lua", ".sql", ".typed"}}
    assert {name for name in names if name.startswith("online_features/")} == wanted
