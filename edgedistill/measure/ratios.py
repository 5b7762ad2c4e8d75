"""Median latency ÷ the baseline's, with an interval over processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000


def ratios(results: Mapping[str, Sequence[Mapping[str, Any]]], baseline: str) -> dict[str, dict[str, Any]]:
    """Median latency ÷ the baseline's, with a 95 % bootstrap interval over processes (their medians are the independent draws)."""
    if baseline not in results:
        return {}
    medians = {name: np.array([np.median(result["samples_ms"]) for result in rows]) for name, rows in results.items()}
    return {name: _ratio(medians[name], medians[baseline]) for name in medians if name != baseline}


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    draws = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))  # one turn ran both: drawn in pairs
    spread = np.median(ours[draws], axis=1) / np.median(theirs[draws], axis=1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return {"median_ratio": float(np.median(ours) / np.median(theirs)), "interval": [float(low), float(high)]}
