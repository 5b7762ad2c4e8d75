"""quantize: try the schemes that the target allows, keep the smallest that holds, and say why each other one lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins, runtime
from edgedistill.cache import RESUME
from edgedistill.errors import EdgedistillError, Fault, StageError, nearest
from edgedistill.progress import Progress
from edgedistill.spec import Candidate, Inputs
from edgedistill.stages import _quality as quality
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models

VERSION = 3  # 2: agreement on more texts, losses beyond chance, a margin for latency; 3: every task
TOOLS = ("onnx", "onnxruntime")
CALIBRATION_BATCH = 8
NEAR = 1.10  # files within a tenth of the smallest are the same size to a user: among them a faster one may win
FASTER = 0.90  # of the smallest's latency: less is noise, and the choice is to be the same tomorrow
JUDGED = 512  # texts that agreement is counted on: validation rows, then training and transfer texts that did not calibrate
TIMED_TEXTS = 32
TIMED_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the target allows and forbids, and what a quantised file may lose against its own fp32 on the validation rows."""

    task: str
    engine: str
    allowed: tuple[str, ...]
    forbidden: tuple[tuple[str, str], ...]
    agreement: float
    drop: float
    latency_counts: bool
    max_length: int


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate and the file that it made; `problem` says why it cannot be shipped, empty where it can."""

    candidate: Candidate
    file: Path
    problem: str


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """The engine knows every allowed scheme."""
    known = plugins.load("quantizers", params.engine).SCHEMES
    return [Fault("quantization.allowed", f"unknown scheme '{name}'", nearest(name, known)) for name in params.allowed if name not in known]


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the chosen `model.onnx`; the facts hold every candidate with its verdict."""
    scratch = out / RESUME
    scratch.mkdir(exist_ok=True)
    bench = _Bench(params, inputs)
    tried = []
    for index, scheme in enumerate(params.allowed):
        progress.advance(index, len(params.allowed), "schemes", scheme)
        tried.append(_try(scheme, params, bench, scratch))
    if params.latency_counts:
        tried = _with_latency(tried, bench)
    best = _choose(tried, params)
    for one in tried:
        progress.note(
            f"{one.candidate.scheme}: {one.candidate.bytes / 1e6:.2f} MB, validation {one.candidate.score:.4f} — {_reason(one, best, params)}"
        )
    shutil.copyfile(best.file, out / "model.onnx")
    candidates = [replace(one.candidate, chosen=one is best, reason=_reason(one, best, params)) for one in tried]
    return {
        "scheme": best.candidate.scheme,
        "candidates": [asdict(candidate) for candidate in candidates],
        "forbidden": [{"scheme": scheme, "why": why} for scheme, why in params.forbidden],
        "bytes": best.candidate.bytes,
    }


def ensures(out: Path) -> None:
    """There is a model."""
    needs_files(out, "model.onnx")


class _Bench:
    """The export, the calibration inputs and the rows that every candidate is judged by."""

    def __init__(self, params: Params, inputs: Inputs) -> None:
        self.task = plugins.load("tasks", params.task)
        self.engine = plugins.load("quantizers", params.engine)
        export, prepared = inputs["export"], inputs["prepare"].path
        self.pad_id = int(export.facts["pad_id"])
        self.exported = self.engine.Exported(plain=export.path / "model.onnx", fused=export.path / "fused.onnx")
        encoder = models.load_encoder(self.task, export.path)
        self.validation, self.names = read_split(prepared, "validation"), class_names(prepared)
        more = _uncalibrated(self.task, prepared)[: max(0, JUDGED - len(self.validation))]
        self.rows = self.task.encode(encoder, self.validation.examples + more, params.max_length)
        self.flat = [row for rows in self.rows for row in rows]
        self.calibration = self.task.encode(encoder, read_split(prepared, "calibration").examples, params.max_length)
        session = runtime.open_session(self.exported.fused)
        self.inputs = [entry.name for entry in session.get_inputs()]
        self.fp32_evidence, self.fp32_decisions = self.judge(runtime.run_examples(session, self.task, self.rows, self.pad_id))

    def judge(self, outputs: Sequence[Any]) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
        """What the validation rows, which come first, say about the metric; what all rows were decided to be."""
        count, split = len(self.validation), self.validation
        evidence = self.task.evidence(outputs[:count], self.rows[:count], split.examples, split.targets, self.names)
        return evidence, [np.atleast_2d(one) for one in self.task.decisions(outputs, self.rows)]

    def feeds(self, rows: Sequence[Any]) -> dict[str, NDArray[Any]]:
        feeds = self.task.feeds(rows, self.pad_id)
        return {name: feeds[name] for name in self.inputs}

    def calibration_feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        rows = [row for one in self.calibration for row in one]
        for start in range(0, len(rows), CALIBRATION_BATCH):
            yield self.feeds(rows[start : start + CALIBRATION_BATCH])


