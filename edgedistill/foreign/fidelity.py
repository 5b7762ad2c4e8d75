"""How near a candidate's answers are to the original's, without a task: the judge of foreign models.

For each output over the judging inputs, y the original's answer and ŷ the candidate's:

    SQNR        10 · log10(Σ y² / Σ (y − ŷ)²), in dB; None where nothing differs
    score       1 − √(Σ (y − ŷ)² / Σ y²), at least 0: 1 − 10^(−SQNR / 20); of several outputs the lowest
    agreement   mean share of positions at which the largest value is at the same place; of integers, the share of equal ones
    close       share of inputs whose √Σ(y − ŷ)² is below a tenth of the typical √Σy² (20 dB)

The place of the largest value is along the last axis, in outputs of four and more dimensions along the second (channels). Agreement is
`close` where an output has no such axis, and the lower of both where the original decides the same for every input: then its decision
says nothing. Of several outputs the lowest counts. There are no labels, so the profile's `int8_drop` has nothing to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime, search
from edgedistill.errors import ConfigError
from edgedistill.foreign.samples import Samples

TOLERANCE = 0.1  # of the typical size of an answer
KEPT_BYTES = 256 * 2**20  # of the original's answers; more are computed again
DRAWS = 1000  # of the bootstrap
FIGURES = ("noise", "signal", "dot", "power", "max_abs", "alike", "place", "answer", "finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """One output of one candidate against the original's."""

    output: str
    score: float
    interval: tuple[float, float]
    sqnr_db: float | None
    max_abs: float
    cosine: float
    agreement: float
    argmax: bool
    close: float
    varies: bool
    broken: int
    inputs: int


class Judge:
    """Holds files against the original on the judging rows; `records` keeps what it found of each file, by stem."""

    def __init__(self, original: Path, samples: Samples, limit: float, threads: int) -> None:
        self.samples, self.limit, self.threads = samples, limit, threads
        self.session = runtime.open_session(original, threads=threads)
        self.names = [one.name for one in self.session.get_outputs()]
        self.kept: dict[int, list[NDArray[Any]]] = {}
        self.room = KEPT_BYTES
        self.records: dict[str, list[Fidelity]] = {}

    def __call__(self, file: Path, first: int | None = None) -> search.Judged:
        """Score, agreement, and why the file cannot be shipped."""
        found = self.compare(file, first)
        self.records[file.stem] = found
        worst = min(found, key=agreement)
        least, score = agreement(worst), min(one.score for one in found)
        problem = self._problem(found, least, worst)
        return search.Judged(score=score, agreement=least, divergence=(1 - score) ** 2, rows=worst.inputs, problem=problem)

    def divergence(self, file: Path) -> float:
        """Σ (y − ŷ)² / Σ y² of the worst output on the first rows."""
        return max((1 - one.score) ** 2 for one in self.compare(file, search.FIRST))

    def compare(self, file: Path, first: int | None = None) -> list[Fidelity]:
        """Every output of a file against the original's."""
        session = runtime.open_session(file, threads=self.threads)
        rows: list[list[tuple[float, ...]]] = [[] for _ in self.names]
        for fp32, ours in self.pairs(session, first):
            for output, found in zip(rows, map(_figures, fp32, ours), strict=True):
                output.append(found)
        places = [_has_places(array) for array in self.answer(0)]
        return [_fidelity(name, np.array(output), found) for name, output, found in zip(self.names, rows, places, strict=True)]

    def pairs(self, session: Any, first: int | None) -> Iterator[tuple[list[NDArray[Any]], list[NDArray[Any]]]]:
        """What the original says of each judging row, and what another session says."""
        for at, row in enumerate(self.samples.judging[:first]):
            ours = session.run(self.names, dict(self.samples.feed(row)))
            yield self.answer(at), ours

    def answer(self, at: int) -> list[NDArray[Any]]:
        """What the original says of a judging row. Raises ConfigError when that is no number."""
        if at in self.kept:
            return self.kept[at]
        found: list[NDArray[Any]] = self.session.run(self.names, dict(self.samples.feed(self.samples.judging[at])))
        if not all(np.isfinite(array.astype(np.float64)).all() for array in found):
            what = f"the model itself, in fp32, answers NaN or infinity to judging input {at}"
            raise ConfigError(what, hint="give real inputs with --calibration FILE")
        size = sum(array.nbytes for array in found)
        if size <= self.room:
            self.kept[at], self.room = found, self.room - size
        return found

    def _problem(self, found: Sequence[Fidelity], least: float, worst: Fidelity) -> str:
        broken = [one for one in found if one.broken]
        if broken:
            return f"output '{broken[0].output}' is NaN, infinite or of another shape for {broken[0].broken} of {broken[0].inputs} inputs"
        if least < self.limit:
            how = "has its largest value where fp32 has it" if worst.argmax else f"is within {TOLERANCE:.0%} of fp32's"
            return f"output '{worst.output}' {how} for {least:.2%} of the inputs, below {self.limit:.2%} (SQNR {decibels(worst.sqnr_db)})"
        return ""


