"""Answers that are no numbers: NaN and infinity, and minus infinity, which language models put where a mask is.

NaN and infinity are faults, up to the share that the profile's `not_finite` allows. Minus infinity is none where the same answer has
numbers beside it: attention and vocabularies are masked with it, or with the lowest number of the type, which would outweigh every other number in
a sum of squares. All of them are held against each other by place alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

NAN, INFINITE, MASKED = 1, 2, 3  # marks; 0 is a number
ALLOW = 'a profile of your own may allow a share of them: [parity.fidelity] not_finite = { value = 0.01, source = "…" }'


class NotFiniteError(ValueError):
    """A model ran, and its answer is no number."""


def marks(array: NDArray[Any]) -> NDArray[np.int8]:
    """What is no number in an answer, place by place."""
    found = np.zeros(array.shape, np.int8)
    if array.dtype.kind == "f":
        found[array <= np.finfo(array.dtype).min / 2] = MASKED
        found[array == np.inf] = INFINITE
        found[np.isnan(array)] = NAN
    return found


def bad(array: NDArray[Any]) -> tuple[int, int]:
    """How many NaN and how many infinities an answer has; minus infinity counts where there is nothing else."""
    found = marks(array)
    nan, infinite, masked = (int((found == kind).sum()) for kind in (NAN, INFINITE, MASKED))
    return nan, infinite + (masked if masked and masked == array.size else 0)


def numbers(array: NDArray[Any]) -> NDArray[np.float64]:
    """An answer in double precision, 0 where it is no number."""
    wide = array.astype(np.float64)
    return np.where(marks(array) > 0, 0.0, wide) if array.dtype.kind == "f" else wide


def comparable(array: NDArray[Any]) -> NDArray[Any]:
    """An answer whose largest value can be looked for: NaN is never it."""
    return np.where(np.isnan(array), -np.inf, array) if array.dtype.kind == "f" else array


def alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two answers of one shape are numbers at the same places."""
    return bool(np.array_equal(marks(one), marks(other)))


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Between the numbers of two answers; infinite where their shapes differ, or the places of what is no number."""
    if one.shape != other.shape or not alike(one, other):
        return float("inf")
    return float(np.abs(numbers(one) - numbers(other)).max(initial=0))


def said(nan: int, infinite: int) -> str:
    """Counts of `bad` in words."""
    return " and ".join(f"{count} {what}" for count, what in ((nan, "NaN"), (infinite, "infinite")) if count)
