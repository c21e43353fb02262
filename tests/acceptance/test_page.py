"""The pages in a whole Airflow below a path, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from online_features import OfflineStore, OnlineStore, materialize
from online_features.embedded import embedded_redis
from selenium.webdriver.common.by import By

from demo.browser import Browser, browser
from demo.flights import Flights
from demo.shown_views import late_arrivals, show_views
from demo.whole_airflow import WholeAirflow, whole_airflow
from tests.acceptance.whole import Api
from tests.support.servers.databases import new_database

pytestmark = [pytest.mark.timeout(900), pytest.mark.airflow]

PASSWORDS = {"olga": "secret-of-olga", "victor": "secret-of-victor"}
BACKGROUND = "return getComputedStyle(document.body).backgroundColor"
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(17, 20, 24)"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory, postgres_uri: str) -> Iterator[WholeAirflow]:
    folder = tmp_path_factory.mktemp("whole")
    passwords = folder / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS))
    (folder / "redis").mkdir()
    with new_database(postgres_uri) as database, embedded_redis(folder / "redis") as redis_url:
        flights = Flights(database.uri)
        flights.stage()
        flights.release(timedelta(days=1))
        show_views(database.uri, redis_url)
        with whole_airflow(
            folder, postgres_uri=database.uri, redis_url=redis_url, path="/team",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS="false",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="olga:op,victor:viewer",
            AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(passwords),
            AIRFLOW__ONLINE_FEATURES__REDIS_CONN_IDS="online_store,in_database",
        ) as airflow:  # fmt: skip
            api = Api(airflow, username="olga", password=PASSWORDS["olga"])
            server = urlsplit(redis_url)
            api.post("connections", {"connection_id": "in_database", "conn_type": "redis", "host": server.hostname,
                                     "port": server.port, "extra": json.dumps({"db": 1})})  # fmt: skip
            materialize(late_arrivals, OfflineStore(database.uri), OnlineStore.from_url(f"redis://{server.netloc}/1"))
            shown = OnlineStore.from_url(redis_url)
            api.wait_for("the view that is late on purpose", lambda: shown.summary(str(late_arrivals)).is_late)
            yield airflow


@pytest.fixture(scope="module")
def olga(airflow: WholeAirflow) -> Iterator[Browser]:
    """The browser of a user with the role ``op``."""
    with browser() as window:
        window.log_in(f"{airflow.url}/", "olga", PASSWORDS["olga"])
        yield window


def entry(airflow: WholeAirflow) -> str:
    return f"{airflow.url}/plugin/online_features"


def test_the_navigation_leads_to_the_views_and_a_view_and_its_entities(airflow: WholeAirflow, olga: Browser) -> None:
    olga.driver.get(f"{airflow.url}/")
    olga.wait_for("a", "Online features")
    olga.click("Online features")
    olga.enter_frame()
    olga.wait_for(".condition", "late")
    olga.wait_for(".condition", "check failed")
    olga.click("route_delays")
    olga.wait_for("h1", "route_delays")
    assert len(olga.driver.find_elements(By.CSS_SELECTOR, ".pygal-chart")) == 3
    olga.wait_for("tr.moved", "nulls")
    olga.driver.find_element(By.CSS_SELECTOR, "details summary").click()
    olga.wait_for("details pre", "is not published")
    olga.click("Look at an entity")
    for name, value in (("key.origin", "JFK"), ("key.dest", "LAX")):
        olga.driver.find_element(By.NAME, name).send_keys(value)
    olga.driver.find_element(By.NAME, "postgres_conn_id").click()
    olga.wait_for("main", "The stores differ.")
    olga.click("All views")
    olga.wait_for("h1", "Feature views")


def test_the_views_are_filtered_and_sorted_without_a_script(airflow: WholeAirflow, olga: Browser) -> None:
    olga.open_frame(entry(airflow))
    olga.driver.find_element(By.NAME, "text").send_keys("delays")
    olga.driver.find_element(By.CSS_SELECTOR, "form button").click()
    olga.wait_for("caption", "1 of")
    olga.click("Rows")
    olga.wait_for("th[aria-sort]", "Rows")
    olga.wait_for("caption", "1 of")


@pytest.mark.parametrize("theme, background", [("light", LIGHT), ("dark", DARK)])
def test_the_pages_follow_the_theme_of_airflow(
    airflow: WholeAirflow, olga: Browser, theme: str, background: str
) -> None:
    olga.choose_theme(theme)
    olga.open_frame(entry(airflow))
    olga.wait_for("h1", "Feature views")
    assert olga.driver.execute_script(BACKGROUND) == background
    for path in ("views/online_store/flights/late_arrivals", "entities/online_store/flights/late_arrivals"):
        olga.driver.get(f"{airflow.url}/online-features/{path}")
        olga.wait_for("h1", "late_arrivals")
        assert olga.driver.execute_script(BACKGROUND) == background


def test_a_theme_that_is_chosen_while_the_page_is_shown_is_followed_at_once(
    airflow: WholeAirflow, olga: Browser
) -> None:
    olga.choose_theme("light")
    olga.open_frame(entry(airflow))
    olga.wait_for("h1", "Feature views")
    olga.driver.switch_to.default_content()
    olga.choose_theme("dark")
    olga.enter_frame()
    olga.wait_for("html[data-theme=dark] h1", "Feature views")


def test_a_connection_in_airflows_database_is_found_by_the_api_server(airflow: WholeAirflow, olga: Browser) -> None:
    olga.open_frame(entry(airflow))
    olga.wait_for("tbody td", "in_database")
    assert not olga.driver.find_elements(By.CSS_SELECTOR, "[role=alert]")


def test_links_lead_out_of_the_frame_to_the_task_and_its_tab_leads_back(airflow: WholeAirflow, olga: Browser) -> None:
    api = Api(airflow, username="olga", password=PASSWORDS["olga"])
    api.wait_for_run("flights_features", run_type="scheduled")
    olga.open_frame(f"{entry(airflow)}/team/online-features/views/online_store/flights/plane_trips")
    olga.wait_for("h1", "plane_trips")
    olga.driver.find_element(By.CSS_SELECTOR, "td a[target=_top]").click()
    olga.driver.switch_to.default_content()
    olga.wait_for_address(lambda address: "/team/dags/flights_" in address)
    tab = "a[href*='/tasks/'][href*='online_features']"
    olga.wait_for(tab, "Online features")
    olga.driver.find_element(By.CSS_SELECTOR, tab).click()
    olga.enter_frame()
    olga.wait_for("main", "has written")
    olga.wait_for("tbody a", "plane_trips")


def test_a_page_that_does_not_exist_does_not_nest_airflow_in_itself(airflow: WholeAirflow, olga: Browser) -> None:
    olga.open_frame(f"{entry(airflow)}/team/online-features/nothing")
    olga.wait_for("h1", "404")
    assert not olga.driver.find_elements(By.CSS_SELECTOR, "iframe")


def test_who_is_not_logged_in_sees_nothing(airflow: WholeAirflow) -> None:
    with browser() as window:
        for path in ("", "views/online_store/flights/route_delays", "entities/online_store/flights/route_delays"):
            window.driver.get(f"{airflow.url}/online-features/{path}")
            window.wait_for("h1", "401")
            assert "route_delays" not in window.driver.page_source


def test_a_viewer_may_look_at_views_but_not_at_entities(airflow: WholeAirflow) -> None:
    with browser() as window:
        window.log_in(f"{airflow.url}/", "victor", PASSWORDS["victor"])
        window.open_frame(f"{entry(airflow)}")
        window.wait_for("tbody a", "route_delays")
        window.click("route_delays")
        window.wait_for("h1", "route_delays")
        window.click("Look at an entity")
        window.wait_for("h1", "403")
        window.wait_for(".message", "reading connection 'online_store'")
