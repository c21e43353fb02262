"""The demo's Airflow: home, metadata database and connections."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from demo.workplace import PROJECT


class DemoAirflow:
    """Airflow's command line in an environment of its own.

    :param home: folder for metadata database and logs.
    :param postgres_uri: of the offline store.
    :param redis_url: of the online store.
    """

    def __init__(self, home: Path, *, postgres_uri: str, redis_url: str, **settings: str) -> None:
        self.log = home / "airflow.log"
        home.mkdir()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
        self.environment = {
            **inherited,
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags_examples"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW_CONN_OFFLINE_STORE": postgres_uri,
            "AIRFLOW_CONN_ONLINE_STORE": redis_url,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            **settings,
        }

    def run(self, *arguments: str) -> None:
        """Run one ``airflow`` command; its output goes to the log.

        :raises SystemExit: with the end of the log, if the command fails.
        """
        with self.log.open("a") as log:
            command = subprocess.run(
                ["airflow", *arguments], env=self.environment, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        if command.returncode:
            tail = "\n".join(self.log.read_text().splitlines()[-30:])
            raise SystemExit(f"{tail}\n\nairflow {' '.join(arguments)} failed; the end of its log is above")
