"""The plugin by which Airflow finds the pages."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from airflow.plugins_manager import AirflowPlugin
from fastapi import FastAPI
from online_features_provider.plugin import OnlineFeaturesPlugin

from demo.workplace import PROJECT

pytestmark = pytest.mark.oldest


def test_its_entry_point_is_declared() -> None:
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["entry-points"]["airflow.plugins"]
    assert declared == {"online_features": "online_features_provider.plugin:OnlineFeaturesPlugin"}
    assert issubclass(OnlineFeaturesPlugin, AirflowPlugin)


def test_it_mounts_the_pages_and_makes_their_application_once() -> None:
    plugin = OnlineFeaturesPlugin()
    (mounted,) = plugin.fastapi_apps
    assert isinstance(mounted["app"], FastAPI)
    assert mounted["url_prefix"] == "/online-features"
    assert plugin.fastapi_apps[0] is mounted


@pytest.mark.parametrize(
    "base_url, root", [("", ""), ("http://host:8080", ""), ("https://host/team/airflow/", "/team/airflow")]
)
def test_its_frames_lead_below_the_path_of_the_deployment(
    base_url: str, root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    nav, tab = OnlineFeaturesPlugin().external_views
    assert (nav["destination"], nav["href"]) == ("nav", f"{root}/online-features/")
    assert (tab["destination"], tab["href"]) == (
        "task_instance", f"{root}/online-features/tasks/{{DAG_ID}}/{{TASK_ID}}",
    )  # fmt: skip
    assert nav["url_route"] != tab["url_route"]


def test_airflow_starts_where_the_pages_cannot_be_imported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "online_features_provider.ui.app", None)
    plugin = OnlineFeaturesPlugin()
    assert (plugin.fastapi_apps, plugin.external_views) == ([], [])
    assert "no pages of online features" in caplog.text


def test_nothing_is_done_at_import() -> None:
    """Every process of Airflow imports the plugin."""
    code = "import sys, online_features_provider.plugin as p; p.OnlineFeaturesPlugin(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "online_features_provider.plugin" in loaded
    assert not [name for name in loaded if name.startswith("online_features_provider.ui")]
