"""How good one model is beside another on the same examples: scores, intervals, and what is kept of the teacher's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.stages._splits import Split

RESAMPLES = 2000
PORTION = 512
TINY = 1e-9
Evidence = NDArray[np.float64]  # [examples, k], what a task says of each example


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """A teacher beside the best answer that ignores its input, in words; `lead` is the 95 % interval of how far the teacher is ahead."""

    answer: str
    score: float
    lead: tuple[float, float]

    @property
    def beaten(self) -> bool:
        """Whether the teacher's lead is more than noise."""
        return self.lead[0] > 0


def chance(task: Any, rows: Any, split: Split, names: Sequence[str], teacher: Evidence) -> Chance:
    """What a teacher's evidence is worth beside an answer that ignores its input."""
    answer, evidence = task.chance(rows, split.examples, split.targets, names)
    return Chance(answer=answer, score=task.total(evidence), lead=lead(task, teacher, evidence))


def parts(count: int) -> list[slice]:
    """The examples in portions: answers over a whole vocabulary are a megabyte each, and are not held all at once."""
    return [slice(start, start + PORTION) for start in range(0, count, PORTION)]


def judge(
    task: Any, session: Any, rows: Any, split: Split, names: Sequence[str], pad_id: int, batch_size: int, seen: Callable[[int], None]
) -> tuple[Evidence, list[NDArray[Any]]]:
    """What each example of a split says about the metric of a graph, and what it was decided to be."""
    evidence, decisions, done = [], [], 0
    for part in parts(len(rows)):
        tell = partial(lambda before, now: seen(before + now), done)
        outputs = runtime.run_examples(session, task, rows[part], pad_id, batch_size=batch_size, seen=tell)
        evidence.append(task.evidence(outputs, rows[part], split.examples[part], split.targets[part], names))
        decisions += [np.atleast_2d(one) for one in task.decisions(outputs, rows[part])]
        done += sum(map(len, rows[part]))
    return np.concatenate(evidence), decisions


def retention(task: Any, ours: float, teacher: float) -> float:
    """Our score ÷ the teacher's; the other way round where less is better. 0 where the teacher knows nothing."""
    part, whole = (ours, teacher) if task.HIGHER else (teacher, ours)
    if whole > 0:
        return part / whole
    return 0.0 if task.HIGHER else 1.0  # nothing to keep; nothing to lose


def loss(task: Any, ours: float, teacher: float) -> float:
    """How far our score is behind: teacher minus ours; where less is better, the growth as a share of the teacher's."""
    return teacher - ours if task.HIGHER else (ours - teacher) / max(teacher, TINY)


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
    if task.total(teacher) <= 0:
        return (0.0, 0.0)
    if np.array_equal(bundle, teacher):  # nothing to resample; no difference seen in n examples may still be one in n / 3
        share = task.total(teacher) if teacher.shape[1] == 1 else 1.0
        spread = 3 / (len(teacher) * share)
        return (1 - spread, 1 + spread)
    found = [retention(task, task.total(bundle[rows]), task.total(teacher[rows])) for rows in draws(len(teacher), seed)]
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def lead(task: Any, ours: Evidence, theirs: Evidence, level: float = 0.95) -> tuple[float, float]:
    """Interval of how far ours is ahead of theirs, in the metric's own unit, by a bootstrap in pairs; below 0 is behind."""
    sign = 1 if task.HIGHER else -1
    found = [sign * (task.total(ours[rows]) - task.total(theirs[rows])) for rows in draws(len(ours), 0)]
    low, high = np.percentile(found, [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)


def lost_at_least(task: Any, ours: Evidence, theirs: Evidence) -> float:
    """One-sided 95 % lower bound of how far ours is behind theirs, by a bootstrap in pairs."""
    found = [loss(task, task.total(ours[rows]), task.total(theirs[rows])) for rows in draws(len(ours), 0, 400)]
    return float(np.percentile(found, 5))


def draws(count: int, seed: int, resamples: int = RESAMPLES) -> Iterator[NDArray[np.int64]]:
    """Example numbers drawn with replacement, [n], one resample after the other."""
    random = np.random.default_rng(seed)
    return (random.integers(0, count, count) for _ in range(resamples))
