"""How near a candidate's answers are to the original's, without a task: the judge of foreign models.

For each output over the judging inputs, y the original's answer and ŷ the candidate's:

    SQNR        10 · log10(Σ y² / Σ (y − ŷ)²), in dB; None where nothing differs
    cosine      Σ y ŷ / √(Σ y² · Σ ŷ²)
    agreement   `argmax`: mean share of positions at which the largest value is at the same place; `equal`: mean share of equal values;
                `items`: mean share that two lists have in common, |A ∩ B| / |A ∪ B|
    score       of `argmax` and `near` 1 − √(Σ (y − ŷ)² / Σ y²), at least 0: 1 − 10^(−SQNR / 20); else the agreement
    close       share of inputs whose √Σ(y − ŷ)² is below a tenth of the typical √Σy² (20 dB)

`kinds` says which measure an output has, `limits` what is asked of each. Of several outputs the lowest counts: an agreement, or where an output
decides nothing its cosine. What is no number (`finite`) must be at the same places. There are no labels, so the profile's `int8_drop` has
nothing to hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime, search
from edgedistill.foreign.figures import TOLERANCE, Fidelity, figures, put_together
from edgedistill.foreign.kinds import clues, varying
from edgedistill.foreign.limits import Limits
from edgedistill.foreign.original import Original, as_items, is_open
from edgedistill.foreign.samples import Samples

__all__ = ["TOLERANCE", "Fidelity", "Judge", "decibels", "likeness", "summary"]


class Judge:
    """Holds files against the original on the judging rows; `records` keeps what it found of each file, by stem.

    Raises ConfigError as `Original.kinds` does.
    """

    def __init__(self, original: Original, model: Any, limits: Limits, classes: Sequence[str] = (), threads: int = 1) -> None:
        self.original, self.limits, self.threads = original, limits, threads
        self.names = original.names
        self.kinds = original.kinds(model, classes, limits.not_finite)
        self.clues = clues(model)
        self.records: dict[str, list[Fidelity]] = {}

    @property
    def samples(self) -> Samples:
        """The rows that it judges on."""
        return self.original.samples

    def __call__(self, file: Path, first: int | None = None) -> search.Judged:
        """Score, agreement, and why the file cannot be shipped."""
        found = self.compare(file, first)
        self.records[file.stem] = found
        problems = [text for one in found if (text := problem(one, self.limits))]
        compared = [(one.score, likeness(one)) for one in found if one.score is not None]
        if not compared:
            what = "; ".join(summary(one, self.limits) for one in found)
            return search.Judged(score=0.0, agreement=0.0, divergence=1.0, rows=found[0].inputs, problem=what)
        score = min(score for score, _ in compared)
        return search.Judged(
            score=score,
            agreement=min(like for _, like in compared),
            divergence=(1 - score) ** 2,
            rows=found[0].inputs,
            problem=problems[0] if problems else "",
            settled=any(_is_hopeless(one, self.limits) for one in found),
        )

    def divergence(self, file: Path) -> float:
        """Σ (y − ŷ)² / Σ y² of the worst output on the first rows."""
        return max((1 - one.score) ** 2 for one in self.compare(file, search.FIRST) if one.score is not None)

    def compare(self, file: Path, first: int | None = None) -> list[Fidelity]:
        """Every output of a file against the original's."""
        session = runtime.open_session(file, threads=self.threads)
        rows: list[list[tuple[float, ...]]] = [[] for _ in self.names]
        for fp32, ours in self.pairs(session, first):
            if any(self._otherwise(*pair) for pair in zip(self.names, fp32, ours, strict=True)):
                return self.compare(file, first)  # an output's length depends on the data, which is news: its figures are others
            for output, name, one, other in zip(rows, self.names, fp32, ours, strict=True):
                output.append(figures(one, other, self.kinds[name]))
        return [put_together(name, np.array(output), self.kinds[name]) for name, output in zip(self.names, rows, strict=True)]

    def pairs(self, session: Any, first: int | None) -> Iterator[tuple[list[NDArray[Any]], list[NDArray[Any]]]]:
        """What the original says of each judging row, and what another session says."""
        for row, fp32 in zip(self.samples.judging[:first], self.original.answers(first), strict=True):
            yield fp32, session.run(self.names, dict(self.samples.feed(row)))

    def _otherwise(self, name: str, fp32: NDArray[Any], ours: NDArray[Any]) -> bool:
        """Whether a pair shows that an output's length depends on the data, which no judging row had shown; then it is measured so from now on."""
        if fp32.shape == ours.shape or fp32.ndim != ours.ndim or self.kinds[name].measure in ("items", "not compared"):
            return False
        if not is_open(self.clues, name, list(varying({fp32.shape, ours.shape}))):
            return False
        self.kinds[name] = as_items({fp32.shape, ours.shape})
        return True


