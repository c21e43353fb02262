"""Faults planted in real flights: checks or a verification catch them, or the guide says why not.

Each fault is in a table of docs/quality.md under the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from online_features import (
    FeatureView,
    OfflineStore,
    OnlineStore,
    PostgresSource,
    SkewError,
    ViewStatistics,
    checks,
    materialize,
    verify,
)
from online_features.errors import ChecksFailedError
from online_features.verification import _comparison as comparison

from demo.flights import Flights
from demo.workplace import PROJECT
from tests.quality.own_checks import numbers_vary, values_stay
from tests.support.online import key_of
from tests.support.servers.databases import Database, new_database

pytestmark = pytest.mark.slow

GUIDE = (PROJECT / "docs" / "quality.md").read_text()
CLEAN_DAYS = 30
DAYS_BETWEEN_VERIFICATIONS = 5
HISTORY = timedelta(days=75)
FEATURES = "carrier, origin, dest, dep_delay, arr_delay, air_time, distance"
COLUMNS = f"tailnum, {FEATURES}"
MOST_UNKNOWN = 0.01  # share of rows without an arrival, although the plane departed


def arrivals_are_known(now: ViewStatistics, _: ViewStatistics | None) -> str | None:
    """Find flights that departed and have no arrival; a storm cancels both."""
    unknown = now.features["arr_delay"].null_share - now.features["dep_delay"].null_share
    return f"{unknown:.1%} departed without an arrival" if unknown > MOST_UNKNOWN else None


CHECKS = (
    checks.rows(at_least=1_500, change=0.05),
    checks.rejected(at_most=0.15),
    checks.nulls("dep_delay", at_most=0.1, rise=0.03),
    checks.within("dep_delay", -90, 1_500),
    checks.within("distance", 10, 5_000),
    checks.mean("dep_delay", shift=0.5),
    checks.mean("distance", shift=0.1),
    checks.newest_event(max_age=timedelta(hours=3)),
    checks.newest_event(not_in_future=True),
    checks.newest_event(not_older=True),
    checks.holds(values_stay),
    checks.holds(numbers_vary),
    checks.holds(arrivals_are_known),
)

OF_100_PLANES = "abs(hashtext(tailnum)) % 100"

# What is planted, by its name in the guide, and the check that catches it.
CAUGHT = {
    "a column is all NULL": ("UPDATE trips SET dep_delay = NULL", "nulls('dep_delay'"),
    "twice as many NULLs in one column": (
        "UPDATE trips SET arr_delay = NULL WHERE abs(hashtext(tailnum)) % 1000 < 16", "holds(arrivals_are_known)",
    ),
    "half of the entities are missing": (f"DELETE FROM trips WHERE {OF_100_PLANES} < 50", "rows("),
    "each entity is there twice, once in lower case": (
        f"INSERT INTO trips SELECT lower(tailnum), {FEATURES}, event_timestamp FROM trips", "rows(",
    ),
    "keys are cut off": ("UPDATE trips SET tailnum = left(tailnum, 4)", "rows("),
    "another unit: minutes become seconds": ("UPDATE trips SET dep_delay = dep_delay * 60", "within('dep_delay'"),
    "another unit: miles become kilometres, all within the range": (
        "UPDATE trips SET distance = least(distance * 1.609, 5000)", "mean('distance'",
    ),
    "the sign is flipped": ("UPDATE trips SET dep_delay = -dep_delay", "within('dep_delay'"),
    "one value is out of range": (
        "UPDATE trips SET distance = 99999 WHERE event_timestamp = (SELECT max(event_timestamp) FROM trips)",
        "within('distance'",
    ),
    "a number is constant": ("UPDATE trips SET distance = 1106", "holds(numbers_vary)"),
    "a text is constant": ("UPDATE trips SET carrier = 'UA'", "holds(values_stay)"),
    "texts are cut off": ("UPDATE trips SET carrier = left(carrier, 1)", "holds(values_stay)"),
    "a category is renamed": ("UPDATE trips SET carrier = 'United' WHERE carrier = 'UA'", "holds(values_stay)"),
    "two unlike columns are swapped": ("UPDATE trips SET origin = dest, dest = origin", "holds(values_stay)"),
    "one timestamp is in the future": (
        "UPDATE trips SET event_timestamp = event_timestamp + interval '49 years' "
        "WHERE event_timestamp = (SELECT max(event_timestamp) FROM trips)", "newest_event(not_in_future",
    ),
    "the time zone is lost, to the past": (
        "UPDATE trips SET event_timestamp = event_timestamp - interval '5 hours'", "newest_event(max_age",
    ),
    "the time zone is lost, to the future": (
        "UPDATE trips SET event_timestamp = event_timestamp + interval '5 hours'", "newest_event(not_in_future",
    ),
    "the source is frozen: nothing new for a day": (
        "DELETE FROM trips WHERE event_timestamp > now() - interval '1 day'", "newest_event(max_age",
    ),
    "an old snapshot is loaded again": (
        "DELETE FROM trips WHERE event_timestamp > now() - interval '3 days'", "newest_event(not_older",
    ),
    "rows have no key": (f"UPDATE trips SET tailnum = NULL WHERE {OF_100_PLANES} < 10", "rejected("),
    "the table is empty": ("DELETE FROM trips", "not_empty()"),
}  # fmt: skip

# What no check catches: the guide says why.
NOT_CAUGHT = {
    "two columns that are alike are swapped": "UPDATE trips SET dep_delay = arr_delay, arr_delay = dep_delay",
    "rows belong to other entities, as after a join by the wrong key":
        "UPDATE trips SET tailnum = other FROM (SELECT tailnum AS mine, lead(tailnum, 1, 'N0') OVER (ORDER BY tailnum) "
        "AS other FROM trips WHERE tailnum IS NOT NULL GROUP BY tailnum) moved WHERE tailnum = mine",
    "one wrong value within the range":
        "UPDATE trips SET dep_delay = 90 WHERE tailnum = (SELECT min(tailnum) FROM trips)",
    "a column drifts by less than a check allows": "UPDATE trips SET distance = least(distance * 1.02, 5000)",
    "twice as many NULLs, as on a day of many cancelled flights":
        "UPDATE trips SET dep_delay = NULL, arr_delay = NULL WHERE abs(hashtext(tailnum)) % 1000 < 16",
    "each row is there twice": "INSERT INTO trips SELECT * FROM trips WHERE tailnum IS NOT NULL",
}  # fmt: skip


@pytest.fixture(scope="module")
def flights(postgres_uri: str) -> Iterator[Database]:
    """The flights of every other plane in the last days of the year, and an empty table of trips."""
    with new_database(postgres_uri) as database:
        Flights(database.uri).stage()
        database(
            f"CREATE TABLE history AS SELECT {COLUMNS}, event_timestamp FROM nycflights.staged_flights "
            "WHERE event_timestamp > (SELECT max(event_timestamp) FROM nycflights.staged_flights) - %s "
            "AND coalesce(abs(hashtext(tailnum)), flight) %% 2 = 0",
            HISTORY,
        )
        database("CREATE TABLE trips (LIKE history)")
        yield database


@pytest.fixture
def offline(flights: Database) -> OfflineStore:
    return OfflineStore(flights.uri)


@pytest.fixture
def view(project: str) -> FeatureView:
    return FeatureView(
        name="trips",
        project=project,
        entities=["tailnum"],
        features=FEATURES.split(", "),
        source=PostgresSource(table="trips", timestamp_field="event_timestamp"),
        layout="hash",
        checks=CHECKS,
    )


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "LOOK_AGAIN_SECONDS", 0.0)


def load(flights: Database, *, days_ago: int, now: datetime) -> None:
    """Fill the table with what was known some days before the end of the year.

    :param now: when the last flight of the year leaves.
    """
    flights("TRUNCATE trips")
    flights(
        f"INSERT INTO trips SELECT {COLUMNS}, event_timestamp + (%s - ending) FROM history, "
        "(SELECT max(event_timestamp) AS ending FROM history) _ "
        "WHERE event_timestamp <= ending - make_interval(days => %s)",
        now,
        days_ago,
    )


@pytest.fixture
def yesterday(flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView) -> Iterator[str]:
    """The generation of yesterday; the table has the rows of today."""
    now = datetime.now(UTC)
    load(flights, days_ago=1, now=now)
    # By now, yesterday's rows are too old for the checks.
    generation = materialize(replace(view, checks=()), offline, online, full=True).generation
    load(flights, days_ago=0, now=now)
    assert generation is not None
    return generation


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_check_catches(
    flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, yesterday: str, fault: str
) -> None:
    statement, check = CAUGHT[fault]
    flights(statement)
    with pytest.raises(ChecksFailedError) as caught:
        materialize(view, offline, online, full=True)
    failed = [result.check for result in caught.value.results if result.outcome == "failed"]
    assert [name for name in failed if name.startswith(check)], failed
    assert online.generations(view).published == yesterday


@pytest.mark.parametrize("fault", NOT_CAUGHT)
def test_no_check_catches(
    flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, yesterday: str, fault: str
) -> None:
    flights(NOT_CAUGHT[fault])
    assert materialize(view, offline, online, full=True).is_published
    verify(view, offline, online, sample=None).require()  # what is online is what the source says


@pytest.mark.parametrize("fault", [*CAUGHT, *NOT_CAUGHT])
def test_the_guide_names_what_is_planted(fault: str) -> None:
    assert f"| {fault} |" in GUIDE


def checks_of(days_ago: int) -> tuple[checks.Check, ...]:
    """Return the checks of a run some days ago: by the clock of Postgres, its rows are as many days older."""
    later = timedelta(days=days_ago)
    return tuple(
        replace(check, max_age=check.max_age + later) if getattr(check, "max_age", None) else check for check in CHECKS
    )


def test_clean_days_raise_no_alarm(
    flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    now = datetime.now(UTC)
    for days_ago in range(CLEAN_DAYS, -1, -1):
        load(flights, days_ago=days_ago, now=now)
        result = materialize(replace(view, checks=checks_of(days_ago)), offline, online, full=True)
        unusual = [str(check) for check in result.checks if check.outcome != "passed"]
        assert unusual == [] or days_ago == CLEAN_DAYS
        if days_ago % DAYS_BETWEEN_VERIFICATIONS == 0:
            verify(view, offline, online, sample=None).require()


def removed(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.delete(key_of(online, view, tailnum=plane))


def overwritten(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.hset(key_of(online, view, tailnum=plane), "dep_delay", "77")


def invented(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.copy(key_of(online, view, tailnum=plane), key_of(online, view, tailnum="N00000"))


def put_back(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.hset(key_of(online, view, tailnum=plane), "_ts", "2013-01-01T00:00:00Z")


def damaged(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.hset(key_of(online, view, tailnum=plane), "distance", "far")


def corrected_in_the_source(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    flights("UPDATE trips SET dep_delay = 77 WHERE tailnum = %s", plane)


def deleted_from_the_source(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    flights("DELETE FROM trips WHERE tailnum = %s", plane)


def dated_ahead(flights: Database, online: OnlineStore, view: FeatureView, plane: str) -> None:
    online._client.hset(key_of(online, view, tailnum=plane), "_ts", "2062-01-01T00:00:00Z")


# What is planted after a run, and the class that a verification counts it in.
BETWEEN_THE_STORES = {
    removed: "missing", overwritten: "different", invented: "extra", put_back: "behind", damaged: "unreadable",
    corrected_in_the_source: "different", deleted_from_the_source: "extra",
}  # fmt: skip


@pytest.fixture
def plane(flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView) -> str:
    """A plane online that has not flown for a day, so the next increment does not read it."""
    load(flights, days_ago=0, now=datetime.now(UTC))
    materialize(view, offline, online, full=True)
    query = "SELECT tailnum FROM trips GROUP BY tailnum HAVING max(event_timestamp) < now() - interval '1 day' LIMIT 1"
    ((plane,),) = flights(query)
    return str(plane)


@pytest.mark.parametrize("plant", BETWEEN_THE_STORES, ids=lambda plant: plant.__name__)
def test_a_verification_catches(
    flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, plane: str,
    plant: Callable[..., None],
) -> None:  # fmt: skip
    plant(flights, online, view, plane)
    report = verify(view, offline, online, sample=None)
    assert getattr(report, BETWEEN_THE_STORES[plant]) == 1
    with pytest.raises(SkewError, match=f"1 {BETWEEN_THE_STORES[plant]}"):
        report.require()


def test_a_row_that_is_ahead_is_counted_and_no_failure(
    flights: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, plane: str
) -> None:
    dated_ahead(flights, online, view, plane)
    report = verify(view, offline, online, sample=None)
    report.require()
    assert report.ahead == 1
