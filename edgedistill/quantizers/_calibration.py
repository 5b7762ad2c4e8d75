"""Ranges of activations, found by running the fp32 graph on the calibration inputs: a batch at a time, and no activation is kept.

    minmax       the least and the greatest number seen
    percentile   what 99.999 % of the numbers lie within, of a histogram of 2048 bins between them
    entropy      the symmetric clip whose 128 levels lose the least information, as TensorRT calibrates:
                 argmin over clips of KL(the histogram with its tails put into the last bins ‖ the same in 128 levels)

Source of entropy: Migacz 2017, "8-bit inference with TensorRT"; its levels and bins are that talk's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.quantizers import Feeds, UnfitError
from edgedistill.quantizers._graph import Graph

BINS = 2048
LEVELS = 128
STEP = 16  # bins between two clips that are tried
WITHIN = 0.99999

Ranges = Mapping[str, tuple[float, float]]
Counts = dict[str, NDArray[np.float64]]


def ranges(graph: Graph, tensors: Sequence[str], calibration: Callable[[], Iterable[Feeds]], method: str) -> Ranges:
    """The range of each tensor, 0 included. Raises UnfitError when there are no calibration inputs, or a number that is none."""
    names = list(dict.fromkeys(tensors))
    if not names:
        return {}
    with graph.session(names) as session:
        whole = _ends(_batches(session, names, calibration()))
        if not whole:
            raise UnfitError("there are no calibration inputs")
        wrong = next((name for name, ends in whole.items() if not np.isfinite(ends).all()), None)
        if wrong is not None:
            raise UnfitError(f"{wrong} is not finite on the calibration inputs")
        if method == "minmax":
            return whole
        clip = {"percentile": _percentile, "entropy": _entropy}[method]
        counts = _histograms(_batches(session, names, calibration()), whole, symmetric=method == "entropy")
        return {name: clip(counts[name], whole[name]) for name in names}


def _batches(session: Any, names: Sequence[str], feeds: Iterable[Feeds]) -> Iterator[dict[str, NDArray[np.float32]]]:
    for feed in feeds:
        yield dict(zip(names, session.run(list(names), dict(feed)), strict=True))


def _ends(batches: Iterable[Mapping[str, NDArray[np.float32]]]) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for batch in batches:
        for name, values in batch.items():
            low, high = found.get(name, (0.0, 0.0))
            found[name] = (float(np.minimum(low, values.min())), float(np.maximum(high, values.max())))  # a NaN stays one
    return found


def _histograms(batches: Iterable[Mapping[str, NDArray[np.float32]]], whole: Ranges, *, symmetric: bool) -> Counts:
    """Counts of numbers, or of their magnitudes, between the ends that are known."""
    found: Counts = {name: np.zeros(BINS) for name in whole}
    for batch in batches:
        for name, values in batch.items():
            low, high = whole[name]
            seen, within = (np.abs(values), (0.0, max(-low, high))) if symmetric else (values, (low, high))
            found[name] += np.histogram(seen, BINS, within if within[1] > within[0] else (0.0, 1.0))[0]
    return found


def _percentile(counts: NDArray[np.float64], ends: tuple[float, float]) -> tuple[float, float]:
    """As much is cut off below as above."""
    share, tail = np.cumsum(counts) / counts.sum(), (1 - WITHIN) / 2
    edges = np.linspace(*ends, BINS + 1)
    low, high = edges[np.searchsorted(share, tail)], edges[min(int(np.searchsorted(share, 1 - tail)) + 1, BINS)]
    return min(float(low), 0.0), max(float(high), 0.0)


def _entropy(counts: NDArray[np.float64], ends: tuple[float, float]) -> tuple[float, float]:
    most = max(-ends[0], ends[1])
    clips = range(LEVELS, BINS + 1, STEP)
    clip = min(clips, key=lambda clip: _lost(counts, clip)) / BINS * most
    return max(ends[0], -clip), min(ends[1], clip)


def _lost(counts: NDArray[np.float64], clip: int) -> float:
    """KL divergence of the first `clip` bins, the tail in the last of them, from the same without a tail in as few levels as there are."""
    kept = counts[:clip].copy()
    there = kept > 0
    levels = np.arange(clip) * LEVELS // clip
    total, filled = np.bincount(levels, kept, LEVELS), np.bincount(levels, there, LEVELS)
    coarse = np.where(there, (total / np.maximum(filled, 1))[levels], 0.0)
    kept[-1] += counts[clip:].sum()
    if coarse.sum() == 0:
        return float("inf")
    p, q = kept / kept.sum(), coarse / coarse.sum()
    q = np.where((p > 0) & (q == 0), 1e-9, q)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())