def likeness(one: Fidelity) -> float:
    """What counts of an output that is compared, 1 for the original's own: its agreement, or its cosine where it decides nothing."""
    if one.broken:
        return 0.0
    return one.agreement if one.agreement is not None else max(one.cosine or 0.0, 0.0)


def problem(one: Fidelity, limits: Limits) -> str:
    """Why an output's figures stand in the way, empty where they do not."""
    if one.broken:
        return f"output '{one.output}' is NaN, infinite or of another shape for {one.broken} of {one.inputs} inputs"
    least = limits.items if one.measure == "items" else limits.agreement
    low = one.agreement is not None and one.agreement < least
    if one.measure == "argmax" and low:
        how = f"for {one.agreement:.2%} of the inputs, below {limits.agreement:.2%} (SQNR {decibels(one.sqnr_db)})"
        return f"output '{one.output}' has its largest value where fp32 has it {how}"
    if one.measure == "equal" and low:
        return f"output '{one.output}' is equal to fp32's for {one.agreement:.2%} of its values, below {limits.agreement:.2%}"
    if one.measure == "items" and low:
        lengths = f"(as long for {one.same_shape:.2%} of the inputs)"
        return f"output '{one.output}' has {one.agreement:.2%} of its items in common with fp32's, below {limits.items:.2%} {lengths}"
    if one.measure == "near" and ((one.cosine or 0.0) < limits.cosine or (one.sqnr_db is not None and one.sqnr_db < limits.sqnr_db)):
        asked = f"asked are {limits.cosine:g} and {limits.sqnr_db:g} dB"
        return f"output '{one.output}' has a cosine of {one.cosine:.4f} with fp32's and an SQNR of {decibels(one.sqnr_db)}; {asked}"
    return ""


def _is_hopeless(one: Fidelity, limits: Limits) -> bool:
    """Whether more rows cannot help an output: a one-sided bound of its agreement, or the interval of its SQNR, is below the limit."""
    if one.broken:
        return True
    if one.measure == "near":
        return one.interval[1] < 1 - 10 ** (-limits.sqnr_db / 20)
    asked = limits.items if one.measure == "items" else limits.agreement
    return one.agreement is not None and search.at_most(one.agreement, one.inputs) < asked


def summary(one: Fidelity, limits: Limits) -> str:
    """An output's measure, why it is that one, and what came out."""
    if one.measure == "not compared":
        return f"output '{one.output}': not compared: {one.why}"
    told = {
        "argmax": f"place of the largest value: the same for {one.agreement or 0:.2%}, {limits.agreement:.2%} asked",
        "equal": f"equal values: {one.agreement or 0:.2%}, {limits.agreement:.2%} asked",
        "items": f"items in common: {one.agreement or 0:.2%}, {limits.items:.2%} asked; as long for {one.same_shape:.2%} of the inputs",
        "near": f"cosine {one.cosine or 0:.4f}, {limits.cosine:g} asked; SQNR {decibels(one.sqnr_db)}, {limits.sqnr_db:g} dB asked",
    }
    return f"output '{one.output}': {told[one.measure]} ({one.why})"


def decibels(value: float | None) -> str:
    """An SQNR in words."""
    return "exact" if value is None else f"{value:.1f} dB"
