from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import airflow
import jsonschema
import online_features
import pytest
from online_features import OfflineStore, OnlineStore, errors, extras
from online_features_provider.get_provider_info import get_provider_info

from tests.support.processes import HEAVY, modules_after

pytestmark = pytest.mark.oldest

FACE = (
    "online_features_provider.hooks.offline.OfflineStoreHook",
    "online_features_provider.hooks.online.OnlineStoreHook",
    "online_features_provider.operators.check.EntityFreshnessCheckOperator",
    "online_features_provider.operators.check.FeatureViewFreshnessCheckOperator",
    "online_features_provider.operators.materialize.MaterializeOperator",
    "online_features_provider.operators.parts.FinishBuildOperator",
    "online_features_provider.operators.parts.MaterializePartOperator",
    "online_features_provider.operators.parts.PlanBuildOperator",
    "online_features_provider.operators.push.PushOperator",
    "online_features_provider.operators.verify.VerifyOperator",
    "online_features_provider.sensors.freshness.EntityFreshnessSensor",
    "online_features_provider.sensors.freshness.FeatureViewFreshnessSensor",
    "online_features_provider.triggers.freshness.FreshnessTrigger",
    "online_features_provider.assets.feature_view.feature_view_asset",
    "online_features_provider.assets.changes.source_changes",
)
PARSED_OFTEN = (
    "online_features",
    "online_features_provider.operators.check",
    "online_features_provider.operators.materialize",
    "online_features_provider.operators.parts",
    "online_features_provider.operators.push",
    "online_features_provider.operators.verify",
    "online_features_provider.airflow_dags",
    "online_features_provider.decorators.push",
    "online_features_provider.sensors.freshness",
    "online_features_provider.assets.feature_view",
    "online_features_provider.assets.changes",
)


def methods(store: type) -> list[Callable[..., object]]:
    return [method for name, method in inspect.getmembers(store, callable) if not name.startswith("_")]


def test_every_export_exists() -> None:
    for name in online_features.__all__:
        assert getattr(online_features, name).__name__ == name


def test_every_error_is_exported() -> None:
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert defined <= set(online_features.__all__)


@pytest.mark.parametrize(
    "function", [online_features.materialize, online_features.verify, *methods(OfflineStore), *methods(OnlineStore)]
)
def test_what_public_functions_return_is_exported(function: Callable[..., object]) -> None:
    returned = re.findall(r"\b[A-Z]\w+", str(inspect.signature(function).return_annotation))
    assert set(returned) <= {*online_features.__all__, "Any", "None"}


@pytest.mark.parametrize(
    "statement, purpose",
    [
        ("from online_features import materialize", "to materialize"),
        ("from online_features import OfflineStore", "for OfflineStore"),
        ("from online_features import OnlineStore; OnlineStore.from_url('redis://h').push(VIEW, [])", "to push"),
        ("from online_features import OnlineRows; OnlineRows.to_pandas(())", "for to_pandas()"),
        ("from online_features import notification_sql; notification_sql('t')", "for notification SQL"),
    ],
)
def test_a_missing_extra_is_named(statement: str, purpose: str) -> None:
    script = f"""
import sys
sys.modules.update(dict.fromkeys({extras.MATERIALIZE_MODULES!r}))  # None: an import of it fails
from online_features import FeatureView, MissingExtraError, PostgresSource
VIEW = FeatureView(name="v", entities=["id"], source=PostgresSource(table="t", timestamp_field="ts"))
try:
    {statement}
except MissingExtraError as error:
    print(error)
"""
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert printed.startswith(f"online-features[materialize] is needed {purpose} -> pip install ")


def test_an_unknown_export_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        online_features.Nonsense  # noqa: B018


@pytest.mark.parametrize("path", FACE)
def test_the_import_paths_that_users_write(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert getattr(import_module(module), name).__name__ == name


def test_what_dag_files_import_loads_no_driver() -> None:
    airflow_alone = "import airflow.sdk; from airflow.sdk import BaseOperator, BaseSensorOperator"
    imports = f"import {', '.join(PARSED_OFTEN)}"
    assert not (modules_after(f"{airflow_alone}; {imports}") - modules_after(airflow_alone)).intersection(HEAVY)


@pytest.mark.parametrize("store", ["OnlineStore", "AsyncOnlineStore"])
def test_a_reader_loads_neither_airflow_nor_arrow(store: str) -> None:
    assert not modules_after(f"from online_features import {store}, FeatureView").intersection({"airflow", *HEAVY})


def test_the_engine_does_not_load_airflow() -> None:
    statement = "from online_features import FeatureView, PostgresSource, OfflineStore, OnlineStore, materialize"
    assert "airflow" not in modules_after(statement)


def test_the_provider_metadata_fits_airflows_schema() -> None:
    schema = json.loads((Path(airflow.__file__).parent / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_the_provider_metadata_names_modules_that_exist() -> None:
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for integration in info[part]:
            for module in integration["python-modules"]:
                import_module(module)
    for path in info["extra-links"]:
        module, _, name = path.rpartition(".")
        assert getattr(import_module(module), name)


def modules(package: str) -> dict[str, ast.Module]:
    """Every module of a package, parsed, by its dotted name."""
    folder = Path(import_module(package).__path__[0])
    paths = {path: path.relative_to(folder.parent).with_suffix("") for path in folder.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): ast.parse(path.read_text()) for path, name in paths.items()}


@pytest.mark.parametrize("package", ["online_features", "online_features_provider"])
def test_a_private_module_is_imported_by_its_own_package_only(package: str) -> None:
    for importer, tree in modules(package).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                    owner, private, _ = name.partition("._")
                    if private and not name.rpartition(".")[2].startswith("__"):
                        assert f"{importer}.".startswith(f"{owner}."), f"{importer} imports {name}"
