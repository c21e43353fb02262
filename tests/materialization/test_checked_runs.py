"""Runs measure their rows and judge them: a build before it is published, an increment before its watermark moves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis.asyncio
from online_features import (
    AsyncOnlineStore,
    FeatureView,
    OfflineStore,
    OnlineDataError,
    OnlineStore,
    ViewStatistics,
    checks,
    materialize,
    publish,
)
from online_features.errors import ChecksFailedError, FeatureViewError, GenerationError, PublishError
from online_features.layouts import keyspace

from tests.support.servers.databases import Database

NOW = datetime.now(UTC)
AT = NOW - timedelta(hours=1)


@pytest.fixture
def view(database: Database, make_view: Callable[..., FeatureView]) -> FeatureView:
    database("CREATE TABLE rows (id text, ts timestamptz, created timestamptz DEFAULT clock_timestamp(), x int)")
    database("INSERT INTO rows SELECT i::text, %s, now(), i FROM generate_series(1, 10) i", AT)
    return make_view(features=["x"], source={"created_timestamp_column": "created"})


def states(online: OnlineStore, view: FeatureView) -> list[str]:
    return [known.state.value for known in online.generations(view).generations]


def test_a_build_is_measured(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, client: redis.Redis,
    redis_url: str,
) -> None:  # fmt: skip
    assert online.statistics(view) is None
    first = materialize(view, offline, online).generation
    database("INSERT INTO rows VALUES ('11', %s, now(), NULL)", AT)
    second = materialize(view, offline, online, full=True, publish=False).generation
    of_first, of_second = online.statistics(view), online.statistics(view, second)
    assert of_first is not None
    assert of_first == online.statistics(view, first)
    assert (of_first.rows, of_first.features["x"].mean, of_first.features["x"].nulls) == (10, 5.5, 0)
    assert of_second is not None
    assert (of_second.rows, of_second.features["x"].nulls) == (11, 1)
    assert online.statistics(view, "00000000") is None

    async def read() -> ViewStatistics | None:
        async with AsyncOnlineStore(redis.asyncio.Redis.from_url(redis_url)) as store:
            return await store.statistics(view, second)

    assert asyncio.run(read()) == of_second
    assert OnlineStore(client).statistics(view, second) == of_second  # a client that decodes replies
    assert online.runs(view)[0]["null_shares"] == {"x": round(1 / 11, 4)}


def test_rows_that_a_build_catches_up_with_are_not_counted_twice(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    materialize(view, offline, online)

    def commit(_: object) -> None:
        if online.runs(view)[0]["kind"] == "full":
            database("INSERT INTO rows VALUES ('1', %s, now(), 100), ('11', %s, now(), 100)", NOW, NOW)
            assert materialize(view, offline, online).rows_read == 2

    build = materialize(view, offline, online, full=True, on_progress=commit)
    assert build.rows_written == 12
    found = online.statistics(view, build.generation)
    assert found is not None
    assert (found.rows, found.features["x"].maximum) == (10, 10)


@pytest.mark.parametrize("layout", ["hash", "feast"])
def test_statistics_are_removed_with_their_generation(
    offline: OfflineStore, online: OnlineStore, view: FeatureView, client: redis.Redis, layout: str
) -> None:
    view = replace(view, layout=layout)
    materialize(view, offline, online)
    pattern = f"@online_features:statistics:*{view.project}:*"
    assert len(set(client.scan_iter(pattern))) == 1
    online.drop(view)
    assert list(client.scan_iter(pattern)) == []


def test_damaged_statistics_are_named(
    offline: OfflineStore, online: OnlineStore, view: FeatureView, client: redis.Redis
) -> None:
    generation = materialize(view, offline, online).generation
    client.set(keyspace.statistics_key(view, generation), "nonsense")
    with pytest.raises(OnlineDataError, match="statistics:.* is damaged"):
        online.statistics(view)


def test_a_build_that_fails_is_not_published_and_stays(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    first = materialize(view, offline, online).generation
    database("UPDATE rows SET x = NULL WHERE x > 4")
    checked = replace(view, checks=[checks.nulls("x", at_most=0.5), checks.rows(at_least=10)])
    with pytest.raises(ChecksFailedError) as caught:
        materialize(checked, offline, online, full=True)
    (failed,) = (known for known in online.generations(view).generations if known.state == "refused")
    assert str(caught.value).splitlines() == [
        f"feature view 'view': generation {failed.id} has failed checks, so it is not published",
        "check                    expected      found  published",
        "nulls('x', at_most=0.5)  at most 50 %  60 %   0 %",
        "-> correct table 'rows' and run again, or publish it with ignore_checks=True",
    ]
    assert online.generations(view).published == first
    assert failed.failure == "nulls('x', at_most=0.5)"
    assert online.get_online_features(view, [{"id": "5"}])[0].values == {"x": 5}
    assert online.get_online_features(view, [{"id": "5"}], at_generation=failed.id)[0].values == {"x": None}
    record = online.runs(view)[0]
    assert record["outcome"] == "ChecksFailedError"
    assert [(each["check"], each["outcome"]) for each in record["checks"]] == [
        ("not_empty()", "passed"), ("not_under_half()", "passed"), ("nulls('x', at_most=0.5)", "failed"),
        ("rows(at_least=10)", "passed"),
    ]  # fmt: skip
    with pytest.raises(PublishError, match=r"generation \w+ has failed nulls\('x', at_most=0.5\) -> .*ignore_checks"):
        online.publish([view])


def test_a_build_that_failed_is_replaced_by_the_next(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    checked = replace(view, checks=[checks.rows(at_least=10, change=0.5)])
    materialize(checked, offline, online)
    database("DELETE FROM rows WHERE id = '1'")
    for _ in range(2):
        with pytest.raises(ChecksFailedError):
            materialize(checked, offline, online, full=True)
        assert states(online, view)[-1] == "refused"
    assert [state for state in states(online, view) if state != "retired"] == ["unpublished", "published", "refused"]
    database("INSERT INTO rows VALUES ('1', %s, now(), 1)", AT)
    materialize(checked, offline, online, full=True)
    assert "refused" not in states(online, view)


def test_a_person_may_publish_what_has_failed(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    checked = replace(view, checks=[checks.within("x", 1, 10)])
    materialize(checked, offline, online)
    database("INSERT INTO rows VALUES ('11', %s, now(), 11)", AT)
    with pytest.raises(ChecksFailedError, match="within"):
        materialize(checked, offline, online, full=True)
    refused = online.generations(view).generations[-1].id
    online.push(view, [{"id": "12", "ts": NOW, "created": NOW, "x": 12}])
    assert materialize(view, offline, online).rows_read == 1  # so that the build is behind
    origin = {"dag_id": "d", "task_id": "t"}
    publication = publish([checked], offline, online, ignore_checks=True, origin=origin)
    assert publication.generations == {view.name: refused}
    published = online.generations(view).get(refused)
    assert published is not None
    assert (published.state, published.failure, published.ignored) == ("published", None, "within('x', 1, 10)")
    assert published.origin == origin
    rows = online.get_online_features(view, [{"id": "11"}, {"id": "12"}])
    assert [row.values["x"] for row in rows] == [11, 12]


def test_all_views_are_published_or_none(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    fine, failing = replace(view, name="fine"), replace(view, name="failing", checks=[checks.rows(at_least=11)])
    built = materialize(fine, offline, online, full=True, publish=False)
    with pytest.raises(ChecksFailedError):
        materialize(failing, offline, online, full=True, publish=False)
    for call in (lambda **options: online.publish([fine, failing], **options),
                 lambda **options: publish([fine, failing], offline, online, **options)):  # fmt: skip
        with pytest.raises(PublishError, match="'failing': generation .* has failed rows"):
            call()
    assert online.generations(fine).published == "0"
    online.publish([fine, failing], ignore_checks=True)
    assert online.generations(fine).published == built.generation


def test_a_run_may_ignore_checks(
    offline: OfflineStore, online: OnlineStore, view: FeatureView, caplog: pytest.LogCaptureFixture
) -> None:
    checked = replace(view, checks=[checks.rows(at_least=11)])
    result = materialize(checked, offline, online, ignore_checks=True, origin={"dag_id": "d"})
    assert result.is_published
    assert [(check.check, check.outcome) for check in result.checks][-1] == ("rows(at_least=11)", "failed")
    assert "check rows(at_least=11): expected at least 11, found 10" in " ".join(caplog.messages)
    assert json.loads(json.dumps(result.to_dict()))["checks"] == online.runs(view)[0]["checks"]
    assert online.runs(view)[0]["origin"] == {"dag_id": "d"}


def test_a_warning_keeps_nothing_back(
    offline: OfflineStore, online: OnlineStore, view: FeatureView, caplog: pytest.LogCaptureFixture
) -> None:
    checked = replace(view, checks=[checks.rows(at_least=11, on_failure="warn")])
    assert materialize(checked, offline, online).is_published
    assert "check rows(at_least=11): expected at least 11, found 10" in " ".join(caplog.messages)


def test_what_changed_in_the_definition_has_no_baseline(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    materialize(view, offline, online)
    database("ALTER TABLE rows ADD COLUMN y int DEFAULT 1, ALTER COLUMN x TYPE double precision USING x * 1000")
    checked = replace(view, features=["x", "y"], checks=[checks.mean("x", shift=0), checks.nulls("y", rise=0)])
    result = materialize(checked, offline, online)
    assert [(check.outcome, check.reason) for check in result.checks[2:]] == [
        ("skipped", "its type was integer"), ("skipped", "the feature is new"),
    ]  # fmt: skip


def test_a_definition_that_failed_is_not_built_by_every_increment(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    materialize(view, offline, online)
    database("ALTER TABLE rows ADD COLUMN y int")
    checked = replace(view, features=["x", "y"], checks=[checks.nulls("y", at_most=0.5)])
    with pytest.raises(ChecksFailedError):
        materialize(checked, offline, online)
    with pytest.raises(GenerationError, match="which is refused"):
        materialize(checked, offline, online)


def test_an_increment_that_fails_is_online_and_claims_nothing(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    checked = replace(view, checks=[checks.nulls("x", at_most=0.5, rise=0), checks.rows(at_least=10)])
    before = materialize(checked, offline, online).watermark
    database("INSERT INTO rows VALUES ('11', %s, now(), NULL)", NOW)
    with pytest.raises(ChecksFailedError, match="they are online, but the watermark has not moved"):
        materialize(checked, offline, online)
    assert online.state(view).watermark == before
    assert online.get_online_features(view, [{"id": "11"}])[0].values == {"x": None}
    assert [check["check"] for check in online.runs(view)[0]["checks"]] == ["nulls('x', at_most=0.5, rise=0)"]
    database("INSERT INTO rows VALUES ('12', %s, now(), 12), ('13', %s, now(), 13)", NOW, NOW)
    result = materialize(checked, offline, online)
    assert [check.outcome for check in result.checks] == ["passed"]
    assert result.watermark is not None
    assert before is not None
    assert result.watermark > before
    assert online.statistics(view).rows == 10  # type: ignore[union-attr]


@pytest.mark.parametrize("options", [{}, {"overwrite": True}])
def test_full_runs_in_place_are_judged_before_the_watermark_moves(
    database: Database, offline: OfflineStore, online: OnlineStore, view: FeatureView, options: dict[str, bool]
) -> None:
    checked = replace(view, layout="feast", checks=[checks.rows(change=0.2), checks.mean("x", shift=1)])
    assert [check.outcome for check in materialize(checked, offline, online).checks] == ["skipped", "skipped"]
    database("UPDATE rows SET x = x * 1000, ts = %s", NOW)
    with pytest.raises(ChecksFailedError, match=r"mean\('x', shift=1\)"):
        materialize(checked, offline, online, full=True, **options)
    before = online.state(view).watermark
    assert [check.outcome for check in materialize(checked, offline, online, full=True, ignore_checks=True).checks] == (
        ["passed", "failed"] if not options else ["skipped", "skipped"]
    )
    found = online.statistics(view)
    assert found is not None
    assert found.features["x"].maximum == 10_000
    assert online.state(view).watermark != before


def test_checks_that_do_not_fit_the_source_are_refused_before_a_row_is_read(
    offline: OfflineStore, online: OnlineStore, view: FeatureView
) -> None:
    for check, message in (
        (checks.mean("y", shift=1), "FeatureView 'view': check .*: the view has no feature 'y'"),
        (checks.within("x", NOW), "feature 'x' is integer, which these bounds do not fit"),
    ):
        with pytest.raises(FeatureViewError, match=message):
            materialize(replace(view, features=None, checks=[check]), offline, online)
    assert online.generations(view).generations == ()
