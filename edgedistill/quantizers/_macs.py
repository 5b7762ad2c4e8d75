"""Multiply-accumulates of a graph by operator, counted at one size of its dynamic dimensions, and which of them integers do.

    product of matrices   numbers of the answer × length of a row of the left operand
    convolution           numbers of the answer × numbers of a kernel
    turned convolution    numbers of the input × numbers of a kernel that one of them meets
    recurrence            steps · batch · directions · gates · hidden · (inputs + hidden)
    einsum                numbers of the answer × sizes of what is summed over
    attention             rows · keys · (width of queries + width of values), and its projection where it has one

Shapes are not inferred but seen: the graph runs once on zeros.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import runtime
from edgedistill.quantizers._graph import Graph, attributes

INTEGER = ("MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "ConvInteger", "QLinearConv")
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "MatMulNBits", *INTEGER[:5])
CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}  # → where the kernel is among the inputs
RECURRENT = ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM")
OTHERS = ("ConvTranspose", "Einsum", *RECURRENT)  # that make up a graph's work too, whatever engines quantise

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Work:
    """What one operator multiplies and adds."""

    name: str
    kind: str
    macs: int
    integer: bool


def integer_share(file: Path, sizes: Mapping[str, int]) -> float:
    """The share of a file's multiply-accumulates that integer operators do, four digits."""
    return share(count(file, sizes))


def share(work: Sequence[Work]) -> float:
    """The share of some work that integers do, four digits; 0 of none."""
    total = sum(one.macs for one in work)
    return round(sum(one.macs for one in work if one.integer) / total, 4) if total else 0.0


def count(file: Path, sizes: Mapping[str, int]) -> list[Work]:
    """Every operator that multiplies and adds, in the graph's order. A dimension that `sizes` does not name counts as 1."""
    graph = Graph(file)
    nodes = [node for node in graph.nodes if node.op_type in {*PRODUCTS, *CONVOLUTIONS, *OTHERS, "Attention", "QAttention", "MultiHeadAttention"}]
    shapes = _shapes(graph, nodes, sizes)
    wrapped = {output for node in graph.nodes if node.op_type == "DequantizeLinear" for output in node.output}
    return [one for node in nodes for one in _work(node, shapes, wrapped)]


def _work(node: Any, shapes: Shapes, wrapped: set[str]) -> list[Work]:
    """One operator's; an attention with a projection is two."""
    ours = [list(shapes.get(name, ())) for name in node.input]
    if node.op_type in ("Attention", "QAttention"):
        (batch, rows, width), projected = ours[0], ours[1][1]
        sizes = attributes(node).get("qkv_hidden_sizes") or [projected // 3] * 3
        heads = batch * rows * rows * (sizes[0] + sizes[2])
        return [
            Work(node.name, node.op_type, batch * rows * width * projected, node.op_type == "QAttention"),
            Work(f"{node.name}/heads", node.op_type, heads, False),
        ]
    if node.op_type == "MultiHeadAttention":
        (batch, rows, width), keys, values = ours[0], ours[1][1], ours[2][2]
        return [Work(node.name, node.op_type, batch * rows * keys * (width + values), False)]
    if node.op_type in OTHERS:
        return [Work(node.name, node.op_type, _other(node, ours, shapes), node.op_type == "DynamicQuantizeLSTM")]
    answer = int(np.prod(shapes[node.output[0]]))
    if node.op_type in CONVOLUTIONS:
        each = int(np.prod(ours[CONVOLUTIONS[node.op_type]][1:]))
    else:
        each = ours[0][-2 if attributes(node).get("transA") else -1]
    integer = node.op_type in INTEGER or all(node.input[index] in wrapped for index in (0, 1))
    return [Work(node.name, node.op_type, answer * each, integer)]


def _other(node: Any, ours: Sequence[Sequence[int]], shapes: Shapes) -> int:
    """What operators multiply that are no product of matrices and no convolution."""
    if node.op_type == "ConvTranspose":
        return int(np.prod(ours[0])) * int(np.prod(ours[1][1:]))
    if node.op_type in RECURRENT:  # the answers lie in any of the outputs; sizes are those of the input and of the recurrence's weight
        directions, one, other = ours[2]
        return int(np.prod(ours[0][:2])) * directions * one * other + int(np.prod(ours[0])) * directions * max(one, other)
    equation = attributes(node)["equation"]
    terms, arrow, answer = (equation if isinstance(equation, str) else equation.decode()).replace(" ", "").partition("->")
    answer = answer if arrow else "".join(letter for letter in terms if terms.count(letter) == 1)
    sizes: dict[str, int] = {}
    for term, shape in zip(terms.split(","), ours, strict=True):
        before, _, behind = term.partition("...")
        sizes |= dict(zip(before, shape, strict=False)) | dict(zip(reversed(behind), reversed(shape), strict=False))
    summed = [size for letter, size in sizes.items() if letter not in answer]
    return int(np.prod(shapes[node.output[0]])) * int(np.prod(summed))


def _shapes(graph: Graph, nodes: Sequence[Any], sizes: Mapping[str, int]) -> Shapes:
    """Shapes of what the nodes read and write."""
    found: dict[str, Sequence[int]] = {name: list(tensor.dims) for name, tensor in graph.constants.items()}
    given = {entry.name for entry in graph.model.graph.input}
    wanted = {name for node in nodes for name in (*node.input, *node.output[:1]) if name and name not in graph.constants and name not in given}
    if not nodes:
        return found
    with graph.session(sorted(wanted)) as session:
        feeds = {entry.name: runtime.zeros(entry, sizes) for entry in session.get_inputs()}
        answers = session.run(sorted(wanted), feeds)
    found.update({name: values.shape for name, values in feeds.items()})
    found.update({name: answer.shape for name, answer in zip(sorted(wanted), answers, strict=True)})
    return found
