"""Who may look at the pages."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from online_features_provider.ui import app as app_module
from online_features_provider.ui import rights

pytestmark = pytest.mark.oldest


def paths(app: FastAPI) -> list[str]:
    """One path of each route."""
    assert app.routes
    for route in app.routes:
        assert isinstance(route, APIRoute), f"{route} is no route that the dependencies of the application guard"
        assert route.methods == {"GET"}
    names = {"redis_conn_id": "online_store", "project": "p", "view": "v", "name": "page.css", "dag_id": "d",
             "task_id": "t"}  # fmt: skip
    return [route.path.format(**names) for route in app.routes if isinstance(route, APIRoute)]


def test_anonymous_requests_are_refused_by_every_route(app: FastAPI) -> None:
    with TestClient(app) as browser:
        assert {browser.get(path).status_code for path in paths(app)} == {401}
        assert browser.get("/", headers={"Authorization": "Bearer forged"}).status_code in (401, 403)


def test_a_user_without_a_role_is_refused_by_every_route(
    app: FastAPI, as_role: Callable[[str | None], TestClient]
) -> None:
    with as_role(None) as browser:
        assert {browser.get(path).status_code for path in paths(app)} == {403}
        assert "reading assets" in browser.get("/").text


def test_a_viewer_may_look_at_views(as_role: Callable[[str | None], TestClient]) -> None:
    with as_role("viewer") as browser:
        assert browser.get("/").status_code == 200
        assert browser.get("/static/page.css").status_code == 200
        assert browser.get("/static/page.css").headers["content-type"].startswith("text/css")


def test_everything_is_denied_where_the_auth_manager_cannot_be_imported(
    connections: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "airflow.api_fastapi.core_api.security", None)
            importlib.reload(rights)
            app = importlib.reload(app_module).create_app()
            with TestClient(app) as browser:
                assert {browser.get(path).status_code for path in paths(app)} == {403}
    finally:
        importlib.reload(rights)
        importlib.reload(app_module)


def test_a_page_that_does_not_exist_is_ours_and_not_airflows(browser: TestClient) -> None:
    for path in ("/nothing", "/static/../secret", "/static/page.html"):
        found = browser.get(path)
        assert found.status_code == 404
        assert "All views" in found.text
