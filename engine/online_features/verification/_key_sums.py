"""Two sets of keys compared in fixed memory.

Each key is added to one of many sums. Where the sums of both sides are equal, so are their keys; only keys of the other
sums need a closer look.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

SUMS = 1 << 16  # 512 KiB: for one stray key among ten million, 150 keys are looked up


class KeySums:
    """Sums of the keys of one side less those of the other."""

    def __init__(self) -> None:
        self._sums = np.zeros(SUMS, dtype=np.uint64)

    def add(self, keys: Iterable[bytes]) -> None:
        """Add keys of one side."""
        hashes = _hashes(keys)
        np.add.at(self._sums, hashes % SUMS, hashes)

    def subtract(self, keys: Iterable[bytes]) -> None:
        """Add keys of the other side."""
        hashes = _hashes(keys)
        np.subtract.at(self._sums, hashes % SUMS, hashes)

    @property
    def are_equal(self) -> bool:
        """Whether both sides have the same keys."""
        return not self._sums.any()

    def may_differ(self, keys: Iterable[bytes]) -> np.ndarray:
        """Return for each key whether one side may lack it."""
        differs: np.ndarray = self._sums[_hashes(keys) % SUMS] != 0
        return differs


def _hashes(keys: Iterable[bytes]) -> np.ndarray:
    """Return 64 bits for each key, the same throughout a process, in no order that a writer of keys can choose."""
    return np.fromiter(map(hash, keys), dtype=np.int64).view(np.uint64)
