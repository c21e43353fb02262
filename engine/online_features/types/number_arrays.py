"""One-dimensional arrays of numbers in MessagePack: extension values of raw little-endian numbers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from online_features.types.shortest import all_shortest, shortest

if TYPE_CHECKING:
    import numpy as np

# The extension type of MessagePack by the format of a number, as module struct writes it.
EXTENSION_TYPES = {"h": 1, "i": 2, "q": 3, "e": 4, "f": 5, "d": 6}

DECIMALS = ("e", "f")  # formats of numbers that are printed as their shortest decimal of 32 bits

FEW = 100  # numbers: below, a loop is faster than NumPy's first step


class NumberArray(NamedTuple):
    """An extension value of MessagePack.

    :param extension_type: tells the format of the numbers.
    :param payload: the numbers.
    """

    extension_type: int
    payload: bytes


def as_lists(number_format: str, arrays: Sequence[Any]) -> list[list[Any]]:
    """Return the numbers of each array, as the text layouts return them.

    :param number_format: a key of :data:`EXTENSION_TYPES`.
    :raises ValueError: when one is not such an array.
    """
    payloads = [_payload(number_format, array) for array in arrays]
    size = struct.calcsize(number_format)
    ends = accumulate((len(payload) // size for payload in payloads), initial=0)
    numbers = _numbers(number_format, b"".join(payloads))
    return [numbers[start:end] for start, end in pairwise(ends)]


def as_numpy(number_format: str, array: Any) -> np.ndarray:
    """Return the numbers of an array in their own width, without copying them: read-only.

    :raises ValueError: when it is not such an array.
    """
    import numpy as np

    return np.frombuffer(_payload(number_format, array), np.dtype(number_format).newbyteorder("<"))


def numpy_of(number_format: str, value: Any) -> Any:
    """Return a list of numbers as :func:`as_numpy` does; anything else, such as a list with a NULL, as it is."""
    import numpy as np

    if not isinstance(value, list) or not {int, float}.issuperset(map(type, value)):
        return value
    array = np.array(value, np.dtype(number_format).newbyteorder("<"))
    array.flags.writeable = False
    return array


def _payload(number_format: str, array: Any) -> bytes:
    if type(array) is not NumberArray or array.extension_type != EXTENSION_TYPES[number_format]:
        raise ValueError(array)
    if len(array.payload) % struct.calcsize(number_format):
        raise ValueError(array)
    return array.payload


def _numbers(number_format: str, payload: bytes) -> list[Any]:
    count = len(payload) // struct.calcsize(number_format)
    if number_format in DECIMALS and count >= FEW:
        with suppress(ImportError):  # a reader need not have NumPy
            return _decimals(number_format, payload)
    numbers = struct.unpack(f"<{count}{number_format}", payload)
    return list(map(shortest, numbers)) if number_format in DECIMALS else list(numbers)


def _decimals(number_format: str, payload: bytes) -> list[float]:
    import numpy as np

    numbers = np.frombuffer(payload, np.dtype(number_format).newbyteorder("<"))
    decimals: list[float] = all_shortest(numbers.astype(np.float32)).tolist()
    return decimals
