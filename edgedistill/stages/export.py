"""export: a model folder into fp32 ONNX, held against torch, with its answers on the validation and test texts kept beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import plugins, runtime
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs
from edgedistill.stages import needs_files
from edgedistill.stages._splits import read_split
from edgedistill.training import models

VERSION = 2  # 2: residual additions are kept apart from their layer norms
TOOLS = ("torch", "transformers", "onnx", "onnxruntime")
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
    """Write `fused.onnx` (and `model.onnx`), the tokenizer, and the logits of the validation and test splits."""
    task = plugins.load("tasks", params.task)
    folder = inputs["model"].path
    model = models.load_model(task.AUTO_CLASS, folder).eval()
    facts: dict[str, Any] = plugins.load("exporters", params.exporter).export(
        model, task.INPUTS, out, opset=params.opset, ir_version=params.ir_version
    )
    if not params.plain:
        (out / "model.onnx").unlink()
    shutil.copyfile(folder / "tokenizer.json", out / "tokenizer.json")
    tokenizer = models.load_tokenizer(folder)
    session = runtime.open_session(out / "fused.onnx")
    padding = _pad_id(model)
    difference, agreement = _parity(model, session, task, tokenizer, inputs, params.max_length, padding)
    progress.note(f"{facts['nodes']} nodes fused to {facts['fused_nodes']}; logits within {difference:.1e} of torch's")
    scores = {name: _answers(session, task, tokenizer, inputs, name, params.max_length, padding, out, progress) for name in ("validation", "test")}
    return facts | {
        "bytes": (out / "fused.onnx").stat().st_size,
        "pad_id": padding,
        "parity": {
            "max_abs": difference,
            "agreement": agreement,
            "rows": min(PARITY_ROWS, len(read_split(inputs["prepare"].path, "validation").texts)),
        },
        "scores": scores,
        "parameters": model.num_parameters(),
    }


def ensures(out: Path) -> None:
    """The graph, the tokenizer and the answers."""
    needs_files(out, "fused.onnx", "tokenizer.json", "validation.npy", "test.npy")


def _pad_id(model: Any) -> int:
    return int(model.config.pad_token_id or 0)


def _parity(model: Any, session: Any, task: Any, tokenizer: Any, inputs: Inputs, max_length: int, padding: int) -> tuple[float, float]:
    """Largest difference of logits between torch and ONNX on padded batches of real texts, and the share of equal classes."""
    import torch

    rows = task.encode(tokenizer, read_split(inputs["prepare"].path, "validation").texts[:PARITY_ROWS], max_length)
    torch_logits, onnx_logits = [], []
    for start in range(0, len(rows), 8):
        feeds = task.feeds(rows[start : start + 8], padding)
        with torch.inference_mode():
            torch_logits.append(model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy())
        onnx_logits.append(session.run(None, feeds)[0])
    ours, theirs = np.concatenate(onnx_logits), np.concatenate(torch_logits)
    return float(np.abs(ours - theirs).max()), float(task.agree(ours, theirs).mean())


def _answers(
    session: Any, task: Any, tokenizer: Any, inputs: Inputs, name: str, max_length: int, padding: int, out: Path, progress: Progress
) -> float:
    split = read_split(inputs["prepare"].path, name)
    rows = task.encode(tokenizer, split.texts, max_length)
    logits = runtime.run_rows(
        session, rows, lambda some: task.feeds(some, padding), seen=lambda done: progress.advance(done, len(rows), f"{name} rows")
    )
    np.save(out / f"{name}.npy", logits)
    return float(task.correct(logits, split.labels).mean())
