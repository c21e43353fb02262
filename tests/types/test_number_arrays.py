"""Numbers of 32 bits are read as the decimals that Postgres prints for them."""

from __future__ import annotations

import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from online_features.types import number_arrays
from online_features.types.number_arrays import EXTENSION_TYPES, FEW, NumberArray, as_lists, as_numpy, numpy_of
from online_features.types.shortest import all_shortest, shortest

CHANCE = np.random.default_rng()


def samples() -> np.ndarray:
    """Return numbers of all magnitudes, and those whose neighbours are not equally far away."""
    powers = np.float32(2) ** np.arange(-149, 128, dtype=np.float32)
    with np.errstate(over="ignore"):
        tens = np.float32(10) ** np.arange(-45, 39, dtype=np.float32)
    near = [np.nextafter(numbers, np.float32(end)) for numbers in (powers, tens) for end in (0, np.inf)]
    bits = CHANCE.integers(0, 2**32, 30_000, dtype=np.uint32).view(np.float32)
    numbers = [powers, tens, *near, bits[np.isfinite(bits)], (CHANCE.random(30_000) * 2 - 1).astype(np.float32),
               np.round(CHANCE.random(30_000) * 1e6, 2).astype(np.float32), np.float32([0, np.inf])]  # fmt: skip
    positive = np.concatenate(numbers)
    return np.concatenate([positive, -positive])


def printed(numbers: np.ndarray) -> list[str]:
    """Return what layout ``hash`` holds of the numbers, which it reads as floats again."""
    texts: list[str] = pa.array(numbers).cast(pa.string()).to_pylist()
    return [repr(float(text)) for text in texts]


def test_many_and_single_numbers_are_read_as_layout_hash_reads_them() -> None:
    numbers = samples()
    assert list(map(repr, all_shortest(numbers).tolist())) == printed(numbers)
    few = CHANCE.choice(numbers, 10_000)
    assert [repr(shortest(number)) for number in few.tolist()] == printed(few)


def test_powers_of_two_are_read_as_layout_hash_reads_them() -> None:
    powers = np.float32(2) ** np.arange(-149, 128, dtype=np.float32)
    assert [repr(shortest(number)) for number in powers.tolist()] == printed(powers)


def test_halves_have_the_decimals_of_singles() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[~np.isnan(halves)]
    (read,) = as_lists("e", [NumberArray(EXTENSION_TYPES["e"], halves.tobytes())])
    assert list(map(repr, read)) == printed(halves.astype(np.float32))


def test_nan_stays_nan() -> None:
    foreign = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], dtype=np.uint32).view(np.float32)
    assert list(map(repr, all_shortest(foreign).tolist())) == ["nan"] * 3
    assert repr(shortest(float("nan"))) == "nan"


@pytest.mark.parametrize("number_format", EXTENSION_TYPES)
def test_lists_are_the_same_without_numpy(number_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(FEW + 1).astype(number_format) / np.array(7, number_format) if number_format in "efd" else None
    values = np.arange(-FEW, FEW).astype(number_format) if numbers is None else numbers
    arrays = [array_of(number_format, part) for part in (values, values[:3], values[:0])]
    with_numpy = as_lists(number_format, arrays)
    monkeypatch.setitem(sys.modules, "numpy", None)
    assert as_lists(number_format, arrays) == with_numpy
    assert [len(numbers) for numbers in with_numpy] == [len(values), 3, 0]


def array_of(number_format: str, values: Sequence[Any]) -> NumberArray:
    payload = struct.pack(f"<{len(values)}{number_format}", *values)
    return NumberArray(EXTENSION_TYPES[number_format], payload)


@pytest.mark.parametrize("number_format", EXTENSION_TYPES)
def test_numpy_arrays_have_the_width_of_the_type(number_format: str) -> None:
    array = as_numpy(number_format, array_of(number_format, [1, 2]))
    assert (array.tolist(), array.dtype) == ([1, 2], np.dtype(number_format))


@pytest.mark.parametrize("foreign", [b"\0\0\0\0", NumberArray(4, b"\0\0\0\0"), NumberArray(5, b"\0\0\0"), [0.5], None])
def test_other_values_are_refused(foreign: Any) -> None:
    for read in (lambda: as_lists("f", [foreign]), lambda: as_numpy("f", foreign)):
        with pytest.raises(ValueError):  # noqa: PT011
            read()


def test_every_format_has_a_type_of_its_own() -> None:
    assert len(set(number_arrays.EXTENSION_TYPES.values())) == len(number_arrays.EXTENSION_TYPES)
    assert all(0 <= number <= 127 for number in number_arrays.EXTENSION_TYPES.values())


@pytest.mark.parametrize("value", [[1, None], [[1], [2]], ["a"], [True], "text", None])
def test_what_is_no_list_of_numbers_stays_as_it_is(value: Any) -> None:
    assert numpy_of("i", value) is value
