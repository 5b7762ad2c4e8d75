"""check: the quantised file on the whole test split, held against the teacher, the gates and the budgets; and the parity ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, plugins, ragged, runtime, schemes
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Rung, Verdict
from edgedistill.stages import _ladder as ladder
from edgedistill.stages import _quality as quality
from edgedistill.stages import needs_files
from edgedistill.stages._splits import Split, class_names, read_split
from edgedistill.training import models
from edgedistill.wording import MEGA, megabytes

VERSION = 5  # 3: every task; 4: the parity ladder; 5: the teacher beside chance
TOOLS = ("onnxruntime", "scipy", "tokenizers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The limits, from the recipe's gates and the target's budgets.

    `emulate` are the CPUs that the profile wants on the ladder, `emulated` those of them that this machine can emulate: it is in the key, because a
    rung that is unmeasured for want of an emulator is to be measured once there is one. `kernels` is by scheme, `rows` are test examples.
    """

    task: str
    retention: float
    model_mb: float
    accuracy_drop: float
    fp32_max_abs: float
    agreement: float
    kernel_agreement: float
    kernels: Mapping[str, float]
    rows: int
    emulate: tuple[str, ...]
    emulated: tuple[str, ...]
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Limits are numbers; the recipe and the target were checked."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write what the bundle said of the test split; the facts hold scores, intervals and verdicts."""
    task = plugins.load("tasks", params.task)
    teacher = inputs["teacher"]
    test = read_split(inputs["prepare"].path, "test")
    rows_read = task.encode(models.load_encoder(task, inputs["export"].path), test.examples, params.max_length)
    evidence, decisions = _bundle(task, inputs, test, rows_read, progress)
    np.save(out / "evidence.npy", evidence)
    ragged.save(out / "decisions.npz", decisions)
    subjects = {"teacher": teacher, "student": inputs["export"]} | {role: inputs[role] for role in ("control",) if role in inputs.artifacts}
    rows = {name: np.load(artifact.path / "evidence.npy") for name, artifact in subjects.items()} | {"bundle": evidence}
    decided = {name: _read(artifact.path) for name, artifact in subjects.items()} | {"bundle": decisions}
    scores = {name: task.total(found) for name, found in rows.items()}
    chance = quality.chance(task, rows_read, test, class_names(inputs["prepare"].path), rows["teacher"])
    retention = quality.retention(task, scores["bundle"], scores["teacher"]) if chance.beaten else None
    rungs = _ladder(params, task, inputs, rows_read, progress)
    warnings = [] if chance.beaten else [_no_better(task, chance, scores["teacher"], len(evidence))]
    verdicts = [_kept(params, retention, chance), *_verdicts(params, task, scores, inputs)]
    verdicts += [ladder.verdict(one) for one in rungs if one.holds is not None]
    for one in rungs:
        if one.holds is None:
            progress.note(ladder.sentence(one))
    for warning in warnings:
        progress.warn(warning)
    for verdict in verdicts:
        (progress.note if verdict.ok else progress.warn)(verdict.sentence)
    return {
        "metric": task.METRIC,
        "n_test": len(evidence),
        "scores": scores,
        "intervals": {name: quality.interval(task, found) for name, found in rows.items()},
        "retention": retention,
        "retention_interval": quality.retention_interval(task, rows["bundle"], rows["teacher"], params.seed) if chance.beaten else None,
        "chance": asdict(chance),
        "warnings": warnings,
        "agreement": {name: float(np.nan_to_num(task.alike(found, decided["teacher"])).mean()) for name, found in decided.items()},
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "ladder": [asdict(one) for one in rungs],
    }


def ensures(out: Path) -> None:
    """What the scores were counted from."""
    needs_files(out, "evidence.npy", "decisions.npz")


def _read(folder: Path) -> list[NDArray[Any]]:
    found = ragged.load(folder / "decisions.npz")
    return [found[index] for index in range(len(found))]


