"""The two drivers of Airflow's Postgres hook."""

from __future__ import annotations

import pytest
from airflow.providers.postgres.hooks import postgres


@pytest.fixture(params=["psycopg", "psycopg2"])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The driver of Airflow's Postgres hook, which takes psycopg 3 with SQLAlchemy 2 and psycopg2 without."""
    if request.param == "psycopg" and not postgres.USE_PSYCOPG3:
        pytest.skip("Airflow's hook takes psycopg 3 only with SQLAlchemy 2")
    monkeypatch.setattr(postgres, "USE_PSYCOPG3", request.param == "psycopg")
    return str(request.param)
