"""What a run warns of in its log: nothing that anybody wanted, and definitions that change."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from online_features import (
    ChecksFailedError,
    FeatureView,
    GenerationError,
    OfflineStore,
    OnlineStore,
    materialize,
)
from online_features.layouts import keyspace

from tests.support.online import state_key
from tests.support.servers.databases import Database

EMPTY = r"(?s)not_empty\(\) +rows, where there are some  0      1\n.*table 'rows'"  # lines of a table

MakeView = Callable[..., FeatureView]
Warned = Callable[..., str]


@pytest.fixture
def view(database: Database, make_view: MakeView) -> FeatureView:
    database("CREATE TABLE rows AS SELECT 'a' AS id, now() - interval '2 hours' AS ts, 1::numeric AS price")
    return make_view()


@pytest.fixture
def warned(offline: OfflineStore, online: OnlineStore, caplog: pytest.LogCaptureFixture) -> Warned:
    """Materializes a view and returns the warnings."""

    def run(view: FeatureView, *, full: bool = False) -> str:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            materialize(view, offline, online, full=full)
        return " ".join(record.getMessage() for record in caplog.records)

    return run


def test_a_run_of_expired_rejected_or_vanished_rows_warns(
    view: FeatureView, database: Database, warned: Warned, caplog: pytest.LogCaptureFixture
) -> None:
    expiring = replace(view, name="expiring", ttl=timedelta(hours=1))
    assert "all of 1 rows are past their ttl of 1:00:00" in warned(expiring)
    assert warned(view) == ""
    assert warned(view) == ""
    database("UPDATE rows SET id = NULL")
    with pytest.raises(ChecksFailedError, match=EMPTY):
        warned(view, full=True)
    assert "every one of 1 rows was rejected" in caplog.text
    database("TRUNCATE rows")
    with pytest.raises(ChecksFailedError, match=EMPTY):
        warned(view, full=True)
    of_feast = replace(view, name="of_feast", layout="feast")
    database("INSERT INTO rows SELECT 'a', now(), 1")
    assert warned(of_feast) == ""
    database("TRUNCATE rows")
    assert "table 'rows' has no rows, where there were some before -> look at" in warned(of_feast, full=True)
    assert warned(replace(view, name="never")) == ""


def test_a_changed_definition_is_told_by_column(view: FeatureView, database: Database, warned: Warned) -> None:
    warned(view)
    database("ALTER TABLE rows ALTER price TYPE float8, ADD y int")
    told = warned(replace(view, ttl=timedelta(days=7)))
    for change in ("feature 'price': numeric → double precision", "feature 'y' added (integer)", "ttl none → 7 days"):
        assert f"Feature view 'view' has changed: {change}" in told
    assert "another DAG" not in told


def test_definitions_that_take_turns_are_told(view: FeatureView, warned: Warned, online: OnlineStore) -> None:
    week, day = (replace(view, ttl=timedelta(days=days)) for days in (7, 1))
    assert "another DAG" not in warned(week) + warned(day)
    with pytest.raises(GenerationError, match="which is unpublished, .* -> give all DAGs the same definition"):
        warned(week)
    told = warned(week, full=True)
    assert "another DAG or deployment writes this view with a different definition" in told
    assert "ttl 1 day ↔ 7 days -> give the view one definition" in told
    assert warned(week) == ""
    online._client.delete(keyspace.runs_key(view))
    assert "ttl 7 days → 1 day" in (told := warned(day, full=True))
    assert "another DAG" not in told


def test_a_damaged_definition_does_not_keep_a_run_from_writing(
    view: FeatureView, warned: Warned, online: OnlineStore
) -> None:
    warned(view)
    online._client.hset(state_key(online._client, view), mapping={"definition": '{"features": 7}', "fingerprint": "x"})
    warned(view)
    assert online.state(view).definition != {"features": 7}
