"""The example DAGs as the DAG processor meets them, on every Airflow that we support."""

from __future__ import annotations

import subprocess
import sys

import pytest
from online_features_provider.operators.run_window import HAS_PARTITIONS

from demo.workplace import PROJECT

pytestmark = pytest.mark.oldest

EXAMPLES = PROJECT / "dags_examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py") if HAS_PARTITIONS or "Partition" not in path.read_text())

CPU_SECONDS = 1.0  # of importing a DAG file, when Airflow itself is there: the processor does it every half minute

IMPORT = """
import time, warnings
import airflow.sdk
from airflow.sdk import DAG, task
warnings.simplefilter("error")
began = time.process_time()
import {name}
print(time.process_time() - began)
"""


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_imported_quickly_and_without_a_warning(name: str) -> None:
    imported = subprocess.run(
        [sys.executable, "-c", IMPORT.format(name=name)], cwd=EXAMPLES, capture_output=True, text=True, check=False
    )
    assert imported.returncode == 0, imported.stderr
    assert "Warning" not in imported.stderr
    assert float(imported.stdout.split()[-1]) < CPU_SECONDS
