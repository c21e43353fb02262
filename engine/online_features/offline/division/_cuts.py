"""Cuts an ordered list of weights into parts of about the same weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

POINTS = 500  # neighbours are gathered into so many groups: each is a fraction of a part


def cuts(weights: Sequence[float], parts: int) -> list[int]:
    """Return where each part but the first begins.

    The sum of the squares of the parts' weights is least, so one heavy item has no light ones beside it if there are
    parts enough.

    :param weights: at least one, none of them zero.
    :param parts: how many to make; fewer if there are fewer weights.
    """
    starts = _gathered(weights, sum(weights) / POINTS)
    sums = np.concatenate([[0.0], np.cumsum([sum(weights[a:b]) for a, b in pairwise([*starts, len(weights)])])])
    # squares[i, j]: of a part from group i up to, but without, group j
    squares = np.where(np.tri(len(sums), k=-1).T > 0, (sums[None, :] - sums[:, None]) ** 2, math.inf)
    least, begins = squares[0], []
    for _ in range(min(parts, len(starts)) - 1):
        totals = least[:, None] + squares
        begins.append(totals.argmin(axis=0))
        least = totals.min(axis=0)
    found, end = [], len(starts)
    for begin in reversed(begins):
        end = int(begin[end])
        found.append(starts[end])
    return found[::-1]


def _gathered(weights: Sequence[float], limit: float) -> list[int]:
    """Return where groups of neighbours begin that together weigh no more than the limit, or are one item."""
    starts, gathered = [], math.inf
    for i, weight in enumerate(weights):
        if gathered + weight > limit:
            starts.append(i)
            gathered = 0.0
        gathered += weight
    return starts
