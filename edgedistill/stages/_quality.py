"""How good one model is beside another on the same examples: scores, intervals, and what is kept of the teacher's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
Evidence = NDArray[np.float64]  # [examples, k], what a task says of each example


def retention(task: Any, ours: float, teacher: float) -> float:
    """Our score ÷ the teacher's; the other way round where less is better. 0 where the teacher knows nothing."""
    part, whole = (ours, teacher) if task.HIGHER else (teacher, ours)
    return part / whole if whole else 0.0


def loss(task: Any, ours: float, teacher: float) -> float:
    """How far our score is behind: teacher minus ours; where less is better, the growth as a share of the teacher's."""
    return teacher - ours if task.HIGHER else (ours - teacher) / teacher


def interval(task: Any, evidence: Evidence) -> tuple[float, float]:
    """95 % interval of a score: Wilson's (1927) where it is a share of right examples, else a bootstrap over examples (Efron, Tibshirani 1993)."""
    if evidence.shape[1] == 1 and np.isin(evidence, (0.0, 1.0)).all():
        from scipy.stats import binomtest

        found = binomtest(int(evidence.sum()), len(evidence)).proportion_ci(0.95, method="wilson")
        return float(found.low), float(found.high)
    low, high = np.percentile([task.total(evidence[rows]) for rows in draws(len(evidence), 0)], [2.5, 97.5])
    return float(low), float(high)


def retention_interval(task: Any, bundle: Evidence, teacher: Evidence, seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of the retention over the same examples, resampled in pairs (Efron, Tibshirani 1993, chapter 13).

    Where both say the same of every example: the rule of three (Hanley, Lippman-Hand 1983), 3 / n of them either way.
    """
    if not task.total(teacher):
        return (0.0, 0.0)
    if np.array_equal(bundle, teacher):  # nothing to resample; no difference seen in n examples may still be one in n / 3
        share = task.total(teacher) if teacher.shape[1] == 1 else 1.0
        spread = 3 / (len(teacher) * share)
        return (1 - spread, 1 + spread)
    found = [retention(task, task.total(bundle[rows]), task.total(teacher[rows])) for rows in draws(len(teacher), seed)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def lost_at_least(task: Any, ours: Evidence, theirs: Evidence) -> float:
    """One-sided 95 % lower bound of how far ours is behind theirs, by a bootstrap in pairs."""
    found = [loss(task, task.total(ours[rows]), task.total(theirs[rows])) for rows in draws(len(ours), 0, 400)]
    return float(np.percentile(found, 5))


def draws(count: int, seed: int, resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Example numbers drawn with replacement, [resamples, n]."""
    return np.random.default_rng(seed).integers(0, count, (resamples, count))
