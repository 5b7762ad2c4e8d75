"""check: the exported, quantised file on the whole test split, held against the teacher, the gates and the target's budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins, runtime
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Verdict
from edgedistill.stages import needs_files
from edgedistill.stages._splits import read_split
from edgedistill.training import models

VERSION = 2  # 2: an interval where nothing differs
TOOLS = ("onnxruntime", "scipy", "tokenizers")
RESAMPLES = 9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The limits, from the recipe's gates and the target's budgets."""

    task: str
    retention: float
    model_mb: float
    accuracy_drop: float
    fp32_max_abs: float
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Limits are numbers; the recipe and the target were checked."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the bundle's test logits; the facts hold scores, intervals and verdicts."""
    task = plugins.load("tasks", params.task)
    export, teacher = inputs["export"], inputs["teacher"]
    test = read_split(inputs["prepare"].path, "test")
    logits = _logits(task, inputs, test.texts, params.max_length, progress)
    np.save(out / "test.npy", logits)
    teacher_logits, student_logits = np.load(teacher.path / "test.npy"), np.load(export.path / "test.npy")
    answers = {"teacher": teacher_logits, "student": student_logits, "bundle": logits}
    if "control" in inputs.artifacts:
        answers["control"] = np.load(inputs["control"].path / "test.npy")
    rows = {name: task.correct(found, test.labels) for name, found in answers.items()}
    scores = {name: float(row.mean()) for name, row in rows.items()}
    retention = scores["bundle"] / scores["teacher"] if scores["teacher"] else 0.0
    verdicts = _verdicts(params, scores, retention, inputs)
    for verdict in verdicts:
        (progress.note if verdict.ok else progress.warn)(verdict.sentence)
    return {
        "metric": task.METRIC,
        "n_test": len(test.texts),
        "scores": scores,
        "intervals": {name: interval(row) for name, row in rows.items()},
        "retention": retention,
        "retention_interval": retention_interval(rows["bundle"], rows["teacher"], params.seed),
        "agreement": {name: float(task.agree(found, teacher_logits).mean()) for name, found in answers.items()},
        "verdicts": [asdict(verdict) for verdict in verdicts],
    }


def ensures(out: Path) -> None:
    """The answers that the scores were counted from."""
    needs_files(out, "test.npy")


def interval(correct: NDArray[np.float64]) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of right rows (Wilson 1927), [n] zeros and ones."""
    from scipy.stats import binomtest

    found = binomtest(int(correct.sum()), len(correct)).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)


def retention_interval(bundle: NDArray[np.float64], teacher: NDArray[np.float64], seed: int) -> tuple[float, float]:
    """95 % bootstrap interval of mean(bundle) ÷ mean(teacher) over the same rows, resampled in pairs (Efron, Tibshirani 1993, chapter 13).

    Where both are right on the same rows: the rule of three (Hanley, Lippman-Hand 1983), 3 / n of the rows either way.
    """
    from scipy.stats import bootstrap

    if not teacher.any():
        return (0.0, 0.0)
    if np.array_equal(bundle, teacher):  # nothing to resample; no difference seen in n rows may still be one in n / 3 (rule of three)
        spread = 3 / teacher.sum()
        return (1 - spread, 1 + spread)
    found = bootstrap(
        (bundle, teacher),
        lambda ours, theirs, axis: ours.mean(axis=axis) / theirs.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)


def _logits(task: Any, inputs: Inputs, texts: list[str], max_length: int, progress: Progress) -> NDArray[np.float32]:
    """One text at a time, as a device runs it: dynamic int8 scales its activations by what is in the batch."""
    tokenizer = models.load_tokenizer(inputs["export"].path)
    padding = int(inputs["export"].facts["pad_id"])
    session = runtime.open_session(inputs["quantize"].path / "model.onnx")
    rows = task.encode(tokenizer, texts, max_length)
    seen = lambda done: progress.advance(done, len(rows), "test rows")  # noqa: E731  shorter than a nested def
    return runtime.run_rows(session, rows, lambda some: task.feeds(some, padding), batch_size=1, seen=seen)


def _verdicts(params: Params, scores: Mapping[str, float], retention: float, inputs: Inputs) -> list[Verdict]:
    size = (inputs["quantize"].path / "model.onnx").stat().st_size / 1e6
    drop = scores["teacher"] - scores["bundle"]
    difference = float(inputs["export"].facts["parity"]["max_abs"])
    return [
        _verdict(
            "retention",
            params.retention,
            retention,
            retention >= params.retention,
            f"the bundle keeps {retention:.4f} of the teacher's score; at least {params.retention} is asked for",
        ),
        _verdict(
            "accuracy_drop",
            params.accuracy_drop,
            drop,
            drop <= params.accuracy_drop,
            f"the bundle is {drop:.4f} below the teacher; the target allows {params.accuracy_drop}",
        ),
        _verdict("model_mb", params.model_mb, size, size <= params.model_mb, f"the model has {size:.2f} MB; the target allows {params.model_mb}"),
        _verdict(
            "fp32_parity",
            params.fp32_max_abs,
            difference,
            difference <= params.fp32_max_abs,
            f"fp32 ONNX is within {difference:.1e} of torch; {params.fp32_max_abs:.0e} is allowed",
        ),
    ]


def _verdict(rule: str, limit: float, value: float, ok: bool, sentence: str) -> Verdict:
    return Verdict(rule=rule, limit=limit, value=value, ok=ok, sentence=sentence)
