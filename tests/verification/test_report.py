"""A report tells its counts, and refuses more skew than is accepted."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest
from online_features import OptionError, SkewError
from online_features.verification._tally import EXAMPLES, Tally
from online_features.verification.report import SkewClass, SkewExample, VerificationReport

from tests.conftest import at


def report_of(**counts: int) -> VerificationReport:
    tally = Tally()
    for name, count in counts.items():
        for number in range(count):
            kind = SkewClass(name)
            tally.add(kind)
            if tally.needs_example(kind):
                tally.add_example(
                    kind, SkewExample(entity={"id": number}, offline={"x": 1}, online=None, reason="damaged")
                )
    if "different" in counts:
        tally.add_mismatches({"x": 1.0})
    return tally.report(feature_view="trips", generation="0", watermark=at(0), seconds=1.0)


def test_counts_are_told_in_words() -> None:
    report = report_of(equal=1000, missing=2, ahead=1)
    assert report.in_words() == "1,003 rows compared, 1,000 equal, 2 missing, 1 ahead"
    partial = replace(report, extra=None, skipped=3)
    assert partial.in_words().endswith(
        "1 ahead, extra rows were not looked for, 3 left out, since they changed after the watermark"
    )


@pytest.mark.parametrize("counts, thresholds", [
    ({"equal": 5, "ahead": 5}, None),
    ({"missing": 2, "different": 3}, {"missing": 2}),
    ({"missing": 2}, {}),
])  # fmt: skip
def test_what_is_accepted_passes(counts: dict[str, int], thresholds: Any) -> None:
    report_of(**counts).require(thresholds)
    replace(report_of(**counts), extra=None).require(thresholds)


@pytest.mark.parametrize("name", ["missing", "extra", "behind", "different", "unreadable"])
def test_what_is_not_accepted_is_named_with_an_example(name: str) -> None:
    for thresholds in (None, {name: 0}):
        with pytest.raises(
            SkewError,
            match=rf"generation 0: 1 {name} \(at most 0\) of 1 rows compared; for example {name}: {{'id': 0}}",
        ):
            report_of(**{name: 1}).require(thresholds)


def test_unknown_classes_are_refused() -> None:
    with pytest.raises(OptionError, match="names class 'wrong', which is unknown -> choose of missing, extra, behind"):
        report_of().require({"wrong": 1})


def test_a_report_survives_json_and_pickling() -> None:
    report = report_of(different=20)
    assert len(report.examples["different"]) == EXAMPLES
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()
    assert report.to_dict()["features"] == {"x": {"mismatches": 1, "share": 0.05, "largest_distance": 1.0}}
    assert pickle.loads(pickle.dumps(report)) == report
