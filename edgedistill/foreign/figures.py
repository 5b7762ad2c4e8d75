"""The figures of one output: for one input, and put together over all of them. `fidelity` says what they mean."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.foreign import finite
from edgedistill.foreign.kinds import Kind, items

TOLERANCE = 0.1  # of the typical size of an answer
DRAWS = 1000  # of the bootstrap
MOST_ITEMS = 1024  # of a list that is held against another, item by item
FIGURES = ("noise", "signal", "dot", "power", "max_abs", "alike", "answer", "whole", "same_shape", "size", "not_finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """One output of one candidate against the original's. `measure` is what decides, and `why`; figures that say nothing of it are None."""

    output: str
    measure: str
    why: str
    score: float | None
    interval: tuple[float, float]
    sqnr_db: float | None
    max_abs: float
    cosine: float | None
    agreement: float | None
    argmax: bool
    close: float
    same_shape: float
    varies: bool
    not_finite: int
    broken: int
    inputs: int


def figures(fp32: NDArray[Any], ours: NDArray[Any], kind: Kind) -> tuple[float, ...]:
    """`FIGURES` of one output for one input; `answer` is a digest of what the original says, `whole` 0 where nothing can be compared."""
    same = fp32.shape == ours.shape
    answer, odd = float(hash(fp32.tobytes()) % 2**48), float((finite.marks(fp32) > 0).sum())
    if kind.measure == "items":
        whole = fp32.ndim == ours.ndim and bool(sum(finite.bad(fp32)) or not sum(finite.bad(ours)))
        return (0.0, 0.0, 0.0, 0.0, 0.0, in_common(fp32, ours, kind.axis) if whole else 0.0, answer, whole, same, fp32.size, odd)
    if not same or not finite.alike(fp32, ours):
        return (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, answer, 0.0, same, fp32.size, odd)
    y, wide = finite.numbers(fp32), finite.numbers(ours)
    difference = y - wide
    return (
        float((difference**2).sum()),
        float((y**2).sum()),
        float((y * wide).sum()),
        float((wide**2).sum()),
        float(np.abs(difference).max(initial=0)),
        _alike(fp32, ours, kind),
        answer,
        1.0,
        1.0,
        float(fp32.size),
        odd,
    )


def place(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """Where the largest values of an answer are."""
    return finite.comparable(array).argmax(axis) if array.size else np.zeros(0)


def _alike(fp32: NDArray[Any], ours: NDArray[Any], kind: Kind) -> float:
    """The share of positions that say the same."""
    if not fp32.size:
        return 1.0
    one, other = (place(array, kind.axis) for array in (fp32, ours)) if kind.measure == "argmax" else (fp32, ours)
    return float((one == other).mean())


def in_common(fp32: NDArray[Any], ours: NDArray[Any], axis: int) -> float:
    """The share of items that two lists have in common, |A ∩ B| / |A ∪ B|, whatever their order; 1 where both are empty.

    Floats are common when they are within `TOLERANCE` of the typical size of the original's items; each is counted once.
    """
    theirs, found = items(fp32, axis)[:MOST_ITEMS], items(ours, axis)[:MOST_ITEMS]
    if theirs.shape[1] != found.shape[1]:
        return 0.0
    if not len(theirs) or not len(found):
        return float(len(theirs) == len(found))
    common = _near(theirs, found) if fp32.dtype.kind == "f" else (Counter(map(bytes, theirs)) & Counter(map(bytes, found))).total()
    return common / (len(theirs) + len(found) - common)


def _near(theirs: NDArray[Any], found: NDArray[Any]) -> int:
    """How many items have a partner, the nearest that is still free."""
    y, ours = finite.numbers(theirs), finite.numbers(found)
    reach = TOLERANCE * np.sqrt((y**2).sum(1).mean())
    free = np.ones(len(ours), bool)
    common = 0
    for item in y:
        apart = np.where(free, np.sqrt(((ours - item) ** 2).sum(1)), np.inf)
        nearest = int(apart.argmin())
        if apart[nearest] <= reach:
            free[nearest] = False
            common += 1
    return common


def put_together(name: str, rows: NDArray[np.float64], kind: Kind) -> Fidelity:
    """An output's figures [inputs, FIGURES] over all inputs."""
    column: Mapping[str, NDArray[np.float64]] = dict(zip(FIGURES, rows.T, strict=True))
    empty = not column["size"].any() and bool(column["same_shape"].all())
    if empty:
        kind = Kind(measure="not compared", why="it is empty for every judging input")
    whole = column["whole"] > 0
    noise, signal = (column[key][whole] for key in ("noise", "signal"))
    typical = np.sqrt(signal.mean()) if whole.any() else 0.0
    powers = np.sqrt(column["signal"].sum() * column["power"].sum())
    known = kind.measure in ("argmax", "near", "equal") and bool(whole.any())
    alike = None if kind.measure in ("near", "not compared") else float(column["alike"].mean())
    score, interval = _scores(column, kind, whole)
    return Fidelity(
        output=name,
        measure=kind.measure,
        why=kind.why,
        score=score,
        interval=interval,
        sqnr_db=float(10 * np.log10(max(signal.sum(), 1e-300) / noise.sum())) if known and noise.sum() else None,
        max_abs=float(column["max_abs"][whole].max(initial=0)),
        cosine=(float(column["dot"].sum() / powers) if powers else 1.0) if known else None,
        agreement=alike,
        argmax=kind.measure == "argmax",
        close=float((np.sqrt(noise) <= TOLERANCE * typical).sum() / len(rows)) if known else 0.0,
        same_shape=float(column["same_shape"].mean()),
        varies=len(set(column["answer"])) > 1,
        not_finite=int(column["not_finite"].sum()),
        broken=0 if empty else int((~whole).sum()),
        inputs=len(rows),
    )


def _scores(column: Mapping[str, NDArray[np.float64]], kind: Kind, whole: NDArray[np.bool_]) -> tuple[float | None, tuple[float, float]]:
    """The score with its interval: of what is counted its mean, of numbers 1 − √(noise / signal)."""
    if kind.measure == "not compared":
        return None, (0.0, 0.0)
    draw = np.random.default_rng(0)
    if kind.measure in ("equal", "items"):
        alike = column["alike"]
        low, high = np.quantile(alike[draw.integers(0, len(alike), (DRAWS, len(alike)))].mean(1), [0.025, 0.975])
        return float(alike.mean()) if whole.all() else 0.0, (float(low), float(high))
    noise, signal = (column[key][whole] for key in ("noise", "signal"))
    random = draw.integers(0, max(len(noise), 1), (DRAWS, len(noise)))
    low, high = np.quantile(_score(noise[random].sum(1), signal[random].sum(1)), [0.025, 0.975])
    return float(_score(noise.sum(), signal.sum())) if whole.all() else 0.0, (float(low), float(high))


def _score(noise: Any, signal: Any) -> Any:
    return 1 - np.sqrt(np.clip(np.divide(noise, signal, out=np.array(np.asarray(noise) > 0, float), where=np.asarray(signal) > 0), 0, 1))
