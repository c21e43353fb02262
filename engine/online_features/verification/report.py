"""The result of a verification."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from online_features.common.instants import to_text
from online_features.errors import OptionError, SkewError


class SkewClass(StrEnum):
    """What an entity's row online is, compared with the newest one offline."""

    EQUAL = "equal"
    MISSING = "missing"
    EXTRA = "extra"
    BEHIND = "behind"
    AHEAD = "ahead"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"


SAMPLE = 10_000  # entities of each side: misses a skew of one row in a thousand in one of 20,000 verifications

VALUE_CHARACTERS = 100  # of a value in an example
FEATURES_TOLD = 3  # of an example in a message

# What a row may be that is as it should be; everything else is skew.
SOUND = (SkewClass.EQUAL, SkewClass.AHEAD)
SKEW = tuple(kind for kind in SkewClass if kind not in SOUND)


@dataclass(frozen=True, kw_only=True)
class FeatureSkew:
    """How the values of a feature differ in rows with equal timestamps.

    :param mismatches: how many rows have another value online.
    :param share: of the rows that are equal or different.
    :param largest_distance: of two numbers; ``None`` if there is no such pair.
    """

    mismatches: int
    share: float
    largest_distance: float | None


@dataclass(frozen=True, kw_only=True)
class SkewExample:
    """An entity of one class, with both of its rows; values are shortened to what JSON and a log can show.

    :param entity: join keys.
    :param offline: event timestamp and features of the newest row in the source; ``None`` if there is none.
    :param online: the same of the row online.
    :param reason: why a row is unreadable; else empty.
    """

    entity: Mapping[str, Any]
    offline: Mapping[str, Any] | None
    online: Mapping[str, Any] | None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """How the rows online compare with the offline store, as of the watermark.

    :param feature_view: its name.
    :param generation: that was compared.
    :param watermark: of the generation when the verification began.
    :param rows_compared: how many entities are in one of the classes.
    :param equal: rows with the values of the source, and entities that are rightly absent.
    :param missing: entities of the source without a row online.
    :param extra: entities online that the source lacks and nobody pushed; ``None`` if they could not be looked
        for: Redis refuses ``SCAN``, or the keys of layout ``feast`` hold times.
    :param behind: rows older than those of the source.
    :param ahead: rows newer than those of the source, or pushed.
    :param different: rows with the timestamps of the source and other values.
    :param unreadable: rows that are damaged.
    :param skipped: entities in none of the classes, because their rows in the source changed after the watermark.
    :param features: those with mismatches, by name.
    :param examples: a few entities of each class but ``equal``.
    :param repaired: how many rows were written again.
    :param removed: how many extra rows were removed.
    :param seconds: wall time.
    :param verified_at: when it ended.
    """

    feature_view: str
    generation: str
    watermark: datetime
    rows_compared: int
    equal: int
    missing: int
    extra: int | None
    behind: int
    ahead: int
    different: int
    unreadable: int
    skipped: int
    features: Mapping[str, FeatureSkew]
    examples: Mapping[str, Sequence[SkewExample]]
    repaired: int
    removed: int
    seconds: float
    verified_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON has."""
        examples = {kind: list(map(asdict, some)) for kind, some in self.examples.items()}
        return {
            **asdict(self),
            "examples": examples,
            "watermark": to_text(self.watermark),
            "verified_at": to_text(self.verified_at),
            "seconds": round(self.seconds, 3),
        }

    def counts(self) -> dict[str, Any]:
        """Return how many rows there are of each class, and of what, as values that JSON has."""
        shares = {name: skew.share for name, skew in self.features.items()}
        return {
            **{kind.value: getattr(self, kind) for kind in SkewClass},
            "rows_compared": self.rows_compared,
            "skipped": self.skipped,
            "features": shares,
            "verified_at": to_text(self.verified_at),
        }

    def require(self, thresholds: Mapping[str, int] | None = None) -> None:
        """Make sure that there is no more skew than is accepted.

        :param thresholds: class to the most rows that it may have; ``None`` accepts no row of any class of skew.
            Extra rows that were not looked for are accepted.
        :raises SkewError: naming the classes that have more rows, with examples.
        :raises OptionError: when a class is unknown, or a number negative.
        """
        accepted: Mapping[str, int] = {kind.value: 0 for kind in SKEW} if thresholds is None else thresholds
        check_thresholds(accepted)
        above = [SkewClass(name) for name, most in accepted.items() if (getattr(self, name) or 0) > most]
        if above:
            counts = (f"{getattr(self, kind):,} {kind} (at most {accepted[kind]:,})" for kind in above)
            raise SkewError(
                f"feature view {self.feature_view!r}, generation {self.generation}: {', '.join(counts)} "
                f"of {self.rows_compared:,} rows compared; for example {'; '.join(map(self._example, above))} "
                "-> find out who changed which side, then verify with repair=True, or run in full (window='full', in "
                "Python full=True)"
            )

    def in_words(self) -> str:
        """Return the counts in one line."""
        counts = {kind: getattr(self, kind) for kind in SkewClass}
        told = [f"{count:,} {kind}" for kind, count in counts.items() if count]
        unknown = ["extra rows were not looked for"] if self.extra is None else []
        skipped = [f"{self.skipped:,} left out, since they changed after the watermark"] if self.skipped else []
        return ", ".join([f"{self.rows_compared:,} rows compared", *told, *unknown, *skipped])

    def _example(self, kind: SkewClass) -> str:
        """Return the first example of a class in words: what differs, of a row with many features the first few."""
        example = self.examples[kind][0]
        offline, online = example.offline or {}, example.online or {}
        both = [name for name in offline if name in online and offline[name] != online[name]]
        differences = [f"{name} is {offline[name]!r} offline, {online[name]!r} online" for name in both[:FEATURES_TOLD]]
        return ", ".join([f"{kind}: {dict(example.entity)}", *differences, *filter(None, [example.reason])])


def check_thresholds(thresholds: Mapping[str, int]) -> None:
    """Validate thresholds, by class.

    :raises OptionError: naming an unknown class, or a number that is negative.
    """
    for name, most in thresholds.items():
        if name not in SKEW:
            raise OptionError(f"thresholds= names class {name!r}, which is unknown -> choose of {', '.join(SKEW)}")
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise OptionError(f"thresholds={{{name!r}: {most!r}}} must be a number of rows, not negative")


def shown(value: Any) -> Any:
    """Return a value as JSON has it, and not much longer than a line."""
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    words = value if isinstance(value, str) else to_text(value) if _is_instant(value) else str(value)
    return words if len(words) <= VALUE_CHARACTERS else f"{words[:VALUE_CHARACTERS]}…"


def _is_instant(value: Any) -> bool:
    return isinstance(value, datetime) and value.tzinfo is not None