def agreement(one: Fidelity) -> float:
    """The agreement of an output that counts."""
    return one.agreement if not one.broken else 0.0


def decibels(value: float | None) -> str:
    """An SQNR in words."""
    return "exact" if value is None else f"{value:.1f} dB"


def _axis(array: NDArray[Any]) -> int:
    return 1 if array.ndim >= 4 else -1


def _has_places(fp32: NDArray[Any]) -> bool:
    """Whether an output has an axis along which a largest value decides; integers and truth values are decisions already."""
    return fp32.dtype.kind != "f" or (fp32.ndim >= 1 and fp32.shape[_axis(fp32)] >= 2)


def _figures(fp32: NDArray[Any], ours: NDArray[Any]) -> tuple[float, ...]:
    """`FIGURES` of one output for one input; `place` and `answer` are digests of what the original decides and says."""
    if fp32.shape != ours.shape or not np.isfinite(wide := ours.astype(np.float64)).all():
        return (0.0, 0.0, 0.0, 0.0, np.inf, 0.0, 0.0, 0.0, 0.0)
    y = fp32.astype(np.float64)
    places = [y * 0, y * 0]
    if _has_places(fp32) and y.size:
        places = [array.argmax(_axis(fp32)) if fp32.dtype.kind == "f" else array for array in (y, wide)]
    difference = y - wide
    return (
        float((difference**2).sum()),
        float((y**2).sum()),
        float((y * wide).sum()),
        float((wide**2).sum()),
        float(np.abs(difference).max(initial=0)),
        float((places[0] == places[1]).mean()) if y.size else 1.0,
        *(float(hash(array.tobytes()) % 2**48) for array in (places[0], fp32)),
        1.0,
    )


def _fidelity(name: str, rows: NDArray[np.float64], places: bool) -> Fidelity:
    """An output's figures [inputs, FIGURES] put together."""
    column: Mapping[str, NDArray[np.float64]] = dict(zip(FIGURES, rows.T, strict=True))
    whole = column["finite"] > 0
    noise, signal = (column[key][whole] for key in ("noise", "signal"))
    typical = np.sqrt(signal.mean()) if whole.any() else 0.0
    close = float((np.sqrt(noise) <= TOLERANCE * typical).sum() / len(rows))
    decided = len(set(column["place"][whole])) > 1
    alike = float(column["alike"].mean())
    powers = np.sqrt(column["signal"].sum() * column["power"].sum())
    random = np.random.default_rng(0).integers(0, max(len(noise), 1), (DRAWS, len(noise)))
    low, high = np.quantile(_score(noise[random].sum(1), signal[random].sum(1)), [0.025, 0.975])
    return Fidelity(
        output=name,
        score=float(_score(noise.sum(), signal.sum())) if whole.all() else 0.0,
        interval=(float(low), float(high)),
        sqnr_db=float(10 * np.log10(max(signal.sum(), 1e-300) / noise.sum())) if noise.sum() else None,
        max_abs=float(column["max_abs"][whole].max(initial=0)),
        cosine=float(column["dot"].sum() / powers) if powers else 1.0,
        agreement=alike if places and decided else min(alike, close) if places else close,
        argmax=places and decided,
        close=close,
        varies=len(set(column["answer"][whole])) > 1,
        broken=int((~whole).sum()),
        inputs=len(rows),
    )


def _score(noise: Any, signal: Any) -> Any:
    return 1 - np.sqrt(np.clip(np.divide(noise, signal, out=np.array(np.asarray(noise) > 0, float), where=np.asarray(signal) > 0), 0, 1))
