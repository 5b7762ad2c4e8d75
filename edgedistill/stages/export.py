"""export: a model folder into fp32 ONNX, held against torch on validation texts, with its answers on the test texts kept beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, plugins, ragged, runtime
from edgedistill.errors import Fault, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Inputs
from edgedistill.stages import _quality as quality
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models

VERSION = 5  # 4: every task; 5: tokens that nobody reads are left out
TOOLS = ("torch", "transformers", "onnx", "onnxruntime")
BATCH = 32
PARITY_BATCH = 8
PARITY_ROWS = 64  # enough lengths to meet every shape rule of the trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The model folder is the input `model`. `plain` keeps the unfused graph too, which static quantisers start from."""

    task: str
    exporter: str
    opset: int
    ir_version: int
    max_length: int
    plain: bool


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """The exporter exists."""
    plugins.load("exporters", params.exporter)
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write `fused.onnx` (and `model.onnx`), the tokenizer, and what the model says of the test split."""
    task = plugins.load("tasks", params.task)
    folder, prepared = inputs["model"].path, inputs["prepare"].path
    model = models.load_model(task.AUTO_CLASS, folder).eval()
    encoder, padding = models.load_encoder(task, folder), models.pad_id(model)
    some = [row for rows in task.encode(encoder, read_split(prepared, "validation").examples[:PARITY_ROWS], params.max_length) for row in rows]
    sample = models.accepted(model, task.feeds(some[:2], padding))
    exporter = plugins.load("exporters", params.exporter)
    facts: dict[str, Any] = exporter.export(model, task.forward, sample, out, opset=params.opset, ir_version=params.ir_version)
    if not params.plain:
        for file in graphs.parts(out / "model.onnx").values():
            file.unlink()
    for name in task.FILES:
        shutil.copyfile(folder / name, out / name)
    session = runtime.open_session(out / "fused.onnx")
    difference, agreement = _parity(model, session, task, some[:PARITY_ROWS], padding)
    progress.note(f"{facts['nodes']} nodes fused to {facts['fused_nodes']}; answers within {difference:.1e} of torch's")
    _test(task, session, encoder, padding, params.max_length, prepared, out, progress)
    return facts | {
        "bytes": graphs.size(out / "fused.onnx"),
        "pad_id": padding,
        "parity": {"max_abs": difference, "agreement": agreement, "rows": min(len(some), PARITY_ROWS)},
        "parameters": model.num_parameters(),
    }


def _test(task: Any, session: Any, encoder: Any, padding: int, max_length: int, prepared: Path, out: Path, progress: Progress) -> None:
    """What each test example says about the metric, and what it was decided to be."""
    test = read_split(prepared, "test")
    rows = task.encode(encoder, test.examples, max_length)
    total = sum(map(len, rows))
    seen = lambda done: progress.advance(done, total, "model runs")  # noqa: E731  shorter than a nested def
    evidence, decisions = quality.judge(task, session, rows, test, class_names(prepared), padding, BATCH, seen)
    np.save(out / "evidence.npy", evidence)
    ragged.save(out / "decisions.npz", decisions)


def ensures(out: Path) -> None:
    """The graph and what it said."""
    needs_files(out, "fused.onnx", "evidence.npy", "decisions.npz")


def _parity(model: Any, session: Any, task: Any, rows: Sequence[Any], padding: int) -> tuple[float, float]:
    """Largest difference of answers between torch and ONNX on padded batches of real examples, and the share of like decisions."""
    ours: list[NDArray[Any]] = []
    names = [entry.name for entry in session.get_inputs()]
    for start in range(0, len(rows), PARITY_BATCH):
        batch = rows[start : start + PARITY_BATCH]
        feeds = task.feeds(batch, padding)
        try:
            raw = session.run(None, {name: feeds[name] for name in names})[0]
        except Exception as error:  # onnxruntime's own exceptions share no public base class
            what = f"the graph of this {model.config.model_type} does not run for other lengths than that it was traced at: {error}"
            raise StageError(what, hint="its code branches on the length of a text: take a model of another family") from error
        ours += ragged.cut(task, raw, batch)
    theirs = models.answers(task, model, rows, padding, PARITY_BATCH)
    same = [np.array_equal(mine.argmax(axis=1), other.argmax(axis=1)) for mine, other in zip(ours, theirs, strict=True)]
    worst = max(float(np.abs(mine - other).max()) for mine, other in zip(ours, theirs, strict=True) if mine.size)
    return worst, float(np.mean(same))
