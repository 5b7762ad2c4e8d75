"""How far measured figures can be trusted: intervals over few processes, and what noise, heat and leaks make of a figure.

Everything is on logarithms: noise on a time is a factor. A figure stands where its interval is within a twentieth either side, for costs
within a tenth are the same to the search; a weaker one is reported with its interval and its status, it is no error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgedistill.measure import conditions

STANDS = 0.05
LEVEL = 0.99  # of independent draws
WINDOWS = 12  # of a minute
LEAK_MIB = 0.25  # in every quarter of a run: the kernel's counter of resident pages is itself only so exact, per CPU
Logs = NDArray[np.float64]


class Interval(NamedTuple):
    """Both ends, and how often it holds the truth."""

    low: float
    high: float
    level: float


class Trust(NamedTuple):
    """unmeasured, ok, or the first of cut short, leaking, throttled, noisy that holds; a sentence for each that does; the numbers behind them."""

    status: str
    why: tuple[str, ...]
    figures: dict[str, float]


def interval(logs: Logs) -> Interval:
    """Where the median of what n processes give is. No shape is asked of the noise.

    The sign test turned round (Hollander, Wolfe, Chicken 2013, Nonparametric Statistical Methods, section 3.6): the k-th draw from either end,
    where k is the largest with P(B < k) ≤ ½ % for B of n coins. Below 12 draws these are the extremes, at the level 1 − 2 ÷ 2ⁿ that they have;
    eight hold it 99 % of the time. What is above 95 % is for draws that hang together, as a busy machine's do: at a correlation of one half
    between neighbours, eight hold it 93 %, where an exact 95 % interval of signed ranks or a bell curve's holds it 80 % or less.
    """
    n, ordered = len(logs), np.sort(logs)
    below = np.cumsum([comb(n, heads) for heads in range(n)]) / 2.0**n
    k = max(int(np.sum(below <= (1 - LEVEL) / 2)), 1)
    return Interval(float(ordered[k - 1]), float(ordered[-k]), float(1 - 2 * below[k - 1]))


def ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    """The median over the turns of ours ÷ theirs, with its interval. One turn ran both, so what slowed the turn is out."""
    logs = np.log(ours / theirs)
    low, high, level = interval(logs)
    return {"median_ratio": float(np.exp(np.median(logs))), "interval": [float(np.exp(low)), float(np.exp(high))], "level": level}


def judged(results: Sequence[Mapping[str, Any]], minute_s: float = 0.0, *, one_cpu: bool = True, cut: str = "") -> Trust:
    """What the processes of one subject come to; what an agent did not tell is not judged.

    `one_cpu` says that the work keeps one CPU busy: one thread, and no accelerator that a process waits for. `cut` says why fewer runs were
    made than the mode asks for; empty: they were not.

    unmeasured  nothing was timed
    cut short   the mode's time was up before its runs were made
    leaking     resident memory grows by LEAK_MIB in each quarter of a process's samples: what a model needs once is taken by the warm-up
    throttled   the last minute's runs take more than a twentieth longer than the first's, with 95 % confidence; whether heat did it, a
                quota or other programs is not in the clock, but cpu_share and the conditions tell
    noisy       the processes had a CPU for less than nineteen twentieths of their runs' time: the rest is others' time. Or the interval of
                the processes' medians, or of the probe's, is wider than a twentieth either side. Or the probe, which only the machine can
                change, differs by more than that between before and after the samples
    """
    if not all(len(result["samples_ms"]) for result in results):
        return Trust("unmeasured", (), {})
    figures = _figures(results, minute_s)
    if not one_cpu:
        figures.pop("cpu_share", None)
    found = [("cut short", cut)] * bool(cut) + _findings(figures)
    return Trust(found[0][0] if found else "ok", tuple(f"{status}: {sentence}" for status, sentence in found), figures)


def slowdown(samples_ms: Sequence[float], minute_s: float) -> tuple[float, Interval] | None:
    """Throughput of the first minute ÷ the last's, and the interval of the time of a run in the last ÷ the first. None below two minutes.

    Both minutes are cut into windows, whose mean times are the draws; the interval is the rank-sum test's turned round (the same book, section
    4.3), with its normal approximation.
    """
    ends_s = np.cumsum(samples_ms) / 1e3
    if not len(ends_s) or ends_s[-1] < 2 * minute_s:
        return None
    first, last = ends_s <= minute_s, ends_s > ends_s[-1] - minute_s
    early, late = (_windows(np.asarray(samples_ms)[part], minute_s / WINDOWS) for part in (first, last))
    gaps = np.sort((late[:, None] - early[None, :]).ravel())
    m, n = len(late), len(early)
    k = max(int(m * n / 2 - 1.96 * np.sqrt(m * n * (m + n + 1) / 12)), 1)
    return float(first.sum() / max(last.sum(), 1)), Interval(float(gaps[k - 1]), float(gaps[-k]), 0.95)


def _windows(samples_ms: NDArray[np.float64], width_s: float) -> Logs:
    """The log of the mean time of a run in each window that a run ended in."""
    number = (np.cumsum(samples_ms) / 1e3 // width_s).astype(int)
    counts, sums = np.bincount(number), np.bincount(number, samples_ms)
    return np.asarray(np.log(sums[counts > 0] / counts[counts > 0]))


def _figures(results: Sequence[Mapping[str, Any]], minute_s: float) -> dict[str, float]:
    grown = [float(np.diff(result["resident_mib"]).min()) for result in results if len(result.get("resident_mib") or ()) > 1]
    found = {"grown_mib": max(grown)} if grown else {}
    if len(results) > 1:
        found["half_width"] = _half_width([np.median(result["samples_ms"]) for result in results])
    probes = [(np.median(result["probe_before_ms"]), np.median(result["probe_after_ms"])) for result in results if result.get("probe_before_ms")]
    if probes:
        found["probe_drift"] = float(np.median([abs(np.log(after / before)) for before, after in probes]))
    if len(probes) > 1:
        found["probe_half_width"] = _half_width([np.sqrt(before * after) for before, after in probes])
    shares = [one["cpu_share"] for one in map(conditions.during, results) if "cpu_share" in one]
    if shares:
        found["cpu_share"] = float(np.median(shares))
    slower = slowdown(results[0]["samples_ms"], minute_s) if minute_s else None
    if slower is not None:
        found |= {"first_over_last": slower[0], "slower_low": float(np.exp(slower[1].low)), "slower_high": float(np.exp(slower[1].high))}
    return found


def _findings(figures: Mapping[str, float]) -> list[tuple[str, str]]:
    """Status and sentence of everything that does not stand, the gravest first."""
    found = []
    if figures.get("grown_mib", 0) >= LEAK_MIB:
        found.append(("leaking", f"the process grew by {figures['grown_mib']:.2f} MiB or more in every quarter of its runs"))
    if figures.get("slower_low", 0) > 1 + STANDS:
        low, high = figures["slower_low"], figures["slower_high"]
        found.append(("throttled", f"a run takes {low:.2f} to {high:.2f} times as long in the last minute as in the first"))
    if figures.get("cpu_share", 1) < 1 - STANDS:
        found.append(("noisy", f"the processes had a CPU for {figures['cpu_share']:.0%} of their runs' time, other work ran in the rest"))
    if figures.get("half_width", 0) > STANDS:
        found.append(("noisy", f"the processes' medians leave ±{figures['half_width']:.1%} of doubt, more than {STANDS:.0%}"))
    for name, said in (("probe_half_width", "between processes"), ("probe_drift", "while samples were taken")):
        if figures.get(name, 0) > STANDS:
            found.append(("noisy", f"the machine's own speed changed by {figures[name]:.1%} {said}"))
    return found


def _half_width(values: Sequence[float]) -> float:
    low, high, _ = interval(np.log(np.asarray(values)))
    return float(np.expm1((high - low) / 2))
