"""Latency ÷ the baseline's, with an interval over the turns that ran both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgedistill.measure import conditions, trust


def ratios(results: Mapping[str, Sequence[Mapping[str, Any]]], baseline: str) -> dict[str, dict[str, Any]]:
    """Median latency ÷ the baseline's over turns (a process's median is the independent draw); none of a single turn."""
    if len(results.get(baseline, ())) < 2:
        return {}
    during = {name: [conditions.during(result) for result in rows] for name, rows in results.items()}
    return {name: _ratio(during[name], during[baseline]) for name in results if name != baseline}


def _ratio(ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of latencies, and of CPU times where the device tells them: these leave out the time that other programs took."""
    found = trust.ratio(*(np.array([one["latency_ms"] for one in rows]) for rows in (ours, theirs)))
    if not all("cpu_ms" in one for one in (*ours, *theirs)):
        return found
    cpu = trust.ratio(*(np.array([one["cpu_ms"] for one in rows]) for rows in (ours, theirs)))
    return found | {"cpu_ratio": cpu["median_ratio"], "cpu_interval": cpu["interval"]}
