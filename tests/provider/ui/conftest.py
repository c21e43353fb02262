"""The pages in this process: the application, Airflow's simple auth manager, and a user with a role."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html.parser import HTMLParser

import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from fastapi import FastAPI
from fastapi.testclient import TestClient
from online_features_provider.ui.app import create_app

from tests.support.servers.databases import Database


@pytest.fixture
def app(connections: None) -> FastAPI:
    create_auth_manager()
    return create_app()


@pytest.fixture
def as_role(app: FastAPI) -> Callable[[str | None], TestClient]:
    """Makes a browser whose user has a role; ``None`` has none."""

    def browser(role: str | None) -> TestClient:
        app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="someone", role=role)
        return TestClient(app, root_path="/online-features", follow_redirects=False)

    return browser


@pytest.fixture
def browser(as_role: Callable[[str | None], TestClient]) -> Iterator[TestClient]:
    """A browser of a user with the role ``op``."""
    with as_role("op") as browser:
        yield browser


@pytest.fixture
def rows(database: Database) -> Database:
    database("CREATE TABLE rows (id bigint, ts timestamptz, a text, b float8)")
    database("INSERT INTO rows SELECT i, now() - interval '3 hours', 'a' || i, i / 4.0 FROM generate_series(1, 20) i")
    return database


INLINE = ("a", "code", "span", "time")  # tags that do not part words


class Page(HTMLParser):
    """The visible text of a page and its links."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: dict[str, str] = {}
        self._href = ""
        self._link_text: list[str] = []
        self.feed(html)

    @property
    def text(self) -> str:
        """All of it, with single spaces."""
        return " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.words += [] if tag in INLINE else [" "]
        if tag == "a":
            self._href, self._link_text = dict(attrs).get("href") or "", []

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self.links[" ".join("".join(self._link_text).split())] = self._href
            self._href = ""

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self._href:
            self._link_text.append(data)
