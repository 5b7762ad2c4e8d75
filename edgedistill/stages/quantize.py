"""quantize: try the schemes that the target allows on real examples, keep the best, and say why each other one lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, plugins, quantizers, runtime, schemes, search
from edgedistill.cache import RESUME
from edgedistill.errors import ConfigError, Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs
from edgedistill.stages import _counts, needs_files
from edgedistill.stages import _quality as quality
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models

VERSION = 6  # 5: shapes of accelerators; 6: of equal costs the nearest to fp32
TOOLS = ("onnx", "onnxruntime", "neural-compressor", "torchao")
CALIBRATION_BATCH = 8
JUDGED = 512  # texts that agreement is counted on: validation rows, then training and transfer texts that did not calibrate
TIMED = 32
FARTHEST = 1e9  # the divergence of answers that are no numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What the target allows and forbids, and what a quantised file may lose against its own fp32 on the validation rows.

    `length` above 0 asks for a graph of one shape: a batch of 1 at so many tokens. Where `attention` is plain, nothing starts from the fused graph.
    `latency_counts` says that this machine is of the target's kind.
    `counted` is the CPU whose instructions stand for latency; empty where the profile names none or it cannot be emulated here. Both are in the key,
    because the receipts differ: whoever installs the emulator later is to get the better choice, not the old one.
    """

    task: str
    allowed: tuple[str, ...]
    forbidden: tuple[tuple[str, str], ...]
    agreement: float
    drop: float
    model_mb: float
    length: int
    latency_counts: bool
    max_length: int
    counted: str = ""
    attention: str = "fused"


WAY_OUT = "allow fp32 in the target, or end the recipe with a round that has quantization_aware = true"


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Every allowed scheme has a name."""
    faults: list[Fault] = []
    for name in params.allowed:
        try:
            schemes.parse(name)
        except ConfigError as error:
            faults.append(Fault("quantization.allowed", error.faults[0].what, error.hint))
    return faults


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the chosen `model.onnx`; the facts hold every candidate with its figures and its reason."""
    scratch = out / RESUME
    scratch.mkdir(exist_ok=True)
    bench = _Bench(params, inputs, scratch)
    source = quantizers.Source(
        plain=bench.plain,
        fused=bench.fused,
        weights=inputs["model"].path,
        calibration=bench.calibration_feeds,
        sizes=_sizes(params),
        divergence=bench.divergence,
        holds=lambda file: search.holds(bench, file, params.agreement),
        torch_model=lambda: models.load_model(bench.task.AUTO_CLASS, inputs["model"].path).eval(),
        forward=bench.task.forward,
    )
    limits = search.Limits(agreement=params.agreement, bytes=params.model_mb * 1e6, hint=WAY_OUT)
    found = search.find(params.allowed, source, bench, limits, _clock(params, bench, progress), scratch, progress)
    files = graphs.copied(found.file, out / "model.onnx")
    return {
        "scheme": found.chosen.scheme,
        "candidates": [asdict(candidate) for candidate in found.candidates],
        "forbidden": [{"scheme": scheme, "why": why} for scheme, why in params.forbidden],
        "bytes": found.chosen.bytes,
        "files": files,
        "graph": {"fp32": graphs.summary(bench.fused), "chosen": graphs.summary(out / "model.onnx")},
    }


def ensures(out: Path) -> None:
    """There is a model."""
    needs_files(out, "model.onnx")


def _clock(params: Params, bench: _Bench, progress: Progress) -> search.Clock | None:
    """Time where this machine is of the target's kind, else instructions where its CPU can be emulated."""
    if params.latency_counts:
        return search.clock_here([bench.feeds([row]) for row in bench.flat[:TIMED]])
    return _counts.clock(params.counted, [bench.feeds([row]) for row in bench.flat[: _counts.ROWS]], progress) if params.counted else None


def _sizes(params: Params) -> dict[str, int]:
    return {"batch": 1, "sequence": params.length or params.max_length}


