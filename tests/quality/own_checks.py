"""Functions for ``checks.holds``, as users would write them."""

from __future__ import annotations

from online_features import ViewStatistics

MOST_MOVED = 0.1  # share of rows whose value of a text feature is another than before


def values_stay(now: ViewStatistics, before: ViewStatistics | None) -> str | None:
    """Compare how common the values of texts are with how common they were."""
    for name, feature in now.features.items():
        if before is None or feature.commonest is None:
            continue
        found, published = ({common.value: common.share for common in each.features[name].commonest or ()}
                            for each in (now, before))  # fmt: skip
        moved = sum(abs(found.get(value, 0) - published.get(value, 0)) for value in found | published) / 2
        if moved > MOST_MOVED:
            return f"{name}: {moved:.0%} of the rows have another value than before"
    return None


def numbers_vary(now: ViewStatistics, _: ViewStatistics | None) -> str | None:
    """Find numbers that are constant."""
    constant = [name for name, feature in now.features.items() if feature.deviation == 0]
    return f"constant: {', '.join(constant)}" if constant else None
