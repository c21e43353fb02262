"""Whether a module's feature views are sound: validate."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from demo.workplace import PROJECT
from tests.cli.conftest import Run
from tests.support.servers.databases import Database


def module(folder: Path, code: str) -> str:
    file = folder / f"views_{uuid.uuid4().hex}.py"  # of a name that no other module has
    file.write_text("from online_features import FeatureView, PostgresSource\n" + code)
    return str(file)


def view(name: str = "v", table: str = "t", entity: str = "id") -> str:
    source = f"PostgresSource(table={table!r}, timestamp_field='ts')"
    return f"FeatureView(name={name!r}, entities=[{entity!r}], features=['x'], source={source})"


def test_the_views_of_a_file_are_told(run: Run) -> None:
    outcome = run("validate", str(PROJECT / "dags_examples" / "flights_views.py"))
    assert outcome.code == 0
    assert "plane_trips" in outcome.out
    assert "airport_weather" in outcome.out


def test_a_module_by_its_import_path(run: Run) -> None:
    (found,) = run("validate", "tests.cli.test_verification", "--json").json["views"]
    assert (found["variable"], found["view"], found["features"]) == ("WITH_TRANSFORM", "shop:transformed", ["twice"])


def test_views_in_lists_are_found_once(tmp_path: Path, run: Run) -> None:
    path = module(tmp_path, f"a = {view('a')}\nviews = [a, {view('b')}]\n")
    told = run("validate", path, "--json").json["views"]
    assert [(each["variable"], each["view"]) for each in told] == [("a", "default:a"), ("views[1]", "default:b")]


@pytest.mark.parametrize(
    "code, told",
    [
        ("FeatureView(name='[red]', entities=[], source=None)", "name='[red]' must be letters, digits"),
        ("import nonexistent_module", "cannot be imported: ModuleNotFoundError: No module named"),
        ("raise ValueError('\\x1b[31mtwo\\nlines')", r"ValueError: \x1b[31mtwo lines"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3"),
        ("this is no Python", "SyntaxError"),
        ("x = 1", "holds no feature view"),
        (f"a = {view()}\nb = {view(entity='other')}", "two different feature views are named default:v -> rename one"),
    ],
)
def test_what_is_wrong_ends_with_exit_code_1(code: str, told: str, tmp_path: Path, run: Run) -> None:
    outcome = run("validate", module(tmp_path, code))
    assert (outcome.code, outcome.out) == (1, "")
    assert told in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_file_that_does_not_exist(tmp_path: Path, run: Run) -> None:
    assert run("validate", str(tmp_path / "none.py")).code == 1
    assert run("validate", "no.such.module").code == 1


def test_columns_are_compared_with_postgres_if_one_is_named(tmp_path: Path, run: Run, database: Database) -> None:
    database("CREATE TABLE t AS SELECT 1 AS id, now() AS ts, 2 AS x")
    path = module(tmp_path, f"v = {view()}")
    assert run("validate", path, "--postgres", database.uri).code == 0
    database("ALTER TABLE t RENAME x TO y")
    outcome = run("validate", path, "--postgres", database.uri)
    assert outcome.code == 1
    assert "feature 'x' is not a column of table 't'" in outcome.err
