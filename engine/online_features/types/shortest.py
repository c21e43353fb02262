"""The shortest decimal of a number of 32 bits, as a float of 64: what Postgres prints for ``real``, and 0.1 for 0.1.

A number of 32 bits is widened to 0.10000000149011612, but the text layouts read back the decimal that is printed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

DIGITS = range(6, 10)  # every number of 6 digits survives 32 bits, and 9 digits tell all numbers of 32 bits apart
LEAST_NORMAL = 2.0**-126  # smaller numbers have fewer digits

# Powers of two with a shorter decimal farther away: numbers below a power of two are closer to it than those above.
EXCEPTIONS = {2.0**-96: 1.2621775e-29, 2.0**87: 1.5474251e26, 2.0**90: 1.2379401e27}

# Between these powers of ten, a number times or by one that floats hold exactly is rounded once: many go at once.
FIRST_POWER, LAST_POWER = -12, 26
EXACT_POWERS = range(23)
AT_ONCE = 8_192  # numbers in a step, so that its arrays stay in the processor's cache


def shortest(number: float) -> float:
    """Return the shortest decimal among those that 32 bits hold as this number.

    :param number: of 32 bits, widened.
    """
    size = abs(number)
    if size in EXCEPTIONS:
        return EXCEPTIONS[size] if number > 0 else -EXCEPTIONS[size]
    for digits in DIGITS if size >= LEAST_NORMAL else range(1, DIGITS.stop):
        decimal = float(f"{number:.{digits - 1}e}")
        if _narrowed(decimal) == number:
            return decimal
    return number  # NaN and infinities


def all_shortest(numbers: np.ndarray) -> np.ndarray:
    """Return :func:`shortest` of many numbers at once.

    :param numbers: float32.
    :return: float64.
    """
    import numpy as np

    return np.concatenate([_some_shortest(numbers[i : i + AT_ONCE]) for i in range(0, len(numbers) or 1, AT_ONCE)])


def _some_shortest(numbers: np.ndarray) -> np.ndarray:
    import numpy as np

    powers = np.array([float(f"1e{power}") for power in EXACT_POWERS])
    decades = np.array([float(f"1e{power}") for power in range(FIRST_POWER, LAST_POWER + 1)])
    with np.errstate(over="ignore", invalid="ignore"):  # NaNs, and numbers that are left to shortest(), may warn
        sizes = np.abs(numbers.astype(np.float64))
        exponents = np.searchsorted(decades, sizes, side="right") - 1 + FIRST_POWER  # of the first digit
        decimals = sizes.copy()
        for digits in reversed(DIGITS):  # the fewest that fit come last
            scale = digits - 1 - exponents
            up = powers[np.maximum(scale, 0)]
            down = powers[np.maximum(-scale, 0)] if scale.min(initial=0) < 0 else 1.0
            candidates = np.rint(sizes * up / down) / up * down
            np.copyto(decimals, candidates, where=candidates.astype(np.float32) == sizes)
    is_fast = (sizes >= decades[0]) & (sizes < decades[-1])
    others = np.flatnonzero(~is_fast & (sizes != 0))
    decimals[others] = [shortest(size) for size in sizes[others].tolist()]
    return np.where(np.signbit(numbers), -decimals, decimals)


def _narrowed(number: Any) -> float:
    """Round to 32 bits."""
    try:
        (narrowed,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        return float("inf")
    return float(narrowed)
