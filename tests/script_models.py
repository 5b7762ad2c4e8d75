"""Models and jobs for the devices that speak JavaScript."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

WORDS, WIDTH, HEADS, LONGEST = 50, 16, 2, 24


def save(file: Path, nodes: Sequence[Any], inputs: Mapping[str, int], outputs: Mapping[str, int], tensors: Mapping[str, Any]) -> Path:
    """A graph with inputs and outputs of any shape."""
    ins, outs = ([helper.make_tensor_value_info(name, kind, None) for name, kind in some.items()] for some in (inputs, outputs))
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def summed(file: Path) -> Path:
    """logits = Σ over tokens of table[id], table = 0 … 19 in rows of two: sums that a test does by hand."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "axis"], ["logits"], keepdims=0),
    ]
    tensors = {"table": np.arange(20, dtype=np.float32).reshape(10, 2), "axis": np.array([1], np.int64)}
    outputs = {"logits": TensorProto.FLOAT, "tokens": TensorProto.FLOAT}
    return save(file, nodes, {"input_ids": TensorProto.INT64}, outputs, tensors)


def tokens(file: Path, rows: int = 10) -> Path:
    """logits [1, s, 2] = table[id], an answer for each token."""
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits"])]
    table = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    return save(file, nodes, {"input_ids": TensorProto.INT64}, {"logits": TensorProto.FLOAT}, {"table": table})


def same(file: Path, *dtypes: str) -> Path:
    """The outputs y0, y1, … are the inputs x0, x1, …"""
    kinds = [helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in dtypes]
    ins, outs = ({f"{side}{index}": kind for index, kind in enumerate(kinds)} for side in "xy")
    return save(file, [helper.make_node("Identity", [x], [y]) for x, y in zip(ins, outs, strict=True)], ins, outs, {})


def bert(file: Path) -> Path:
    """A transformer of one layer: embeddings, masked attention, GELU, layer norms, logits [b, 3] from the first token."""
    draw = np.random.default_rng(0)
    shapes = {"words": (WORDS, WIDTH), "places": (LONGEST, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH), "head": (WIDTH, 3)}
    shapes |= dict.fromkeys(("q", "k", "v", "o"), (WIDTH, WIDTH))
    tensors = {name: draw.normal(scale=0.3, size=shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {"one": np.ones(WIDTH, np.float32), "none": np.zeros(WIDTH, np.float32), "unit": np.float32(1), "far": np.float32(-1e4)}
    tensors |= {"half": np.float32(0.5), "root": np.float32(2**-0.5), "scale": np.float32((WIDTH / HEADS) ** -0.5)}
    tensors |= {"split": np.array([0, 0, HEADS, WIDTH // HEADS]), "join": np.array([0, 0, WIDTH]), "by_row": np.array([1, 2])}
    tensors |= {"start": np.int64(0), "step": np.int64(1), "second": np.int64(1)}
    nodes: list[Any] = []

    def add(kind: str, *inputs: str, out: str = "", **more: Any) -> str:
        name = out or f"{kind}{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(nodes)}", **more))
        return name

    def heads(x: str, weight: str, perm: list[int]) -> str:
        return add("Transpose", add("Reshape", add("MatMul", x, weight), "split"), perm=perm)

    length = add("Gather", add("Shape", "input_ids"), "second")
    places = add("Gather", "places", add("Range", "start", length, "step"))
    x = add("LayerNormalization", add("Add", add("Gather", "words", "input_ids"), places), "one", "none", axis=-1)
    open_ = add("Sub", "unit", add("Cast", "attention_mask", to=TensorProto.FLOAT))
    closed = add("Unsqueeze", add("Mul", open_, "far"), "by_row")
    scores = add("Mul", add("MatMul", heads(x, "q", [0, 2, 1, 3]), heads(x, "k", [0, 2, 3, 1])), "scale")
    seen = add("MatMul", add("Softmax", add("Add", scores, closed), axis=-1), heads(x, "v", [0, 2, 1, 3]))
    joined = add("Reshape", add("Transpose", seen, perm=[0, 2, 1, 3]), "join")
    x = add("LayerNormalization", add("Add", x, add("MatMul", joined, "o")), "one", "none", axis=-1)
    inner = add("MatMul", x, "up")
    gelu = add("Mul", add("Mul", inner, "half"), add("Add", add("Erf", add("Mul", inner, "root")), "unit"))
    x = add("LayerNormalization", add("Add", x, add("MatMul", gelu, "down")), "one", "none", axis=-1)
    add("MatMul", add("Gather", x, "start", axis=1), "head", out="logits")
    inputs = {"input_ids": TensorProto.INT64, "attention_mask": TensorProto.INT64}
    return save(file, nodes, inputs, {"logits": TensorProto.FLOAT}, tensors)


def job(model: Path, feeds: Sequence[Mapping[str, NDArray[Any]]], **changes: Any) -> dict[str, Any]:
    """An untimed job on one thread."""
    rows = [{name: {"dtype": str(value.dtype), "values": value.tolist()} for name, value in one.items()} for one in feeds]
    base = {"model": str(model), "feeds": rows, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 0, "min_s": 0.0}
    return {**base, **changes}


def ids(*rows: Sequence[int]) -> list[dict[str, NDArray[Any]]]:
    """Feeds of token ids with nothing masked; a graph may take no mask."""
    return [{"input_ids": np.array([row], np.int64), "attention_mask": np.ones((1, len(row)), np.int64)} for row in rows]
