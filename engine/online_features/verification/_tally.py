"""Counts of a verification while it goes on, and a few examples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from online_features.verification.report import FeatureSkew, SkewClass, SkewExample, VerificationReport

EXAMPLES = 10  # of each class: enough to see a pattern, few enough for a log and XCom


class Tally:
    """Counts entities by class.

    :ivar skipped: entities whose rows changed after the watermark.
    :ivar finds_extra: whether entities that the source lacks can be found.
    :ivar repaired: rows that were written again.
    :ivar removed: extra rows that were removed.
    """

    def __init__(self) -> None:
        self.skipped = 0
        self.finds_extra = True
        self.repaired = 0
        self.removed = 0
        self._counts: Counter[SkewClass] = Counter()
        self._examples: dict[SkewClass, list[SkewExample]] = defaultdict(list)
        self._mismatches: Counter[str] = Counter()
        self._distances: dict[str, float] = {}

    def add(self, kind: SkewClass, count: int = 1) -> None:
        """Count entities of a class."""
        self._counts[kind] += count

    def needs_example(self, kind: SkewClass) -> bool:
        """Return whether there are few examples of a class yet."""
        return kind != SkewClass.EQUAL and len(self._examples[kind]) < EXAMPLES

    def add_example(self, kind: SkewClass, example: SkewExample) -> None:
        """Keep an example."""
        self._examples[kind].append(example)

    def add_mismatches(self, distances: Mapping[str, float | None]) -> None:
        """Count features of a row that differ.

        :param distances: how far apart the values are, by feature; ``None`` if that is no finite number.
        """
        self._mismatches.update(distances.keys())
        for name, distance in distances.items():
            if distance is not None:
                self._distances[name] = max(distance, self._distances.get(name, 0.0))

    def report(self, *, feature_view: str, generation: str, watermark: datetime, seconds: float) -> VerificationReport:
        """Return the result."""
        counts = self._counts
        compared = counts[SkewClass.EQUAL] + counts[SkewClass.DIFFERENT]
        features = {
            name: FeatureSkew(
                mismatches=count, share=count / compared, largest_distance=self._distances.get(name)
            )
            for name, count in self._mismatches.most_common()
        }  # fmt: skip
        return VerificationReport(
            feature_view=feature_view,
            generation=generation,
            watermark=watermark,
            rows_compared=counts.total(),
            equal=counts[SkewClass.EQUAL],
            missing=counts[SkewClass.MISSING],
            extra=counts[SkewClass.EXTRA] if self.finds_extra else None,
            behind=counts[SkewClass.BEHIND],
            ahead=counts[SkewClass.AHEAD],
            different=counts[SkewClass.DIFFERENT],
            unreadable=counts[SkewClass.UNREADABLE],
            skipped=self.skipped,
            features=features,
            examples={kind.value: tuple(examples) for kind, examples in self._examples.items() if examples},
            repaired=self.repaired,
            removed=self.removed,
            seconds=seconds,
            verified_at=datetime.now(UTC),
        )
