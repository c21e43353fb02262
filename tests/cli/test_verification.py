"""Whether what is online is what Postgres says: verify."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pandas as pd
import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, materialize

from tests.cli.conftest import Run
from tests.support.servers.databases import Database


def doubled(rows: pd.DataFrame) -> pd.DataFrame:
    """A transform."""
    return rows.assign(twice=rows["score"] * 2)


WITH_TRANSFORM = FeatureView(
    name="transformed", project="shop", entities=["id"], features=["twice"], transform=doubled,
    source=PostgresSource(table="rows", timestamp_field="ts"),
)  # fmt: skip
PATH = f"{__name__}:WITH_TRANSFORM"


@pytest.fixture
def postgres(rows: Database) -> dict[str, str]:
    return {"ONLINE_FEATURES_POSTGRES": rows.uri}


def test_rows_that_are_equal(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database
) -> None:
    materialize(trips, offline, online)
    outcome = run("verify", "trips", "--postgres", rows.uri, "--all")
    assert outcome.code == 0
    assert "20 rows compared, 20 equal" in outcome.out
    assert run("verify", "trips", "--postgres", rows.uri, "--sample", "5", "--json").json["equal"] >= 5


def test_skew_fails_and_is_repaired_when_asked_for(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, rows: Database, postgres: dict[str, str]
) -> None:
    materialize(trips, offline, online)
    rows("UPDATE rows SET score = 100 WHERE id = 7")
    outcome = run("verify", "trips", "--all", "--record", **postgres)
    assert outcome.code == 1
    assert "1 different" in outcome.out
    assert '{"score": 100.0}' in outcome.out
    assert "1 of 20" in run("status").out

    refused = run("verify", "trips", "--all", "--repair", **postgres)
    assert refused.code == 2
    assert "there is no terminal to ask at -> give --yes" in refused.err
    repaired = run("verify", "trips", "--all", "--repair", "--yes", "--json", **postgres)
    assert (repaired.code, repaired.json["repaired"]) == (1, 1)
    assert run("verify", "trips", "--all", **postgres).code == 0


def test_a_view_with_a_transform_is_named_by_import_path(
    rows: Database, trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run, postgres: dict[str, str]
) -> None:
    materialize(WITH_TRANSFORM, offline, online)
    refused = run("verify", "transformed", **postgres)
    assert refused.code == 2
    assert "has the transform 'doubled', whose code is not in Redis -> name the view by --view-path" in refused.err
    assert run("verify", "transformed", "--view-path", PATH, **postgres).code == 0

    materialize(trips, offline, online)
    other = run("verify", "trips", "--view-path", PATH, **postgres)
    assert other.code == 2
    assert "is feature view shop:transformed, not shop:trips" in other.err
    assert "cannot be imported" in run("verify", "trips", "--view-path", "nowhere:x", **postgres).err


def test_a_view_that_was_only_pushed_to_has_no_source(
    make_view: Callable[..., FeatureView], rows: Database, online: OnlineStore, run: Run, postgres: dict[str, str]
) -> None:
    online.push(make_view(), [{"id": 1, "ts": datetime.now(UTC), "x": 1}])
    outcome = run("verify", "view", **postgres)
    assert outcome.code == 2
    assert "was only pushed to, so Redis does not hold its source" in outcome.err


def test_a_postgres_is_to_be_named_once(
    trips: FeatureView, offline: OfflineStore, online: OnlineStore, run: Run
) -> None:
    materialize(trips, offline, online)
    assert "give --postgres postgresql://host/database or --postgres-conn-id" in run("verify", "trips").err
    two = run("verify", "trips", "--postgres", "postgresql://h/d", "--postgres-conn-id", "offline_store")
    assert "--postgres and --postgres-conn-id name two servers -> give one of them" in two.err
