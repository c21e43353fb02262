"""Each check judges rows by what it says, and refuses what it cannot say."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from online_features import FeatureView, checks
from online_features.checks import Check, CheckOutcome, CheckResult, DataSummary
from online_features.checks.judging import failed, failure, guards, judge, table
from online_features.errors import FeatureViewError
from online_features.online.generations.view_definition import definition_fingerprint
from online_features.schema import RowSchema
from online_features.statistics.view_statistics import FeatureStatistics, ViewStatistics
from online_features.types.registry import typed_column

from tests.support.views import VIEW

NOW = datetime(2026, 1, 10, tzinfo=UTC)


def data(rows: int | None = 100, *, at: datetime = NOW, **changed: Any) -> DataSummary:
    """A summary of rows; what begins with ``x_`` is of the statistics of feature ``x``."""
    x = {"type": "integer", "rows": 100, "nulls": 0}
    x.update((name[2:], changed.pop(name)) for name in list(changed) if name.startswith("x_"))
    statistics = ViewStatistics(rows=100, sampled=100, features={"x": FeatureStatistics(**x)})
    return DataSummary(**{"at": at, "rows": rows, "is_empty": rows == 0, "statistics": statistics, **changed})


def judged(check: Check, found: DataSummary, published: DataSummary | None = None) -> tuple[str, str]:
    result = check.judge(found, published)
    assert result.check == str(check)
    return result.outcome.value, result.reason


@pytest.mark.parametrize(
    "check, found, published, outcome",
    [
        (checks.rows(at_least=100), data(100), None, "passed"),
        (checks.rows(at_least=101), data(100), None, "failed"),
        (checks.rows(at_least=0), data(0), None, "passed"),
        (checks.rows(change=0.2), data(120), data(100), "passed"),
        (checks.rows(change=0.2), data(121), data(100), "failed"),
        (checks.rows(change=0.2), data(80), data(100), "passed"),
        (checks.rows(change=0.2), data(79), data(100), "failed"),
        (checks.rows(change=0.2), data(79), None, "skipped"),
        (checks.rows(change=0.2), data(79), data(0), "skipped"),
        (checks.rows(change=0.2), data(79), data(None), "skipped"),
        (checks.rows(at_least=50, change=0.2), data(79), None, "passed"),
        (checks.rows(at_least=80, change=0.2), data(79), None, "failed"),
        (checks.nulls("x", at_most=0.05), data(x_nulls=5), None, "passed"),
        (checks.nulls("x", at_most=0.05), data(x_nulls=6), None, "failed"),
        (checks.nulls("x", rise=0.02), data(x_nulls=7), data(x_nulls=5), "passed"),
        (checks.nulls("x", rise=0.1), data(x_nulls=80), data(x_nulls=70), "passed"),
        (checks.nulls("x", rise=0.02), data(x_nulls=8), data(x_nulls=5), "failed"),
        (checks.nulls("x", rise=0.02), data(x_nulls=0), data(x_nulls=5), "passed"),
        (checks.nulls("x", rise=0.02), data(x_nulls=9), None, "skipped"),
        (checks.nulls("x", at_most=0.05), data(x_rows=0), None, "skipped"),
        (checks.within("x", 0, 10), data(x_minimum=0, x_maximum=10), None, "passed"),
        (checks.within("x", 0, 10), data(x_minimum=-1, x_maximum=10), None, "failed"),
        (checks.within("x", 0, 10), data(x_minimum=0, x_maximum=10.5), None, "failed"),
        (checks.within("x", 0), data(x_minimum=0, x_maximum=99), None, "passed"),
        (checks.within("x", at_most=10), data(x_minimum=-9, x_maximum=11), None, "failed"),
        (checks.within("x", 0, 10), data(x_minimum=0, x_maximum=10, x_not_finite=1), None, "failed"),
        (checks.within("x", 0, 10), data(x_not_finite=1), None, "failed"),
        (checks.within("x", 0, 10), data(x_not_finite=0), None, "skipped"),
        (checks.within("x", date(2026, 1, 1)), data(x_minimum=date(2026, 1, 1), x_maximum=date.max), None, "passed"),
        (checks.mean("x", shift=3), data(x_mean=10.0), data(x_mean=4.0, x_deviation=2.0), "passed"),
        (checks.mean("x", shift=3), data(x_mean=10.1), data(x_mean=4.0, x_deviation=2.0), "failed"),
        (checks.mean("x", shift=3), data(x_mean=-2.1), data(x_mean=4.0, x_deviation=2.0), "failed"),
        (checks.mean("x", shift=3), data(), data(x_mean=4.0, x_deviation=2.0), "failed"),
        (checks.mean("x", shift=3), data(x_mean=0.1 + 2e-17), data(x_mean=0.1, x_deviation=0.0), "passed"),
        (checks.mean("x", shift=3), data(x_mean=0.2), data(x_mean=0.1, x_deviation=0.0), "failed"),
        (checks.mean("x", shift=3), data(x_mean=0.2), data(x_mean=0.1), "skipped"),
        (checks.mean("x", shift=3), data(x_mean=0.2), None, "skipped"),
        (checks.rejected(at_most=0.01), data(rows_read=100, rows_rejected=1), None, "passed"),
        (checks.rejected(at_most=0.01), data(rows_read=100, rows_rejected=2), None, "failed"),
        (checks.rejected(at_most=0.01), data(), None, "skipped"),
        (checks.newest_event(max_age=timedelta(days=2)), data(newest_event=datetime(2026, 1, 8, tzinfo=UTC)), None,
         "passed"),
        (checks.newest_event(max_age=timedelta(days=2)), data(newest_event=datetime(2026, 1, 7, tzinfo=UTC)), None,
         "failed"),
        (checks.newest_event(max_age=timedelta(days=2)), data(), None, "failed"),
        (checks.newest_event(not_in_future=True), data(), None, "passed"),
        (checks.newest_event(not_in_future=True), data(furthest_event=datetime(2027, 1, 1, tzinfo=UTC)), None,
         "failed"),
        (checks.newest_event(not_older=True), data(newest_event=NOW), data(newest_event=NOW), "passed"),
        (checks.newest_event(not_older=True), data(newest_event=NOW - timedelta(1)), data(newest_event=NOW), "failed"),
        (checks.newest_event(not_older=True), data(), data(newest_event=NOW), "failed"),
        (checks.newest_event(not_older=True), data(newest_event=NOW), None, "skipped"),
        (checks.newest_event(not_older=True), data(newest_event=NOW), data(), "skipped"),
    ],
)  # fmt: skip
def test_a_check_judges_by_its_bounds(
    check: Check, found: DataSummary, published: DataSummary | None, outcome: str
) -> None:
    assert judged(check, found, published)[0] == outcome
    warned = replace(check, on_failure="warn").judge(found, published).outcome
    assert warned == (CheckOutcome.WARNED if outcome == "failed" else outcome)


@pytest.mark.parametrize(
    "found, published, reason",
    [
        (data(), None, "nothing is published"),
        (data(is_increment=True), None, "increments are not compared"),
        (data(), data(statistics=None), "the published generation was not measured"),
        (data(), data(statistics=ViewStatistics(rows=1, sampled=1, features={})), "the feature is new"),
        (data(), data(x_type="text"), "its type was text"),
    ],
)
@pytest.mark.parametrize("check", [checks.nulls("x", rise=0.1), checks.mean("x", shift=1)])
def test_what_has_no_baseline_is_skipped_and_said(
    check: Check, found: DataSummary, published: DataSummary | None, reason: str
) -> None:
    assert judged(check, found, published) == ("skipped", reason)


def test_a_result_says_what_was_expected_and_found() -> None:
    before, now = data(1240, x_nulls=3, x_mean=12.6, x_deviation=40.13), data(412, x_nulls=51, x_mean=3.0, x_maximum=7)
    assert checks.rows(at_least=1000, change=0.2).judge(now, before) == CheckResult(
        check="rows(at_least=1000, change=0.2)",
        outcome=CheckOutcome.FAILED,
        expected="at least 1,000; changed by at most 20 %",
        found="412",
        published="1,240",
    )
    nulls = checks.nulls("x", at_most=0.05, rise=0.02).judge(now, before)
    assert (nulls.check, nulls.found, nulls.published) == ("nulls('x', at_most=0.05, rise=0.02)", "51 %", "3 %")
    assert nulls.expected == "at most 5 %; at most 2 % more"
    mean = checks.mean("x", shift=3.0).judge(now, before)
    assert (mean.found, mean.published) == ("3", "12.6 ± 40.13")
    within = checks.within("x", 0, 20_000).judge(data(x_minimum=-1, x_maximum=25_000.5, x_not_finite=2), before)
    assert (within.check, within.expected) == ("within('x', 0, 20000)", "0 to 20,000")
    assert within.found == "-1 to 25,000.5, 2 not finite"
    rejected = checks.rejected(at_most=0.01).judge(data(rows_read=2000, rows_rejected=30), before)
    assert (rejected.expected, rejected.found, rejected.published) == ("at most 1 %", "1.5 % of 2,000", "")
    newest = checks.newest_event(max_age=timedelta(days=2), not_in_future=True).judge(data(newest_event=NOW), before)
    assert newest.check == "newest_event(max_age=2 days, not_in_future=True)"
    assert (newest.expected, newest.found) == ("at most 2 days old; not in the future", "2026-01-10 00:00:00+00:00")


def fine(statistics: ViewStatistics, published: ViewStatistics | None) -> str | None:
    assert isinstance(statistics, ViewStatistics)
    return None if published is None else f"{statistics.rows} rows after {published.rows}"


def broken(statistics: ViewStatistics, published: ViewStatistics | None) -> str | None:
    raise KeyError("distance")


def wordy(statistics: ViewStatistics, published: ViewStatistics | None) -> bool:
    return True


@pytest.mark.parametrize(
    "function, published, outcome, found",
    [
        (fine, None, "passed", "nothing wrong"),
        (fine, data(), "failed", "100 rows after 100"),
        (broken, None, "failed", "KeyError: 'distance'"),
        (wordy, None, "failed", "it returned True -> return None, or a text that says what is wrong"),
    ],
)
def test_a_function_says_what_is_wrong(function: Any, published: Any, outcome: str, found: str) -> None:
    result = checks.holds(function).judge(data(), published)
    assert result == CheckResult(
        check=f"holds({function.__name__})", outcome=CheckOutcome(outcome), expected="nothing wrong", found=found
    )


@pytest.mark.parametrize(
    "found, published, allow_empty, outcomes",
    [
        (0, 100, False, ["failed", "warned"]),
        (0, 100, True, ["warned", "warned"]),
        (0, None, False, ["passed", "skipped"]),
        (0, 0, False, ["passed", "skipped"]),
        (49, 100, False, ["passed", "warned"]),
        (50, 100, False, ["passed", "passed"]),
    ],
)
def test_builds_are_guarded(found: int, published: int | None, allow_empty: bool, outcomes: list[str]) -> None:
    before = None if published is None else data(published)
    assert [result.outcome for result in judge(guards(allow_empty=allow_empty), data(found), before)] == outcomes


def test_rows_that_were_not_counted_are_not_replaced_by_none() -> None:
    assert [result.outcome for result in judge(guards(allow_empty=False), data(0), data(None))] == ["failed", "skipped"]


def test_increments_are_judged_by_rejected_rows_and_nulls() -> None:
    every = [
        checks.rows(at_least=1), checks.nulls("x", at_most=0.5), checks.within("x", 0, 1), checks.mean("x", shift=1),
        checks.rejected(at_most=0.5), checks.newest_event(not_in_future=True), checks.holds(fine),
    ]  # fmt: skip
    results = judge(every, data(is_increment=True, rows_read=2), None)
    assert [result.check for result in results] == ["nulls('x', at_most=0.5)", "rejected(at_most=0.5)"]
    assert len(judge(every, data(), None)) == len(every)


def test_failures_make_a_table_of_short_aligned_lines() -> None:
    every = [
        checks.rows(at_least=50), checks.rows(at_least=1_000, change=0.2, on_failure="warn"),
        checks.nulls("x", at_most=0.05), checks.holds(fine),
    ]  # fmt: skip
    results = judge(every, data(412, x_nulls=51), data(1240))
    assert failed(results) == "nulls('x', at_most=0.05), holds(fine)"
    error = failure("feature view 'trips': generation mwz7cnzr is not published", results, "correct the source")
    assert str(error).splitlines() == [
        "feature view 'trips': generation mwz7cnzr is not published",
        "check                            expected                    found               published",
        "nulls('x', at_most=0.05)         at most 5 %                 51 %                0 %",
        "holds(fine)                      nothing wrong               100 rows after 100",
        "rows(at_least=1000, change=0.2)  at least 1,000; changed by  412                 1,240",
        "                                 at most 20 %",
        "-> correct the source",
    ]
    assert pickle.loads(pickle.dumps(error)).results == tuple(results)
    assert max(map(len, table(results).splitlines())) <= 110


def test_a_timestamp_in_a_table_breaks_between_date_and_time() -> None:
    newest = datetime(2026, 1, 10, 12, 30, 1, 500_000, tzinfo=UTC)
    check = checks.newest_event(max_age=timedelta(days=1))
    found = DataSummary(at=newest + timedelta(days=2), rows=1, is_empty=False, newest_event=newest)
    assert [line.split()[-1] for line in table([check.judge(found, None)]).splitlines()[1:]] == [
        "2026-01-10", "12:30:01.500000+00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "make, message",
    [
        (checks.rows, r"check rows\(\): give at_least=, change= or both"),
        (lambda: checks.rows(at_least=-1), "at_least=-1 must be a number, not negative"),
        (lambda: checks.rows(at_least=1.5), "at_least=1.5 must be a number of rows"),
        (lambda: checks.rows(at_least=True), "at_least=True must be a number of rows"),
        (lambda: checks.rows(change=-0.1), r"check rows\(change=-0.1\): change=-0.1 must be a number, not negative"),
        (lambda: checks.rows(change=float("nan")), "change=nan must be"),
        (lambda: checks.rows(change="20%"), "change='20%' must be"),
        (lambda: checks.nulls("x"), r"check nulls\('x'\): give at_most=, rise= or both"),
        (lambda: checks.nulls("x", at_most=5), "at_most=5 must be a share, from 0 to 1"),
        (lambda: checks.nulls("x", rise=-0.1), "rise=-0.1 must be a share"),
        (lambda: checks.nulls("", rise=0.1), "'' must be the name of a feature"),
        (lambda: checks.nulls(["x"], rise=0.1), r"\['x'\] must be the name of a feature"),
        (lambda: checks.within("x"), "give a least value, a greatest value or both"),
        (lambda: checks.within("x", 2, 1), "its least value is above its greatest"),
        (lambda: checks.within("x", 1, date(2026, 1, 1)), "its bounds must be of one kind"),
        (lambda: checks.within("x", NOW, datetime(2026, 1, 1)), "its bounds must be of one kind"),
        (lambda: checks.within("x", "a", "b"), "'a' must be a number, a date or a datetime"),
        (lambda: checks.within("x", True), "True must be a number"),
        (lambda: checks.within("x", float("nan")), "nan must be a number"),
        (lambda: checks.mean("x", shift=None), "give shift="),
        (lambda: checks.mean("x", shift=-1), "shift=-1 must be a number, not negative"),
        (lambda: checks.mean("x", shift=float("inf")), "shift=inf must be"),
        (lambda: checks.rejected(at_most=None), "give at_most="),
        (lambda: checks.rejected(at_most=1.1), "at_most=1.1 must be a share"),
        (checks.newest_event, "give max_age=, not_in_future=True or not_older=True"),
        (lambda: checks.newest_event(max_age=2), "max_age=2 must be a timedelta above zero"),
        (lambda: checks.newest_event(max_age=timedelta(0)), "must be a timedelta above zero"),
        (lambda: checks.newest_event(not_in_future=1), "not_in_future=1 must be True or False"),
        (lambda: checks.rows(at_least=1, on_failure="ignore"), "on_failure='ignore' must be 'fail' or 'warn'"),
        (lambda: checks.holds(lambda *_: None), "must be a function of a module"),
        (lambda: checks.holds(FeatureView.check_feature_names), "must be a function of a module"),
        (lambda: checks.holds("fine"), "must be a function of a module"),
        (lambda: checks.holds(table), "must take two arguments"),
    ],
)
def test_bounds_that_cannot_be_are_refused_at_once(make: Any, message: str) -> None:
    with pytest.raises(FeatureViewError, match=message):
        make()


@pytest.mark.parametrize(
    "check, kind, message",
    [
        (checks.mean("x", shift=1), "text", r"check mean\('x', shift=1\): feature 'x' is text, which has no mean"),
        (checks.mean("x", shift=1), "boolean", None),
        (checks.mean("x", shift=1), "numeric", None),
        (checks.within("x", 0, 1), "date", "feature 'x' is date, which these bounds do not fit"),
        (checks.within("x", 0, 1), "real", None),
        (checks.within("x", date.min), "date", None),
        (checks.within("x", datetime.min), "date", "feature 'x' is date, which these bounds do not fit"),
        (checks.within("x", datetime.min), "timestamp without time zone", None),
        (checks.within("x", NOW), "timestamp without time zone", "these bounds do not fit"),
        (checks.within("x", NOW), "timestamp with time zone", None),
        (checks.nulls("y", rise=1), "text", "the view has no feature 'y' -> name one of its features"),
        (checks.rows(at_least=1), "text", None),
    ],
)
def test_a_check_refuses_types_that_it_cannot_judge(check: Check, kind: str, message: str | None) -> None:
    columns = {"x": typed_column("x", kind)}
    if message is None:
        check.check_columns(columns)
    else:
        with pytest.raises(FeatureViewError, match=message):
            check.check_columns(columns)


@pytest.mark.parametrize(
    "given, message",
    [
        ([checks.nulls("dep_dely", at_most=0)],
         r"FeatureView 'view': check nulls\('dep_dely', at_most=0\): the view has no feature 'dep_dely' "
         "-> did you mean 'dep_delay'?"),
        (checks.rows(at_least=1), "checks must be a list of checks"),
        (["rows"], "checks holds 'rows'; make checks by the functions of online_features.checks"),
        ([checks.rows], "checks holds <function rows"),
    ],
)  # fmt: skip
def test_a_view_refuses_checks_that_do_not_fit_it(given: Any, message: str) -> None:
    with pytest.raises(FeatureViewError, match=message):
        replace(VIEW, features=["dep_delay"], checks=given)


def test_checks_are_no_part_of_the_definition() -> None:
    checked = replace(VIEW, checks=[checks.nulls("x", at_most=0.1), checks.holds(fine)])
    schema = RowSchema(
        keys=(typed_column("id", "text"),), event_timestamp=typed_column("ts", "date"), created_timestamp=None,
        deleted=None, features=(typed_column("x", "text"),),
    )  # fmt: skip
    assert definition_fingerprint(checked, schema) == definition_fingerprint(VIEW, schema)
    assert checked == VIEW
    assert hash(checked) == hash(VIEW)
    assert checked.checks == (checks.nulls("x", at_most=0.1), checks.holds(fine))
    assert pickle.loads(pickle.dumps(checked)).checks == checked.checks
