"""Models and jobs for the tests of devices: their right answers are known by hand or by ONNX Runtime here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
TABLE = np.arange(20, dtype=np.float32).reshape(10, 2)
GOLDEN = [[[0 + 2 + 4, 1 + 3 + 5]], [[18, 19]]]  # rows [0, 1, 2] and [9] of the table, added up


def save(file: Path, nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int], tensors: dict[str, Any]) -> Path:
    ins, outs = ([helper.make_tensor_value_info(name, kind, None) for name, kind in some.items()] for some in (inputs, outputs))
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def summed(file: Path) -> Path:
    """logits = Σ over tokens of table[id]."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["tokens"]), helper.make_node("ReduceSum", ["tokens", "axis"], ["logits"], keepdims=0)]
    return save(file, nodes, {"ids": INT64}, {"logits": FLOAT}, {"table": TABLE, "axis": np.array([1], np.int64)})


def classifier(file: Path) -> Path:
    """Two layers with random weights: 64 numbers to 5 classes."""
    draw = np.random.default_rng(3)
    weights = {"w": draw.normal(size=(64, 96)).astype(np.float32) / 8, "v": draw.normal(size=(96, 5)).astype(np.float32) / 8}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Erf", ["h"], ["e"]), helper.make_node("MatMul", ["e", "v"], ["logits"])]
    return save(file, nodes, {"x": FLOAT}, {"logits": FLOAT}, weights)


def apart(file: Path) -> Path:
    """The classifier with its weights in a folder beside it."""
    folder = file.parent / "weights of it"
    folder.mkdir()
    onnx.save(onnx.load(classifier(file)), file, save_as_external_data=True, location=f"{folder.name}/w + v.bin", size_threshold=0)
    return file


def hanging(file: Path, turns: int = 2**62) -> Path:
    """A loop of so many turns: by default it does not end. A million take some tenths of a second."""
    turn = [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Add", ["x_in", "one"], ["x_out"])]
    state = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go_in", 9), ("x_in", 1), ("go_out", 9), ("x_out", 1))]
    body = helper.make_graph(turn, "body", state[:3], state[3:], [numpy_helper.from_array(np.float32(1), "one")])
    tensors = {"turns": np.array(turns, np.int64), "go": np.array(True)}
    return save(file, [helper.make_node("Loop", ["turns", "go", "a"], ["y"], body=body)], {"a": FLOAT}, {"y": FLOAT}, tensors)


def wide(file: Path) -> Path:
    """An answer of 4 MB for one number."""
    return save(file, [helper.make_node("Expand", ["a", "shape"], ["y"])], {"a": FLOAT}, {"y": FLOAT}, {"shape": np.array([1, 2**20], np.int64)})


def job(model: Path, **changes: Any) -> dict[str, Any]:
    """The sums of two rows, checked and not timed."""
    feeds = [feed(ids=np.array([ids])) for ids in ([0, 1, 2], [9])]
    checks = {"picks": [{}, {}], "golden": GOLDEN, "tolerance": 1e-6}
    return {"model": str(model), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 0, "min_s": 0.0, **checks, **changes}


def asking(model: Path, rows: list[dict[str, NDArray[Any]]], **changes: Any) -> dict[str, Any]:
    """Only the answers to rows."""
    return job(model, feeds=[feed(**row) for row in rows], picks=[], golden=None, answers=True, **changes)


def feed(**arrays: Any) -> dict[str, Any]:
    return {name: {"dtype": str(array.dtype), "values": array.tolist()} for name, array in arrays.items()}


ONE = [{"a": np.float32(0)}]  # what `hanging` and `wide` read


def rows(count: int) -> list[dict[str, NDArray[Any]]]:
    """Inputs of the classifier, the first of different lengths."""
    draw = np.random.default_rng(4)
    return [{"x": draw.normal(size=(1 + number % 3, 64)).astype(np.float32)} for number in range(count)]


def here(model: Path, rows: list[dict[str, NDArray[Any]]]) -> list[NDArray[Any]]:
    """ONNX Runtime's answers on this machine."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [session.run(None, row)[0] for row in rows]


def until(true: Callable[[], bool], seconds: float) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not in {seconds} s"
        time.sleep(0.05)


class Doing(threading.Thread):
    """A call in a thread; `result` waits for what it came to, or raises what it raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self.call, self.found, self.error = call, None, None
        self.start()

    def run(self) -> None:
        try:
            self.found = self.call()
        except BaseException as error:
            self.error = error

    def result(self, seconds: float) -> Any:
        self.join(seconds)
        assert not self.is_alive(), f"no end in {seconds} s"
        if self.error:
            raise self.error
        return self.found