def _bundle(task: Any, inputs: Inputs, test: Split, rows: Sequence[Any], progress: Progress) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """One example at a time, as a device runs it: dynamic int8 scales its activations by what is in the batch."""
    total = sum(map(len, rows))
    seen = lambda done: progress.advance(done, total, "model runs")  # noqa: E731  shorter than a nested def
    session = runtime.open_session(inputs["quantize"].path / "model.onnx")
    names = class_names(inputs["prepare"].path)
    return quality.judge(task, session, rows, test, names, int(inputs["export"].facts["pad_id"]), 1, seen)


def _ladder(params: Params, task: Any, inputs: Inputs, rows: Sequence[Any], progress: Progress) -> list[Rung]:
    scheme = str(inputs["quantize"].facts["scheme"])
    files = ladder.Files(
        torch=inputs["model"].path, fp32=inputs["export"].path / "fused.onnx", chosen=inputs["quantize"].path / "model.onnx", scheme=scheme
    )
    limits = ladder.Limits(
        fp32_max_abs=params.fp32_max_abs,
        agreement=params.agreement,
        kernel_max_abs=params.kernels.get(schemes.begins(params.kernels, scheme) or ""),
        kernel_agreement=params.kernel_agreement,
    )
    examples = ladder.some(task, rows, params.rows, int(inputs["export"].facts["pad_id"]))
    return ladder.climb(examples, files, limits, params.emulate, progress)


def _no_better(task: Any, chance: quality.Chance, teacher: float, count: int) -> str:
    """That there is nothing to retain."""
    low, high = chance.lead
    against = f"{task.METRIC} {teacher:.4f} against {chance.score:.4f} on {count} test rows, a lead of {low:.4f} to {high:.4f}"
    return f"the teacher is no better than {chance.answer} ({against}): retention is undefined"


def _kept(params: Params, retention: float | None, chance: quality.Chance) -> Verdict:
    """The gate on retention; where that is undefined nothing can hold it."""
    if retention is None:
        why = f"a teacher no better than {chance.answer} has to learn more, or longer"
        return _verdict("retention", params.retention, None, False, f"retention is undefined, and at least {params.retention} is asked for: {why}")
    sentence = f"the bundle keeps {retention:.4f} of the teacher's score; at least {params.retention} is asked for"
    return _verdict("retention", params.retention, retention, retention >= params.retention, sentence)


def _verdicts(params: Params, task: Any, scores: Mapping[str, float], inputs: Inputs) -> list[Verdict]:
    size = graphs.size(inputs["quantize"].path / "model.onnx")
    drop = quality.loss(task, scores["bundle"], scores["teacher"])
    behind = f"{drop:.4f} below the teacher" if task.HIGHER else f"{abs(drop):.1%} {'above' if drop > 0 else 'below'} the teacher in {task.METRIC}"
    difference = float(inputs["export"].facts["parity"]["max_abs"])
    return [
        _verdict(
            "accuracy_drop",
            params.accuracy_drop,
            drop,
            drop <= params.accuracy_drop,
            f"the bundle is {behind}; the target allows {params.accuracy_drop}",
        ),
        _verdict(
            "model_mb",
            params.model_mb,
            size / MEGA,
            size / MEGA <= params.model_mb,
            f"the model has {megabytes(size, 4)}; the target allows {megabytes(params.model_mb * MEGA, 4)}",
        ),
        _verdict(
            "fp32_parity",
            params.fp32_max_abs,
            difference,
            difference <= params.fp32_max_abs,
            f"fp32 ONNX is within {difference:.1e} of torch; {params.fp32_max_abs:.0e} is allowed",
        ),
    ]


def _verdict(rule: str, limit: float, value: float | None, ok: bool, sentence: str) -> Verdict:
    return Verdict(rule=rule, limit=limit, value=value, ok=ok, sentence=sentence)
