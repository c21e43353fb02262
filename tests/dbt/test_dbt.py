"""The guide's views follow dbt: its project is built twice, with changed sources, by the guide's DAG."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from airflow.sdk import DAG
from online_features import OnlineStore
from sqlalchemy.engine import make_url

from demo.workplace import PROJECT
from tests.support.environments import environment_of
from tests.support.servers.databases import Database

pytestmark = pytest.mark.slow

CONSTRAINTS = Path(__file__).parent / "constraints.txt"
EXAMPLE = PROJECT / "docs" / "examples" / "dbt"
GUIDE = (PROJECT / "docs" / "dbt.md").read_text()
FILES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL))

SOURCES = """
CREATE SCHEMA raw;
CREATE TABLE raw.customers (customer_id int PRIMARY KEY, plan text, updated_at timestamptz DEFAULT now());
CREATE TABLE raw.orders (order_id int PRIMARY KEY, product text, amount numeric, ordered_at timestamptz DEFAULT now());
INSERT INTO raw.customers VALUES (1, 'free'), (2, 'free'), (3, 'pro');
INSERT INTO raw.orders VALUES (1, 'tea', 4.50), (2, 'tea', 5.50), (3, 'jam', 3.00);
"""

CHANGES = """
UPDATE raw.customers SET plan = 'pro', updated_at = now() WHERE customer_id = 1;
DELETE FROM raw.customers WHERE customer_id = 3;
INSERT INTO raw.customers VALUES (4, 'free');
DELETE FROM raw.orders WHERE product = 'jam';
INSERT INTO raw.orders VALUES (4, 'tea', 1.00), (5, 'oil', 9.00);
"""


@pytest.fixture
def dag(database: Database, connections: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, project: str) -> DAG:
    """The guide's DAG, with its project in the test's folder and database."""
    programs = environment_of("dbt-core dbt-postgres", CONSTRAINTS, PROJECT / ".dbt")
    shutil.copytree(EXAMPLE, tmp_path / "shop")
    url = make_url(database.uri)
    database(f"ALTER DATABASE {url.database} SET timezone = 'Asia/Tokyo'")
    where = {"PGHOST": url.host, "PGPORT": url.port, "PGUSER": url.username, "PGPASSWORD": url.password or "",
             "PGDATABASE": url.database, "PGTZ": "UTC", "HOME": tmp_path}  # fmt: skip
    for name, value in where.items():
        monkeypatch.setenv(name, str(value))
    places = {"/opt/dbt/bin": programs, "/opt/shop": tmp_path / "shop", '"shop"': f'"{project}"'}
    for name, text in FILES.items():
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(re.sub("|".join(places), lambda found: str(places[found[0]]), text), vars(module))
    dag: DAG = sys.modules["shop_features"].dag
    return dag


def run(dag: DAG) -> dict[str, dict[str, Any]]:
    """Execute the tasks in their order, and return the results of the runs by view."""
    build, *materialize = dag.topological_sort()
    build.execute({})
    return {task.task_id.removesuffix(".materialize"): task.execute({}) for task in materialize}


@pytest.fixture
def online_values(online: OnlineStore, dag: DAG) -> Callable[..., dict[Any, Any]]:
    """Reads the features of these entities of a view, or their status, by entity."""

    def read(name: str, *keys: Any) -> dict[Any, Any]:
        view = getattr(sys.modules["shop_views"], name)
        (key,) = view.entities
        rows = online.get_online_features(view, [{key: value} for value in keys])
        return {row.entity[key]: tuple(row.values.values()) if row.status == "present" else row.status for row in rows}

    return read


def test_the_guide_shows_the_model() -> None:
    (shown,) = re.findall(r"^```sql\n-- models/customers.sql\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert shown == (EXAMPLE / "models" / "customers.sql").read_text()


@pytest.mark.parametrize("strategy", ["merge", "delete+insert"])
def test_each_model_is_online_as_dbt_has_built_it(
    dag: DAG, database: Database, online_values: Callable[..., dict[Any, Any]], strategy: str
) -> None:
    database(SOURCES)
    model = Path(os.environ["HOME"]) / "shop" / "models" / "customers.sql"
    text = model.read_text()
    assert "incremental_strategy='merge'" in text
    model.write_text(text.replace("incremental_strategy='merge'", f"incremental_strategy='{strategy}'"))
    run(dag)
    assert online_values("customers", 1, 2, 3, 4) == {1: ("free",), 2: ("free",), 3: ("pro",), 4: "not_found"}
    assert online_values("products", "tea", "jam") == {"tea": (2, Decimal("10.00")), "jam": (1, Decimal("3.00"))}
    assert online_values("customer_plans", 1, 3) == {1: ("free",), 3: ("pro",)}

    database(CHANGES)
    results = run(dag)
    assert {name: result["start"] is not None for name, result in results.items()} == {
        "customers": True, "products": False, "customer_plans": True,
    }, "the table that was replaced is read in full, the others from the last run on"  # fmt: skip
    assert {name: result["rows_read"] for name, result in results.items()} == {
        "customers": 2, "products": 2, "customer_plans": 3,
    }  # fmt: skip
    assert online_values("customers", 1, 2, 3, 4) == {1: ("pro",), 2: ("free",), 3: ("pro",), 4: ("free",)}
    assert online_values("products", "tea", "jam", "oil") == {
        "tea": (3, Decimal("11.00")), "jam": "not_found", "oil": (1, Decimal("9.00")),
    }  # fmt: skip
    assert online_values("customer_plans", 1, 2, 3, 4) == {1: ("pro",), 2: ("free",), 3: "not_found", 4: ("free",)}
