"""What the peers' measurements say: ratios with their intervals, differences of accuracy, verdicts, the page in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
Interval = tuple[float, float]


def ratio(ours_ms: Sequence[float], theirs_ms: Sequence[float]) -> tuple[float, Interval]:
    """Ours ÷ theirs, one median latency of each in every turn: the median over turns, and its 95 % bootstrap interval over turns.

    The division comes first: both of a turn ran side by side, so a machine that was slow then was slow for both.
    """
    turns = np.asarray(ours_ms, float) / np.asarray(theirs_ms, float)  # [turns]
    return float(np.median(turns)), _interval(np.median(_drawn(turns), axis=1))


def difference(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, Interval]:
    """Our accuracy less theirs on the same rows, 1 for each right one, with its 95 % bootstrap interval over rows, in pairs."""
    rows = np.asarray(ours, float) - np.asarray(theirs, float)  # [rows]
    return float(rows.mean()), _interval(np.array([rows[draw].mean() for draw in _draws(len(rows), 2000)]))


def _drawn(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return values[_draws(len(values), RESAMPLES)]  # [resamples, n]


def _draws(count: int, resamples: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, count, (resamples, count))


def _interval(found: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(found, [2.5, 97.5])
    return float(low), float(high)


def verdict(row: Mapping[str, Any]) -> str:
    """Whether our bundle takes no longer at no less accuracy; where chance could turn a half of it round, that is said."""
    quick, exact = row["ratio"] <= 1.0, row["difference"] >= 0
    time = "no slower" if quick else "slower"
    time += "" if _beyond(row["ratio_interval"], 1.0) else ", within the noise"
    score = "no less accurate" if exact else "less accurate"
    score += "" if exact or _beyond(row["difference_interval"], 0.0) else ", within chance"
    return f"{'met' if quick and exact else 'not met'}: {time}; {score}"


def _beyond(interval: Interval, border: float) -> bool:
    return interval[1] < border or interval[0] > border


def render(found: Mapping[str, Any]) -> str:
    """The page: ours first, then one line a peer; one that failed says why."""
    ours, where = found["ours"], found["conditions"]
    count = f"{where['test_rows']:,} test rows"
    head = [
        "# Our bundle beside what other tools make of the same student",
        "",
        "Written by `python benchmarks/peers/run.py BUNDLE`. One student, the same calibration rows, the same token ids at their natural length,",
        f"one text at a time. Latency: {where['turns']} turns of fresh processes, {where['threads']} thread, {where['passes']} passes of each over",
        f"{where['timed_rows']} test rows, pass by pass in turns; of each process the median. Ours ÷ peer is made within a turn; the table has the",
        "median over turns and its 95 % bootstrap interval over turns.",
        "Below 1 ours is faster. The second ratio is of processor time, which other jobs on the machine hardly change. Accuracy: one text at a",
        "time; the difference is paired by row, its 95 % interval a bootstrap over rows.",
        "",
        f"| | versions | scheme | MB | accuracy on {count} | median ms | ours ÷ peer | … in processor time | accuracy, ours − peer | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
        _line("**ours**", ours, "1", "1", "–", ""),
    ]
    lines = [_failed(name, row) if "failed" in row else _peer(name, row) for name, row in found["peers"].items()]
    tail = [
        "",
        f"Bundle {found['bundle']}. Machine: {where['cores']} cores of {where['cpu']}, load {where['load'][0]} before and {where['load'][1]} after;"
        f" Python {where['python']}; {where['date']}.",
        "",
    ]
    return "\n".join([*head, *lines, *tail])


def _peer(name: str, row: Mapping[str, Any]) -> str:
    worst, best = row["difference_interval"]
    shares = [f"{row[kind]:.3f} ({row[f'{kind}_interval'][0]:.3f} to {row[f'{kind}_interval'][1]:.3f})" for kind in ("ratio", "cpu_ratio")]
    return _line(name, row, *shares, f"{row['difference']:+.4f} ({worst:+.4f} to {best:+.4f})", verdict(row))


def _line(name: str, row: Mapping[str, Any], *rest: str) -> str:
    versions = ", ".join(f"{tool} {number}" for tool, number in row["versions"].items())
    cells = [name, versions, row["scheme"], f"{row['bytes'] / 1e6:.2f}", f"{row['accuracy']:.4f}", f"{row['median_ms']:.3f}", *rest]
    return f"| {' | '.join(cells)} |"


def _failed(name: str, row: Mapping[str, Any]) -> str:
    reason = row["failed"].replace("|", "/").replace("\n", " ")
    return f"| {name} | {' | '.join('–' * 8)} | not measured: {reason} |"
