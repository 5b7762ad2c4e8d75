"""export: a model folder into fp32 ONNX, held against torch on validation texts, with its answers on the test texts kept beside it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
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

VERSION = 3  # 2: residual additions are kept apart from their layer norms; 3: no validation answers, nobody read them
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
    """Write `fused.onnx` (and `model.onnx`), the tokenizer, and the logits of the test split."""
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
    some = task.encode(tokenizer, read_split(inputs["prepare"].path, "validation").texts[:PARITY_ROWS], params.max_length)
    difference, agreement = _parity(model, session, task, some, padding)
    progress.note(f"{facts['nodes']} nodes fused to {facts['fused_nodes']}; logits within {difference:.1e} of torch's")
    rows = task.encode(tokenizer, read_split(inputs["prepare"].path, "test").texts, params.max_length)
    seen = lambda done: progress.advance(done, len(rows), "test rows")  # noqa: E731  shorter than a nested def
    np.save(out / "test.npy", runtime.run_rows(session, rows, lambda batch: task.feeds(batch, padding), seen=seen))
    return facts | {
        "bytes": (out / "fused.onnx").stat().st_size,
        "pad_id": padding,
        "parity": {"max_abs": difference, "agreement": agreement, "rows": len(some)},
        "parameters": model.num_parameters(),
    }


def ensures(out: Path) -> None:
    """The graph, the tokenizer and the answers."""
    needs_files(out, "fused.onnx", "tokenizer.json", "test.npy")


def _pad_id(model: Any) -> int:
    return int(model.config.pad_token_id or 0)


def _parity(model: Any, session: Any, task: Any, rows: Sequence[Sequence[int]], padding: int) -> tuple[float, float]:
    """Largest difference of logits between torch and ONNX on padded batches of real texts, and the share of equal classes."""
    import torch

    torch_logits, onnx_logits = [], []
    for start in range(0, len(rows), 8):
        feeds = task.feeds(rows[start : start + 8], padding)
        with torch.inference_mode():
            torch_logits.append(model(**{name: torch.from_numpy(value) for name, value in feeds.items()}).logits.numpy())
        onnx_logits.append(session.run(None, feeds)[0])
    ours, theirs = np.concatenate(onnx_logits), np.concatenate(torch_logits)
    return float(np.abs(ours - theirs).max()), float(task.agree(ours, theirs).mean())
