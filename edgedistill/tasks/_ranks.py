"""Rank correlation and closeness of real-valued answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TENTH = 0.1  # of the range between the 5th and the 95th percentile


def spearman(evidence: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two columns [n, 2]; 0 where one of them does not vary."""
    first, second = (ranks(column) for column in evidence.T)
    first, second = first - first.mean(), second - second.mean()
    spread = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / spread) if spread else 0.0


def ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """Places in ascending order, counted from 1; equal values share the mean of theirs. (SciPy's, but `eval` runs without SciPy.)"""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place], np.float64)


def close(ours: NDArray[Any], theirs: NDArray[Any]) -> NDArray[np.float64]:
    """1 where two models' answers [n] differ by at most a tenth of the range that the second one's have."""
    low, high = np.percentile(theirs, [5, 95])
    return np.asarray(np.abs(ours - theirs) <= TENTH * max(float(high - low), 1e-6), np.float64)
