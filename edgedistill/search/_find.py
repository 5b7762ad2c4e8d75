"""The search itself: candidates are made, judged and timed alike, cheap ones first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, quantizers, runtime, schemes
from edgedistill.cache import write_json
from edgedistill.files import unwritten
from edgedistill.progress import Progress
from edgedistill.search._choice import choose, left, speed
from edgedistill.spec import Candidate
from edgedistill.wording import megabytes

MADE = ".made.json"  # beside a candidate that is whole
FIRST = 64  # rows after which a hopeless candidate is left
CHANCE_Z = 2.33  # one-sided 99 %: of a hundred sound candidates one is left too early
PASSES = 7  # of each candidate over the timed inputs, in turns; the first warms up
DRAWS = 2000  # of the bootstrap
COSTLY = ("int8-pt2e", "-mixed")  # tried after the rest

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a judge says of a file: `problem` is why it cannot be shipped, empty where it can.

    `divergence` is Σ (y − ŷ)² as a share of what fp32's answers y vary by: 0 for fp32's own. `settled` says whether more rows cannot help;
    None leaves that to the agreement.
    """

    score: float
    agreement: float
    divergence: float
    rows: int
    problem: str
    settled: bool | None = None


class Judge(Protocol):
    """Holds a file's answers against fp32's, on the first rows or on all of them."""

    def __call__(self, file: Path, first: int | None = None) -> Judged:
        """`first` rows only, or all."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be shipped: the least agreement with fp32, and the most bytes; `hint` is what helps where nothing may."""

    agreement: float
    bytes: float
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Every candidate in the profile's order, and the file of the chosen one."""

    candidates: tuple[Candidate, ...]
    file: Path

    @property
    def chosen(self) -> Candidate:
        """The one that is shipped."""
        return next(one for one in self.candidates if one.chosen)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast a file runs: `samples` [passes, inputs], seconds where they are measured and instructions where they are emulated."""

    samples: NDArray[np.float64]
    latency: Literal["measured", "emulated"] = "measured"
    facts: Mapping[str, Any] = field(default_factory=dict)


Clock = Callable[[Sequence[Path]], Sequence[Pace]]


def find(
    wanted: Sequence[str], source: quantizers.Source, judge: Judge, limits: Limits, clock: Clock | None, scratch: Path, progress: Progress
) -> Found:
    """Try the schemes that the profile allows, best first in its view, and choose.

    `clock` tells the pace of files on a machine of the target's kind, or on an emulated one: fp32's graph first; nothing where it cannot. None where
    there is no such machine. Raises StageError when no scheme can be shipped.
    """
    tried: dict[str, Candidate] = {}
    for index, scheme in enumerate(sorted(wanted, key=_effort)):
        progress.advance(index, len(wanted), "schemes", scheme)
        tried[scheme] = _try(scheme, source, judge, limits, scratch, tried)
    candidates = [tried[scheme] for scheme in wanted]
    if clock is not None:
        candidates = _timed(candidates, clock, source.fused, scratch)
    candidates = choose(candidates, limits.hint)
    for one in candidates:
        rest = left(one)
        progress.note(f"{one.scheme}: {_figures(one)}{one.reason}{rest and f'; {rest}'}")
        if rest and one.chosen:
            progress.warn(f"{one.scheme}: {rest}")
    return Found(candidates=tuple(candidates), file=scratch / f"{next(one for one in candidates if one.chosen).scheme}.onnx")


def _figures(one: Candidate) -> str:
    if one.bytes is None or one.score is None:
        return ""
    pace = f", {one.latency_ratio:.3f} × fp32's {speed(one)}" if one.latency_ratio is not None else ""
    return f"{megabytes(one.bytes)}, score {one.score:.4f}, agreement {one.agreement:.2%}{pace} — "


def _effort(scheme: str) -> tuple[int, int]:
    """fp32 first, then what is quick to make, then what measures while it is made."""
    return (0, 0) if scheme == "fp32" else (2, 0) if scheme.endswith(COSTLY) else (1, 0)


def _try(scheme: str, source: quantizers.Source, judge: Judge, limits: Limits, scratch: Path, tried: Mapping[str, Candidate]) -> Candidate:
    """Make and judge one scheme. Whatever goes wrong is its reason, not the search's end."""
    started = time.perf_counter()
    engine = quantizers.engine_of(scheme)
    nothing = Candidate(scheme=scheme, engine=_short(engine), status="not made", reason="")
    asked = schemes.parse(scheme)
    plain = tried.get(asked.unmixed) if asked.mixed else None
    if engine is None:
        return replace(nothing, reason="no engine here makes it")
    if plain is not None and plain.status == "lost":
        return replace(nothing, status="not tried", reason=f"not tried: {plain.scheme} holds without fp32 operators")
    if plain is not None and _is_too_large(plain, limits):
        return replace(nothing, status="not tried", reason=f"not tried: {plain.scheme} is too large, and fp32 operators make it larger")
    file = scratch / f"{scheme}.onnx"
    try:
        facts = _make(engine, scheme, source, file)
    except ImportError as error:
        why = f"the package '{error.name}' is not installed" if error.name else quantizers.said(error, source.fused)
        return replace(nothing, reason=f"not made: {why}")
    except Exception as error:  # an engine raises whatever the graph provokes; the candidate is out, and the receipt says why
        if unwritten(error):  # that says nothing of the candidate
            raise
        return replace(nothing, reason=f"not made: {quantizers.said(error, source.fused)}", facts=quantizers.raw(error))
    try:
        made = replace(nothing, bytes=graphs.size(file), facts=facts)
        found = _judged(made, file, judge, limits)
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        if unwritten(error):
            raise
        return replace(
            nothing, status="out", reason=f"out: it does not load or run: {quantizers.said(error, source.fused)}", facts=quantizers.raw(error)
        )
    return replace(found, seconds=round(time.perf_counter() - started, 2))


