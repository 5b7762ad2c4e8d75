"""Small ONNX models in numbers of every kind, with operators of every kind of weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, DOUBLE, HALF = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16
NUMPY = {FLOAT: np.float32, DOUBLE: np.float64, HALF: np.float16}

node = helper.make_node


def numbers(shape: Sequence[int], seed: int = 0, dtype: int = FLOAT) -> Any:
    """Weights whose products stay near 1."""
    return (np.random.default_rng(seed).normal(size=shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1)).astype(NUMPY[dtype])


def model(
    nodes: Sequence[Any],
    shape: Sequence[Any],
    out: Sequence[Any] | None,
    weights: Mapping[str, Any],
    kinds: tuple[int, int] = (FLOAT, FLOAT),
    **more: Any,
) -> onnx.ModelProto:
    """`x` of a shape to `y`; `kinds` are their types."""
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", kinds[0], shape)],
        [helper.make_tensor_value_info("y", kinds[1], out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)


def layers(kind: int = FLOAT) -> onnx.ModelProto:
    """Two matrices and a Relu, all in one kind of float."""
    nodes = [node("MatMul", ["x", "first"], ["a"], "one"), node("Relu", ["a"], ["b"], "relu"), node("MatMul", ["b", "second"], ["y"], "two")]
    return model(nodes, ["n", 64], ["n", 4], {"first": numbers((64, 48), 1, kind), "second": numbers((48, 4), 2, kind)}, (kind, kind))


def einsum(kind: int = DOUBLE) -> onnx.ModelProto:
    """An Einsum with a constant, its input and its answer in fp32, computed in `kind`."""
    nodes = [
        node("Cast", ["x"], ["wide"], "widen", to=kind),
        node("Einsum", ["wide", "w"], ["z"], "product", equation="...k,kn->...n"),
        node("Cast", ["z"], ["y"], "narrow", to=FLOAT),
    ]
    return model(nodes, ["n", 64], ["n", 8], {"w": numbers((64, 8), 3, kind)})


def recurrent(kind: str, hidden: int = 96, inputs: int = 32, directions: int = 1) -> onnx.ModelProto:
    """The last state of an LSTM, GRU or RNN over 12 steps, through a small matrix."""
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    weights = {
        "w": numbers((directions, inputs, gates * hidden), 4).transpose(0, 2, 1),
        "r": numbers((directions, hidden, gates * hidden), 5).transpose(0, 2, 1),
        "b": numbers((directions, 2 * gates * hidden), 6) / 4,
        "head": numbers((directions * hidden, 4), 7),
        "flat": np.array([1, directions * hidden], np.int64),
    }
    way = {"direction": "bidirectional"} if directions == 2 else {}
    nodes = [
        node(kind, ["x", "w", "r", "b"], ["", "state"], f"{kind.lower()}_0", hidden_size=hidden, **way),
        node("Reshape", ["state", "flat"], ["row"], "flatten"),
        node("MatMul", ["row", "head"], ["y"], "head"),
    ]
    return model(nodes, [12, 1, inputs], [1, 4], weights)


def branched(inner: str = "If") -> onnx.ModelProto:
    """A matrix before an If, a Loop or a Scan whose graphs have a matrix each, and one behind."""
    value = helper.make_tensor_value_info
    weights = {"before": numbers((64, 32), 1), "in": numbers((32, 32), 2), "other": numbers((32, 32), 3), "behind": numbers((32, 4), 4)}
    nodes = [node("MatMul", ["x", "before"], ["a"], "first")]
    if inner == "If":
        sides = [
            helper.make_graph([node("MatMul", ["a", name], [f"{name}_out"], f"{name}_side")], name, [], [value(f"{name}_out", FLOAT, None)])
            for name in ("in", "other")
        ]
        nodes += [node("ReduceMax", ["a"], ["top"], "top", keepdims=0), node("Greater", ["top", "limit"], ["is_large"], "large")]
        nodes.append(node("If", ["is_large"], ["c"], "choice", then_branch=sides[0], else_branch=sides[1]))
        weights["limit"] = np.array(1.5, np.float32)
    elif inner == "Loop":
        body = helper.make_graph(
            [node("Identity", ["go"], ["go_on"]), node("MatMul", ["state", "in"], ["grown"], "turn"), node("Tanh", ["grown"], ["next"], "bend")],
            "body",
            [value("at", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("state", FLOAT, ["n", 32])],
            [value("go_on", TensorProto.BOOL, []), value("next", FLOAT, ["n", 32])],
        )
        weights["turns"] = np.array(3, np.int64)
        nodes.append(node("Loop", ["turns", "", "a"], ["c"], "loop", body=body))
    else:
        body = helper.make_graph(
            [
                node("MatMul", ["row", "in"], ["turned"], "step"),
                node("Add", ["state", "turned"], ["next"], "sum"),
                node("Identity", ["next"], ["out"]),
            ],
            "body",
            [value("state", FLOAT, [32]), value("row", FLOAT, [32])],
            [value("next", FLOAT, [32]), value("out", FLOAT, [32])],
        )
        weights["start"] = np.zeros(32, np.float32)
        nodes.append(node("Scan", ["start", "a"], ["last", "c"], "scan", body=body, num_scan_inputs=1))
    nodes.append(node("MatMul", ["c", "behind"], ["y"], "last"))
    return model(nodes, ["n", 64], ["n", 4], weights)
