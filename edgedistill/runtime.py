"""Open a model in ONNX Runtime the one way we do, and run texts through it. No torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DeviceError, IntegrityError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1"}  # official builds report home by default


def onnxruntime() -> ModuleType:
    """The onnxruntime module, imported with its telemetry off."""
    os.environ.update(TELEMETRY_OFF)
    module = import_module("onnxruntime")
    module.set_default_logger_severity(3)
    return module


def open_session(model: Path, *, threads: int = 0, provider: str = "CPUExecutionProvider") -> InferenceSession:
    """A session on a model file; `threads` 0 takes every core.

    Raises DeviceError when the provider is not in this build of ONNX Runtime, IntegrityError when the file is not a model.
    """
    ort = onnxruntime()
    if provider not in ort.get_available_providers():
        raise DeviceError(f"this ONNX Runtime has no {provider}", hint=f"it has: {', '.join(ort.get_available_providers())}")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return ort.InferenceSession(str(model), options, providers=[provider])
    except Exception as error:  # onnxruntime's own exceptions share no public base class
        raise IntegrityError(f"{model} is not a model that ONNX Runtime can load: {error}") from error


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`. Raises IntegrityError when the file is not one."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception from Rust
        raise IntegrityError(f"{file} is not a tokenizer: {error}") from error


def by_length(rows: Sequence[Sequence[int]], batch_size: int) -> list[NDArray[np.int64]]:
    """Row numbers in batches of like length, shortest first: little padding, same result."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def run_rows(
    session: InferenceSession,
    rows: Sequence[Sequence[int]],
    feeds: Callable[[Sequence[Sequence[int]]], dict[str, NDArray[Any]]],
    *,
    batch_size: int = 32,
    seen: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """The model's first output for every row of token ids, [n, c], in the order of the rows. `seen` hears how many are done."""
    outputs: dict[int, NDArray[np.float32]] = {}
    for batch in by_length(rows, batch_size):
        result = session.run(None, feeds([rows[index] for index in batch]))[0]
        outputs.update(zip(batch.tolist(), result, strict=True))
        seen(len(outputs))
    return np.stack([outputs[index] for index in range(len(rows))])