def _make(engine: Any, scheme: str, source: quantizers.Source, file: Path) -> Mapping[str, Any]:
    """What the engine says of the file that it made; one that a killed run had made is taken as it is."""
    told = file.with_suffix(MADE)
    if told.is_file() and file.is_file():
        return dict(json.loads(told.read_text(encoding="utf-8")))
    facts: Mapping[str, Any] = engine.make(scheme, source, file)
    write_json(told, facts)
    return facts


def _judged(made: Candidate, file: Path, judge: Judge, limits: Limits) -> Candidate:
    """Judged on the first rows, and on all of them unless those settle it."""
    if _is_too_large(made, limits):
        return replace(made, status="out", reason=f"out: {megabytes(made.bytes or 0, 4)}, and the target allows {megabytes(limits.bytes, 4)}")
    early = judge(file, FIRST)
    settled = _settled(early, limits.agreement)
    judged = early if settled else judge(file)
    problem = _early(early, limits.agreement) if settled else judged.problem
    seen = replace(made, score=judged.score, agreement=judged.agreement, divergence=judged.divergence, rows=judged.rows)
    return replace(seen, status="out", reason=f"out: {problem}") if problem else replace(seen, status="lost")


def _early(early: Judged, agreement: float) -> str:
    """Why the first rows are enough."""
    if early.settled and early.problem:
        return f"{early.problem}, in the first {early.rows} rows"
    return f"it agrees with fp32 on {early.agreement:.2%} of the first {early.rows} rows, below {agreement:.2%}"


def _is_too_large(made: Candidate, limits: Limits) -> bool:
    return (made.bytes or 0) > limits.bytes


def holds(judge: Judge, file: Path, agreement: float) -> bool:
    """Whether a file could be shipped. The first rows settle it where they do not agree."""
    return not _settled(judge(file, FIRST), agreement) and not judge(file).problem


def _settled(early: Judged, agreement: float) -> bool:
    return at_most(early.agreement, early.rows) < agreement if early.settled is None else early.settled


def at_most(agreement: float, rows: int) -> float:
    """What an agreement that was seen on so many rows may be on all: its one-sided 99 % bound."""
    return agreement + CHANCE_Z * float(np.sqrt(max(agreement * (1 - agreement), 1 / rows) / rows))


def _timed(candidates: Sequence[Candidate], clock: Clock, fp32: Path, scratch: Path) -> list[Candidate]:
    """Latency ÷ fp32's for those that can be shipped, with an interval, and what they cost."""
    able = [one for one in candidates if one.status == "lost"]
    found = clock([fp32, *(scratch / f"{one.scheme}.onnx" for one in able)])
    if not found:
        return list(candidates)
    (base, *paces), size = found, graphs.size(fp32)
    measured = {one.scheme: _latency(one, pace, base, size) for one, pace in zip(able, paces, strict=True)}
    return [measured.get(one.scheme, one) for one in candidates]


def _latency(one: Candidate, pace: Pace, base: Pace, size: int) -> Candidate:
    ours, theirs = np.median(pace.samples, axis=0), np.median(base.samples, axis=0)  # of each input over the passes
    ratio = float(ours.sum() / theirs.sum())
    draws = np.random.default_rng(0).integers(0, len(ours), (DRAWS, len(ours)))  # inputs, paired
    low, high = np.quantile(ours[draws].sum(1) / theirs[draws].sum(1), [0.025, 0.975])
    cost = (one.bytes or 0) / size * ratio
    return replace(
        one,
        latency=pace.latency,
        latency_ratio=round(ratio, 4),
        latency_interval=(round(float(low), 4), round(float(high), 4)),
        cost=round(cost, 5),
        facts={**one.facts, **pace.facts},
    )


def clock_here(feeds: Sequence[Feeds]) -> Clock:
    """Times files on this machine: one thread, a session each, whole passes over the inputs in turns, the first of each left out."""

    def clock(files: Sequence[Path]) -> list[Pace]:
        sessions = [runtime.open_session(file, threads=1) for file in files]
        passes: list[list[list[float]]] = [[] for _ in files]
        for turn in range(PASSES):
            for index in np.roll(np.arange(len(sessions)), turn):
                passes[index].append([_seconds(sessions[index], feed) for feed in feeds])
        return [Pace(samples=np.array(found[1:])) for found in passes]

    return clock


def _seconds(session: Any, feed: Feeds) -> float:
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started


def _short(engine: Any) -> str:
    return engine.__name__.rpartition(".")[2].replace("_", "-") if engine else ""