def _try(scheme: str, params: Params, bench: _Bench, scratch: Path) -> Tried:
    file = scratch / f"{scheme}.onnx"
    nothing = Candidate(scheme=scheme, bytes=0, score=0.0, agreement=0.0, latency_ratio=None, chosen=False, reason="")
    try:
        bench.engine.SCHEMES[scheme](bench.exported, file, bench.calibration_feeds())
        outputs = runtime.run_examples(runtime.open_session(file), bench.task, bench.rows, bench.pad_id, batch_size=1)
    except EdgedistillError as error:
        return Tried(nothing, file, f"it does not load: {error}")
    except Exception as error:  # the quantiser raises whatever the graph provokes; the candidate is out, and the receipt says why
        return Tried(nothing, file, f"the quantiser failed: {type(error).__name__}: {error}")
    evidence, decisions = bench.judge(outputs)
    agreement = float(bench.task.alike(decisions, bench.fp32_decisions).mean())
    candidate = replace(nothing, bytes=file.stat().st_size, score=bench.task.total(evidence), agreement=agreement)
    return Tried(candidate, file, _problem(bench, agreement, evidence, params))


def _problem(bench: _Bench, agreement: float, evidence: NDArray[np.float64], params: Params) -> str:
    """Why a candidate cannot be shipped. Its loss counts when its one-sided 95 % bound, paired by row, is beyond what is allowed."""
    if agreement < params.agreement:
        return f"it agrees with fp32 on {agreement:.2%} of the texts, below {params.agreement:.2%}"
    if quality.lost_at_least(bench.task, evidence, bench.fp32_evidence) > params.drop:
        ours, fp32 = bench.task.total(evidence), bench.task.total(bench.fp32_evidence)
        return f"its validation score {ours:.4f} is worse than fp32's {fp32:.4f} by more than {params.drop} and chance"
    return ""


def _uncalibrated(task: Any, prepared: Path) -> list[dict[str, Any]]:
    calibrated = {task.identity(one) for one in read_split(prepared, "calibration").examples}
    pool = (one for name in ("transfer", "train") for one in read_split(prepared, name).examples)
    return list(islice((one for one in pool if task.identity(one) not in calibrated), JUDGED))


def _with_latency(tried: Sequence[Tried], bench: _Bench) -> list[Tried]:
    """Median latency of each candidate ÷ fp32's: batch 1, one thread, real lengths, interleaved text by text."""
    alive = [one for one in tried if one.candidate.bytes]
    sessions = [runtime.open_session(bench.exported.fused, threads=1)] + [runtime.open_session(one.file, threads=1) for one in alive]
    feeds = [bench.feeds([row]) for row in bench.flat[:TIMED_TEXTS]]
    samples = np.array(
        [[_seconds(session, feed) for session in sessions] for _ in range(TIMED_ROUNDS) for feed in feeds]
    )  # [rounds · texts, sessions]
    medians = np.median(samples[len(feeds) :], axis=0)  # the first round warms up
    ratio = {id(one): round(float(median / medians[0]), 3) for one, median in zip(alive, medians[1:], strict=True)}
    return [replace(one, candidate=replace(one.candidate, latency_ratio=ratio.get(id(one)))) for one in tried]


def _seconds(session: Any, feed: Mapping[str, Any]) -> float:
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started


def _choose(tried: Sequence[Tried], params: Params) -> Tried:
    """The smallest that holds; where this machine is of the target's kind, one of those near it that is clearly faster."""
    able = [one for one in tried if not one.problem]
    if not able:
        reasons = "; ".join(f"{one.candidate.scheme}: {one.problem}" for one in tried)
        raise StageError(f"no allowed scheme can be shipped: {reasons}", hint="allow fp32 in the target")
    smallest = min(able, key=lambda one: one.candidate.bytes)
    if not params.latency_counts:
        return smallest
    near = [one for one in able if one.candidate.bytes <= NEAR * smallest.candidate.bytes]
    fastest = min(near, key=lambda one: one.candidate.latency_ratio or np.inf)
    clearly = (fastest.candidate.latency_ratio or np.inf) <= FASTER * (smallest.candidate.latency_ratio or 0)
    return fastest if clearly else smallest


def _reason(one: Tried, best: Tried, params: Params) -> str:
    """Why a candidate won or lost, as a sentence."""
    if one is best:
        return "chosen: it holds, and none of its size is clearly faster" if params.latency_counts else "chosen: the smallest that holds"
    if one.problem:
        return f"lost: {one.problem}"
    mine, theirs = one.candidate, best.candidate
    size = f"lost: {mine.bytes / theirs.bytes:.4g} × the bytes of {theirs.scheme}"
    if mine.bytes > NEAR * theirs.bytes or not params.latency_counts:
        return size
    return f"{size} and {mine.latency_ratio} × fp32's latency, where {theirs.scheme} has {theirs.latency_ratio}"
