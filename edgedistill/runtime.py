"""Open a model in ONNX Runtime the one way we do, and run texts through it. No torch."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DeviceError, IntegrityError, StageError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from tokenizers import Tokenizer

RIGHT = "right"
ENDLESS = 2**31 - 1  # tokens that no text has

TELEMETRY_OFF = {"ORT_DISABLE_TELEMETRY": "1"}  # official builds report home by default

DTYPES = {  # ONNX Runtime's name of a tensor's type → numpy's
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(bool)": "bool",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

SAYINGS = (  # how ONNX Runtime names an operator when it fails → how a sentence does
    (r"running (\w+) node\. Name:'([^']*)' Status Message: (.*)", r"\2 (\1) does not run: \3"),
    (r"Could not find an implementation for (\w+)\(\d+\) node with name '([^']*)'.*", r"ONNX Runtime has no kernel here for \2 (\1) in its types"),
    (r"Type '([^']+)' of input parameter \(([^)]*)\) of operator \((\w+)\) in node \(([^)]*)\) is invalid.*", r"\4 (\3) does not take '\2' as \1"),
    (r"Node:? ?\(([^)]*)\) ?Op ?\((\w+)\) (.*)", r"\1 (\2): \3"),
)
LONGEST = 300  # letters of what a runtime says


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


def said(error: BaseException) -> str:
    """A tool's error as part of a sentence that names the operator: ONNX Runtime says it, and what others stumbled over is in their frames."""
    line = " ".join(str(error).split())
    for pattern, sentence in SAYINGS:
        found = re.search(pattern, line)
        if found:
            text = re.sub(r"\S*/onnxruntime\S*:\d+ .*?\)(?: const)?(?: \[[^]]*\])? ", "", found.expand(sentence))
            return "".join(letter if letter.isprintable() else "?" for letter in text)[:LONGEST]
    node = _stumbled_over(error)
    where = f" at {node.name or next(iter(node.output), '')} ({node.op_type})" if node is not None else ""
    return f"a tool broke off{where} with {type(error).__name__}"


def _stumbled_over(error: BaseException) -> Any:
    """The operator that the innermost function with one was at when it failed; None where there is none."""
    found, frame = None, error.__traceback__
    while frame is not None:
        node = frame.tb_frame.f_locals.get("node")
        found = node if hasattr(node, "op_type") and hasattr(node, "output") else found
        frame = frame.tb_next
    return found


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a `tokenizer.json`. Raises IntegrityError when the file is not one."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception from Rust
        raise IntegrityError(f"{file} is not a tokenizer: {error}") from error


def side(tokenizer: Tokenizer) -> str:
    """Where a tokenizer cuts what is too long: `right` keeps a text's beginning, `left` its end. It lies in the file, as part of the truncation."""
    return str((tokenizer.truncation or {}).get("direction", RIGHT))


def leave_whole(tokenizer: Tokenizer, direction: str) -> None:
    """Let a tokenizer cut nothing, and remember the side: whoever has it next counts whole texts, or saves it."""
    tokenizer.no_truncation()
    if direction != RIGHT:
        tokenizer.enable_truncation(ENDLESS, direction=direction)


@contextmanager
def cut(tokenizer: Tokenizer, max_length: int, **options: Any) -> Iterator[None]:
    """Inside, texts are cut at `max_length` tokens, on the tokenizer's side unless `options` name a `direction`; after it they are whole."""
    before = side(tokenizer)
    tokenizer.enable_truncation(max_length, **{"direction": before} | options)
    try:
        yield
    finally:
        leave_whole(tokenizer, before)


def zeros(entry: Any, sizes: Mapping[str, int]) -> NDArray[Any]:
    """An input of a session as zeros: open dimensions by their name in `sizes`, else 1."""
    return np.zeros([size if isinstance(size, int) else sizes.get(size, 1) for size in entry.shape], DTYPES[entry.type])


def by_length(rows: Sequence[Any], batch_size: int, tokens: int | None = None) -> list[NDArray[np.int64]]:
    """Row numbers in batches of like length, shortest first: little padding, same result; of at most so many padded `tokens`, where given."""
    lengths = np.array([len(row) for row in rows], np.int64)
    order = np.argsort(lengths, kind="stable")
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if tokens is None:
        return batches
    pieces = [max(1, -(-len(batch) * int(lengths[batch[-1]]) // tokens)) for batch in batches]
    return [part for batch, count in zip(batches, pieces, strict=True) for part in np.array_split(batch, min(count, len(batch)))]


def fitted(session: InferenceSession, feeds: Mapping[str, NDArray[Any]], pad_id: int) -> dict[str, NDArray[Any]]:
    """What a session takes of the feeds, as `filled` for its inputs."""
    return filled(feeds, {entry.name: entry.shape for entry in session.get_inputs()}, pad_id)


def filled(feeds: Mapping[str, NDArray[Any]], shapes: Mapping[str, Sequence[int | str | None]], pad_id: int) -> dict[str, NDArray[Any]]:
    """The feeds that have a shape, filled up where a graph of one shape asks for more: ids with `pad_id`, the rest with 0.

    Raises StageError when an input is longer than the graph.
    """
    return {name: _filled(feeds[name], shape, pad_id if name == "input_ids" else 0) for name, shape in shapes.items()}


def _filled(array: NDArray[Any], shape: Sequence[int | str | None], value: int) -> NDArray[Any]:
    short = [(0, size - have if isinstance(size, int) else 0) for size, have in zip(shape, array.shape, strict=True)]
    if any(behind < 0 for _, behind in short):
        raise StageError(
            f"an input of {list(array.shape)} does not fit a graph of {list(shape)}", hint="run it one row at a time, cut to the graph's length"
        )
    return np.pad(array, short, constant_values=value) if any(behind for _, behind in short) else array


def run_rows(
    session: InferenceSession,
    task: Any,
    rows: Sequence[Any],
    pad_id: int,
    *,
    batch_size: int = 32,
    seen: Callable[[int], None] = lambda done: None,
) -> list[NDArray[Any]]:
    """What the model answers to every row, an array [answers, classes] each, in the order of the rows. `seen` hears how many are done."""
    from edgedistill import ragged

    found: dict[int, NDArray[Any]] = {}
    for batch in by_length(rows, batch_size):
        some = [rows[index] for index in batch]
        raw = session.run(None, fitted(session, task.feeds(some, pad_id), pad_id))[0]
        found.update(zip(batch.tolist(), ragged.cut(task, raw, some), strict=True))
        seen(len(found))
    return [found[index] for index in range(len(rows))]


def run_examples(
    session: InferenceSession,
    task: Any,
    examples: Sequence[Sequence[Any]],
    pad_id: int,
    *,
    batch_size: int = 32,
    seen: Callable[[int], None] = lambda done: None,
) -> list[list[NDArray[Any]]]:
    """As `run_rows`, for examples of one or more rows each."""
    flat = run_rows(session, task, [row for rows in examples for row in rows], pad_id, batch_size=batch_size, seen=seen)
    return regrouped(flat, examples)


def regrouped(flat: Sequence[Any], examples: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Answers of rows put together by example."""
    found = iter(flat)
    return [[next(found) for _ in rows] for rows in examples]
