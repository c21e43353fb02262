"""The page of an entity."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from online_features import FeatureView, OfflineStore, OnlineStore, materialize
from online_features.embedded import reserved_port
from online_features_provider.ui import stores

from tests.provider.ui.conftest import Page
from tests.support.servers.databases import Database

pytestmark = pytest.mark.oldest

ORIGIN = {"dag_id": "d", "task_id": "t", "run_id": "r", "postgres_conn_id": "offline_store"}
COMPARED = {"postgres_conn_id": "offline_store"}


@pytest.fixture
def view(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore
) -> FeatureView:
    view = make_view(layout="msgpack", ttl=timedelta(days=1))
    materialize(view, offline, online, origin=ORIGIN)
    return view


def page_of(browser: TestClient, view: FeatureView, **query: str) -> Page:
    found = browser.get(f"/entities/online_store/{view.project}/{view.name}", params=query)
    assert found.status_code == 200, found.text
    return Page(found.text)


def test_the_row_is_shown_as_readers_see_it(view: FeatureView, online: OnlineStore, browser: TestClient) -> None:
    assert "Look up" in page_of(browser, view).text
    page = page_of(browser, view, **{"key.id": "7"})
    for words in ("present", "Age 3 h", "Time to live 1 d, until", online.state(view).generation, "a text a7",
                  "b double precision 1.75"):  # fmt: skip
        assert words in page.text, words
    assert "Offline" not in page.text
    assert "not found" in page_of(browser, view, **{"key.id": "70"}).text


def test_a_key_of_another_type_is_refused_in_words(view: FeatureView, browser: TestClient) -> None:
    for typed in ("<b>seven", "", "1.5"):
        assert "is not of type bigint" in page_of(browser, view, **{"key.id": typed}).text


def test_both_stores_are_compared_on_request(view: FeatureView, rows: Database, browser: TestClient) -> None:
    assert "Both stores agree." in page_of(browser, view, **{"key.id": "7"}, **COMPARED).text
    rows("UPDATE rows SET b = -1 WHERE id = 7")
    rows("DELETE FROM rows WHERE id = 8")
    rows("INSERT INTO rows VALUES (100, now(), 'new', 1)")
    page = page_of(browser, view, **{"key.id": "7"}, **COMPARED)
    assert "The stores differ." in page.text
    assert "b double precision 1.75 -1.0 differs" in page.text
    assert page.text.count("differs") == 1
    assert "no row differs" in page_of(browser, view, **{"key.id": "8"}, **COMPARED).text
    assert "a text NULL new differs" in page_of(browser, view, **{"key.id": "100"}, **COMPARED).text
    assert "Both stores agree." in page_of(browser, view, **{"key.id": "101"}, **COMPARED).text


@pytest.mark.layouts("hash", "json", "feast")
def test_values_of_every_layout_agree(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    browser: TestClient,
) -> None:  # fmt: skip
    view = make_view()
    materialize(view, offline, online, origin=ORIGIN)
    assert "Both stores agree." in page_of(browser, view, **{"key.id": "7"}, **COMPARED).text


def test_what_cannot_be_compared_says_why(
    rows: Database, make_view: Callable[..., FeatureView], offline: OfflineStore, online: OnlineStore,
    browser: TestClient,
) -> None:  # fmt: skip
    transformed = make_view(name="transformed", features=["b"], transform=same, layout="msgpack")
    materialize(transformed, offline, online, origin=ORIGIN)
    page = page_of(browser, transformed, **{"key.id": "7"}, **COMPARED)
    assert "made by the transform" in page.text
    assert "Offline" not in page.text
    pushed = make_view(name="pushed", features=["a"], layout="msgpack")
    online.push(pushed, [{"id": 1, "ts": datetime.now(UTC), "a": "<i>x</i>"}])
    page = page_of(browser, pushed, **{"key.id": "1"})
    assert "only pushed to" in page.text
    assert "<i>x</i>" in page.text
    by_hand = make_view(name="by_hand", layout="msgpack")
    materialize(by_hand, offline, online)
    assert "has named an Airflow connection" in page_of(browser, by_hand).text


def test_an_offline_store_that_is_away_is_told_within_seconds(
    view: FeatureView, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reserved_port() as port:
        monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", f"postgresql://u:secret@127.0.0.1:{port}/d")
        began = time.monotonic()
        page = page_of(browser, view, **{"key.id": "7"}, **COMPARED)
    assert time.monotonic() - began < 10
    assert "Connection offline_store cannot be read" in page.text
    assert "present" in page.text
    assert "secret" not in page.text


def test_a_store_that_does_not_reply_is_given_up_within_seconds(
    view: FeatureView, browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("AIRFLOW_CONN_OFFLINE_STORE", f"postgresql://u:secret@{address}/d")
        assert "cannot be read" in page_of(browser, view, **{"key.id": "7"}, **COMPARED).text
        monkeypatch.setenv("AIRFLOW_CONN_ONLINE_STORE", f"redis://{address}")
        found = browser.get(f"/entities/online_store/{view.project}/{view.name}")
    assert (found.status_code, "OnlineStoreUnavailableError" in found.text) == (503, True)
    with stores.online_store("online_store") as store:
        options = store._client.connection_pool.connection_kwargs
        assert (options["socket_timeout"], options["socket_connect_timeout"]) == (2, 2)
    assert "connect_timeout=2" in stores.offline_store("offline_store")._conninfo()


def test_looking_at_entities_needs_the_rights_to_read_the_connections(
    view: FeatureView, as_role: Callable[[str | None], TestClient]
) -> None:
    path = f"/entities/online_store/{view.project}/{view.name}"
    for role, expected in (("viewer", 403), ("user", 403), ("op", 200), ("admin", 200)):
        with as_role(role) as browser:
            assert browser.get(path, params={"key.id": "7", **COMPARED}).status_code == expected
            assert browser.get(f"/views/online_store/{view.project}/{view.name}").status_code == 200


def test_only_the_connection_of_the_runs_is_asked(view: FeatureView, browser: TestClient) -> None:
    page = page_of(browser, view, **{"key.id": "7"}, postgres_conn_id="another")
    assert "agree" not in page.text
    assert "cannot be read" not in page.text


def test_the_tab_of_a_task_shows_the_views_that_it_has_written(view: FeatureView, browser: TestClient) -> None:
    path = f"/online-features/views/online_store/{view.project}/view"
    assert path in Page(browser.get("/tasks/d/t").text).links.values()
    page = Page(browser.get("/tasks/d/other").text)
    assert path not in page.links.values()
    assert "None." in page.text


def same(frame: pd.DataFrame) -> pd.DataFrame:
    return frame
