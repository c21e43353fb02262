"""The page of all views."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
import redis
from fastapi.testclient import TestClient
from online_features import FeatureView, OfflineStore, OnlineStore, materialize, verify
from online_features.embedded import reserved_port
from online_features.layouts import keyspace

from demo.workplace import PROJECT
from tests.provider.ui.conftest import Page
from tests.support.servers.databases import Database

pytestmark = pytest.mark.oldest


@pytest.fixture
def views(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> list[FeatureView]:
    """A fresh view and one that is late."""
    views = [
        make_view(name="fresh_one", layout="msgpack", max_staleness=timedelta(hours=1)),
        make_view(name="late_one", layout="msgpack", max_staleness=timedelta(milliseconds=1)),
    ]
    for view in views:
        materialize(view, offline, online)
    return views


def names(html: str) -> list[str]:
    """The views of the page, in its order."""
    return [text for text, href in Page(html).links.items() if "/views/" in href]


def test_what_needs_attention_comes_first(views: list[FeatureView], browser: TestClient, project: str) -> None:
    html = browser.get("/", params={"text": project}).text
    assert names(html) == ["late_one", "fresh_one"]
    page = Page(html)
    assert "2 of" in page.text
    for words in ("late", "fresh", "of 1 h", "3 h ago", "20", "success"):
        assert words in page.text
    assert page.links["late_one"] == f"/online-features/views/online_store/{project}/late_one"


def test_views_are_filtered_by_text_and_by_state(views: list[FeatureView], browser: TestClient, project: str) -> None:
    assert names(browser.get("/", params={"text": f" {project.upper()}:FRESH "}).text) == ["fresh_one"]
    assert names(browser.get("/", params={"text": project, "condition": "late"}).text) == ["late_one"]
    assert names(browser.get("/", params={"text": "no such view"}).text) == []


def test_views_are_sorted_by_each_column(views: list[FeatureView], browser: TestClient, project: str) -> None:
    for order, href in Page(browser.get("/", params={"text": project}).text).links.items():
        if "order=" in href:
            html = browser.get(f"/{href}").text
            assert sorted(names(html)) == ["fresh_one", "late_one"], order
            assert "aria-sort" in html
    assert names(browser.get("/", params={"text": project, "order": "name"}).text) == ["fresh_one", "late_one"]
    assert names(browser.get("/", params={"text": project, "order": "nonsense"}).text) == ["late_one", "fresh_one"]


def test_skew_of_the_last_verification_is_shown(
    views: list[FeatureView], offline: OfflineStore, online: OnlineStore, rows: Database, browser: TestClient,
    project: str,
) -> None:  # fmt: skip
    verify(views[0], offline, online, record=True)
    assert '<td class="number">0</td>' in browser.get("/", params={"text": f"{project}:fresh"}).text
    rows("DELETE FROM rows WHERE id < 4")
    verify(views[0], offline, online, record=True)
    assert '<td class="number bad">3</td>' in browser.get("/", params={"text": f"{project}:fresh"}).text


def test_hundreds_of_views_are_shown_and_hostile_names_escaped(
    client: redis.Redis, browser: TestClient, project: str
) -> None:
    hostile = f"{project}<b>:<script>alert(1)</script>"
    ids = [f"{project}:view_{i}" for i in range(300)]
    client.sadd(keyspace.VIEWS_KEY, hostile, *ids)
    try:
        html = browser.get("/", params={"text": project}).text
    finally:
        client.srem(keyspace.VIEWS_KEY, hostile, *ids)
    assert len(names(html)) == 301
    assert "<script>alert" not in html
    assert "<b>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_what_is_typed_is_escaped(browser: TestClient) -> None:
    html = browser.get("/", params={"text": '"><script>x</script>', "condition": "<i>", "order": "<i>"}).text
    assert "<script>x" not in html
    assert "<i>" not in html


def test_a_store_that_is_away_is_told_within_seconds_and_others_are_shown(
    views: list[FeatureView], browser: TestClient, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__ONLINE_FEATURES__REDIS_CONN_IDS", "away, nowhere, online_store")
    with reserved_port() as port:
        monkeypatch.setenv("AIRFLOW_CONN_AWAY", f"redis://:secret@127.0.0.1:{port}")
        began = time.monotonic()
        page = Page(browser.get("/", params={"text": project}).text)
        assert time.monotonic() - began < 10
    assert names(browser.get("/", params={"text": project}).text) == ["late_one", "fresh_one"]
    assert "Connection away cannot be read" in page.text
    assert "'nowhere' is not defined in Airflow" in page.text
    assert "secret" not in page.text


def test_a_view_that_is_damaged_is_listed(
    views: list[FeatureView], client: redis.Redis, browser: TestClient, project: str
) -> None:
    client.lset(keyspace.runs_key(views[0]), 0, "[1]")
    page = Page(browser.get("/", params={"text": project}).text)
    assert "damaged" in page.text


def test_the_rights_in_redis_that_the_guide_names_are_enough(
    views: list[FeatureView], client: redis.Redis, redis_url: str, browser: TestClient, project: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (line,) = re.findall(r"^ACL SETUSER looking (.*)$", (PROJECT / "docs/page.md").read_text(), re.MULTILINE)
    user = f"looking_{project}"
    client.execute_command("ACL", "SETUSER", user, *line.split())
    try:
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", redis_url.replace("redis://", f"redis://{user}:password@"))
        page = Page(browser.get("/", params={"text": project}).text)
        assert "cannot be read" not in page.text
        assert browser.get(f"/views/online_store/{project}/fresh_one").status_code == 200
        entity = browser.get(f"/entities/online_store/{project}/fresh_one", params={"key.id": "1"})
        assert entity.status_code == 500
        assert "OnlineAccessError" in entity.text
    finally:
        client.execute_command("ACL", "DELUSER", user)


def test_a_page_is_not_kept_and_may_run_no_foreign_script(browser: TestClient) -> None:
    headers = browser.get("/").headers
    assert headers["cache-control"] == "no-store"
    assert "script-src 'self'" in headers["content-security-policy"]
