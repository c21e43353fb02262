from __future__ import annotations

import pytest
from online_features.materialization.reporting.progress import Progress

from tests.conftest import at


@pytest.mark.parametrize(
    "progress, words",
    [
        (
            Progress(rows=1_000_000, expected_rows=4_000_000, seconds=10, seconds_left=90),
            "1,000,000 of about 4,000,000 rows (25%), 100,000 rows/s, done at about 12:01:30 UTC",
        ),
        (Progress(rows=50_000, expected_rows=1_000, seconds=2), "50,000 rows, 25,000 rows/s"),
        (Progress(rows=0, expected_rows=0, seconds=0), "0 rows, 0 rows/s"),
    ],
)
def test_progress_in_words(progress: Progress, words: str) -> None:
    assert progress.in_words(at(12)) == words