class _Bench:
    """The judge on labelled examples: the graphs, the calibration inputs and the rows that every candidate is held against."""

    def __init__(self, params: Params, inputs: Inputs, scratch: Path) -> None:
        self.params = params
        self.task = plugins.load("tasks", params.task)
        export, prepared = inputs["export"], inputs["prepare"].path
        self.pad_id = int(export.facts["pad_id"])
        self.plain = export.path / "model.onnx"
        self.fused = export.path / "fused.onnx" if params.attention == "fused" else self.plain
        if params.length:
            self.plain, self.fused = (graphs.fixed(file, scratch / f"fixed-{file.name}", _sizes(params)) for file in (self.plain, self.fused))
        encoder = models.load_encoder(self.task, export.path)
        self.validation, self.names = read_split(prepared, "validation"), class_names(prepared)
        more = _uncalibrated(self.task, prepared)[: max(0, JUDGED - len(self.validation))]
        self.rows = self.task.encode(encoder, self.validation.examples + more, params.max_length)
        self.flat = [row for rows in self.rows for row in rows]
        self.calibration = self.task.encode(encoder, read_split(prepared, "calibration").examples, params.max_length)
        self.session = runtime.open_session(self.fused)
        self.fp32 = runtime.run_examples(self.session, self.task, self.rows, self.pad_id, batch_size=1)

    def __call__(self, file: Path, first: int | None = None) -> search.Judged:
        """Score and agreement with fp32, one example at a time as a device runs them."""
        outputs = self._outputs(file, first)
        count = len(outputs)
        if not all(np.isfinite(array).all() for rows in outputs for array in rows):
            return search.Judged(score=0.0, agreement=0.0, divergence=FARTHEST, rows=count, problem="some of its answers are no numbers")
        evidence, fp32 = self._evidence(outputs), self._evidence(self.fp32[:count])
        ours, theirs = ([np.atleast_2d(one) for one in self.task.decisions(found, self.rows[:count])] for found in (outputs, self.fp32[:count]))
        agreement = float(self.task.alike(ours, theirs).mean())
        problem = self._problem(agreement, evidence, fp32)
        off = _divergence(outputs, self.fp32)
        return search.Judged(score=self.task.total(evidence), agreement=agreement, divergence=off, rows=count, problem=problem)

    def divergence(self, file: Path) -> float:
        """How far a file's answers are from fp32's on the first rows."""
        return _divergence(self._outputs(file, search.FIRST), self.fp32)

    def feeds(self, rows: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """The graph's inputs for rows in one batch."""
        return runtime.fitted(self.session, self.task.feeds(rows, self.pad_id), self.pad_id)

    def calibration_feeds(self) -> Iterator[dict[str, NDArray[Any]]]:
        rows = [row for one in self.calibration for row in one]
        size = 1 if self.params.length else CALIBRATION_BATCH
        for start in range(0, len(rows), size):
            yield self.feeds(rows[start : start + size])

    def _outputs(self, file: Path, first: int | None) -> list[Any]:
        return runtime.run_examples(runtime.open_session(file), self.task, self.rows[:first], self.pad_id, batch_size=1)

    def _evidence(self, outputs: Sequence[Any]) -> NDArray[np.float64]:
        """What the validation rows, which come first, say about the metric."""
        count, split = min(len(outputs), len(self.validation)), self.validation
        found: NDArray[np.float64] = self.task.evidence(outputs[:count], self.rows[:count], split.examples[:count], split.targets[:count], self.names)
        return found

    def _problem(self, agreement: float, evidence: NDArray[np.float64], fp32: NDArray[np.float64]) -> str:
        """Why a candidate cannot be shipped. Its loss counts when its one-sided 95 % bound, paired by row, is beyond what is allowed."""
        limit, drop = self.params.agreement, self.params.drop
        if agreement < limit:
            return f"it agrees with fp32 on {agreement:.2%} of the texts, below {limit:.2%}"
        if quality.lost_at_least(self.task, evidence, fp32) > drop:
            ours, theirs = self.task.total(evidence), self.task.total(fp32)
            return f"its validation score {ours:.4f} is worse than fp32's {theirs:.4f} by more than {drop} and chance"
        return ""


def _divergence(ours: Sequence[Any], fp32: Sequence[Any]) -> float:
    """Mean squared difference of answers from fp32's to the same rows, as a share of fp32's variance; at most `FARTHEST`."""
    pairs = [pair for rows in zip(ours, fp32, strict=False) for pair in zip(*rows, strict=True)]  # ours may be of the first rows only
    noise = sum(float(np.square(our - their, dtype=np.float64).sum()) for our, their in pairs)
    count = sum(their.size for _, their in pairs)
    mean = sum(float(their.sum(dtype=np.float64)) for _, their in pairs) / count
    spread = sum(float(np.square(their - mean, dtype=np.float64).sum()) for _, their in pairs)
    found = noise / max(spread, quality.TINY * count)
    return min(found, FARTHEST) if np.isfinite(found) else FARTHEST


def _uncalibrated(task: Any, prepared: Path) -> list[dict[str, Any]]:
    calibrated = {task.identity(one) for one in read_split(prepared, "calibration").examples}
    pool = (one for name in ("transfer", "train") for one in read_split(prepared, name).examples)
    return list(islice((one for one in pool if task.identity(one) not in calibrated), JUDGED))
