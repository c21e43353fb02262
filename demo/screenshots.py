"""``make screenshots``: write the pictures of the pages in docs/images, from the demo's Airflow and Chromium."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from online_features import OfflineStore, OnlineStore, materialize
from online_features.embedded import postgres_server, redis_server

from demo.browser import HEIGHT, WIDTH, Browser, browser
from demo.flights import Flights
from demo.shown_views import ORIGIN, late_arrivals, show_views
from demo.whole_airflow import whole_airflow
from demo.workplace import PROJECT, unwind_on_signals, workplace

IMAGES = PROJECT / "docs" / "images"
LARGEST = 200_000  # bytes of a picture

PLANE = "N14228"
TALL = 2000  # pixels: so much of the page of a view is shown
VIEWS = 4  # of the demo and of the DAG flights_features
HELD_BACK = tuple(timedelta(hours=hours) for hours in range(72, 24, -4))  # of flights, before each run
PAUSE = 4.0  # seconds between runs, so that their lags can be seen beside the objective


def main() -> None:
    """Write the pictures.

    :raises SystemExit: when one is too large, or Chromium is missing.
    """
    unwind_on_signals()
    with ExitStack() as stack:
        window = stack.enter_context(browser())
        folder = stack.enter_context(workplace("screenshots"))
        postgres_uri = stack.enter_context(postgres_server(folder))
        redis_url = stack.enter_context(redis_server(folder))
        flights, online = Flights(postgres_uri), OnlineStore.from_url(redis_url)
        flights.stage()
        flights.release(HELD_BACK[0])
        show_views(postgres_uri, redis_url)
        for held_back in HELD_BACK:
            flights.release(held_back)
            time.sleep(PAUSE)
            materialize(
                late_arrivals, OfflineStore(postgres_uri), online, full=held_back == HELD_BACK[-1], origin=ORIGIN
            )  # fmt: skip
        airflow = stack.enter_context(whole_airflow(folder, postgres_uri=postgres_uri, redis_url=redis_url))
        while len(online.overview()) < VIEWS:
            time.sleep(1)
            airflow.check()
        entry = f"{airflow.url}/plugin/online_features"
        window.driver.get(f"{airflow.url}/")
        window.wait_for("a", "Online features")
        window.choose_theme("light")
        window.open_frame(entry)
        window.wait_for("tbody a", "plane_trips")
        _save(window, IMAGES / "views.png")
        window.driver.set_window_size(WIDTH, TALL)
        window.click("late_arrivals")
        window.wait_for("h2", "Features")
        _save(window, IMAGES / "view.png")
        window.driver.set_window_size(WIDTH, HEIGHT)
        window.choose_theme("dark")
        window.open_frame(f"{entry}/online-features/entities/online_store/flights/late_arrivals?key.tailnum={PLANE}")
        window.wait_for("h1", "late_arrivals")
        window.driver.find_element("name", "postgres_conn_id").click()
        window.wait_for("main", "store")
        _save(window, IMAGES / "entity.png")


def _save(window: Browser, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    window.save(path)
    print(f"{path.relative_to(PROJECT)}: {path.stat().st_size:,} bytes", flush=True)
    if path.stat().st_size > LARGEST:
        raise SystemExit(f"{path} has more than {LARGEST:,} bytes")
    window.enter_frame()


if __name__ == "__main__":
    main()
