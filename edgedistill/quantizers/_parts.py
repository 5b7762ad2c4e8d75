"""Fused operators taken apart as far as quantisers need: every weight is one operand of a MatMul, a Conv or a Gather.

`Attention` becomes MatMul, Split and MultiHeadAttention, whose products of two activations stay together in one kernel;
`EmbedLayerNormalization` becomes Gathers and a LayerNormalization; `Gemm` becomes MatMul and Add.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.quantizers._graph import MICROSOFT, Graph, attributes, make

LEAST_TABLE = 1024  # numbers; smaller tables save nothing
LAYER_NORM_OPSET = 17
EMBEDDED = ("ids", "segments", "words", "positions", "kinds", "gamma", "beta", "mask", "position_ids")  # EmbedLayerNormalization's inputs


def load(file: Path) -> Graph:
    """A file's graph, taken apart."""
    graph = Graph(file)
    graph.rewrite(lambda node: _gemm(graph, node))
    if graph.opset >= LAYER_NORM_OPSET:
        _embeddings(graph)
    graph.rewrite(lambda node: _attention(graph, node))
    return graph


def weighted(graph: Graph) -> dict[str, str]:
    """The operators with weights, in their order: name → name of the weight."""
    found = {}
    for node in graph.nodes:
        operand = {"MatMul": 1, "Conv": 1, "Gather": 0}.get(node.op_type)
        if operand is None or not graph.is_float(node.input[operand]):
            continue
        shape = list(graph.constants[node.input[operand]].dims)
        if node.op_type == "Gather" and (len(shape) != 2 or int(np.prod(shape)) < LEAST_TABLE or attributes(node).get("axis", 0) != 0):
            continue
        if node.op_type == "MatMul" and len(shape) != 2:
            continue
        found[node.name] = node.input[operand]
    return found


def _gemm(graph: Graph, node: Any) -> list[Any] | None:
    """y = α·A·B + β·C with a constant B, as MatMul and Add with α and β in the constants."""
    options = attributes(node) if node.op_type == "Gemm" else {"transA": 1}
    bias = node.input[2] if len(node.input) > 2 else ""
    if options.get("transA", 0) or not graph.is_float(node.input[1]) or (bias and not graph.is_float(bias)):
        return None
    matrix = graph.array(node.input[1]) * np.float32(options.get("alpha", 1.0))
    weight = graph.constant(f"{node.input[1]}_matrix", matrix.T if options.get("transB", 0) else matrix)
    if not bias:
        return [make("MatMul", [node.input[0], weight], node.output, node.name)]
    shift = graph.constant(bias, graph.array(bias) * np.float32(options.get("beta", 1.0)))
    product = f"{node.output[0]}_product"
    return [make("MatMul", [node.input[0], weight], [product], node.name), make("Add", [product, shift], node.output, f"{node.name}_bias")]


def _attention(graph: Graph, node: Any) -> list[Any] | None:
    """The projection as a MatMul, the rest as MultiHeadAttention, which adds the bias."""
    if node.op_type != "Attention" or node.domain != MICROSOFT:
        return None
    inputs = dict(zip(("x", "weight", "bias", "mask", "past", "scores"), node.input, strict=False))
    options = attributes(node)
    known = {"num_heads", "mask_filter_value", "scale", "unidirectional", "qkv_hidden_sizes", "do_rotary", "past_present_share_buffer"}
    odd = inputs.get("past") or set(options) - known or options.get("do_rotary") or (len(node.output) > 1 and any(node.output[1:]))
    if odd or not graph.is_float(inputs["weight"]):
        return None
    width = list(graph.constants[inputs["weight"]].dims)[1]
    sizes = options.get("qkv_hidden_sizes") or [width // 3] * 3
    product, parts = f"{node.name}_qkv", [f"{node.name}_{part}" for part in ("q", "k", "v")]
    split = graph.constant(f"{node.name}_sizes", np.array(sizes, np.int64))
    behind = [inputs.get("bias", ""), inputs.get("mask", ""), inputs.get("scores", "")]
    kept = {key: options[key] for key in ("num_heads", "mask_filter_value", "scale", "unidirectional") if key in options}
    return [
        make("MatMul", [inputs["x"], inputs["weight"]], [product], node.name),
        make("Split", [product, split], parts, f"{node.name}_split", axis=-1),
        make("MultiHeadAttention", [*parts, *behind], [node.output[0]], f"{node.name}_heads", domain=MICROSOFT, **kept),
    ]


def _embeddings(graph: Graph) -> None:
    """Gathers of the tables, their sum, and its norm. Attention takes the mask itself in place of the lengths counted from it."""
    masks: dict[str, str] = {}

    def apart(node: Any) -> list[Any] | None:
        if node.op_type != "EmbedLayerNormalization":
            return None
        given = dict(zip(EMBEDDED, node.input, strict=False))
        if len(node.output) > 1 and given.get("mask"):
            masks[node.output[1]] = given["mask"]
        found, terms = [], [f"{node.name}_words"]
        found.append(make("Gather", [given["words"], given["ids"]], terms[:1], f"{node.name}/words"))
        if given.get("segments"):
            terms.append(f"{node.name}_kinds")
            found.append(make("Gather", [given["kinds"], given["segments"]], terms[-1:], f"{node.name}/kinds"))
        places, makers = _positions(graph, node.name, given)
        terms.append(f"{node.name}_positions")
        found += [*makers, make("Gather", [given["positions"], places], terms[-1:], f"{node.name}/positions")]
        total = node.output[2] if len(node.output) > 2 and node.output[2] else f"{node.name}_sum"
        found.append(make("Sum", terms, [total], f"{node.name}/sum"))
        epsilon = attributes(node).get("epsilon", 1e-12)
        norm = [total, given["gamma"], given["beta"]]
        return [*found, make("LayerNormalization", norm, node.output[:1], f"{node.name}/norm", axis=-1, epsilon=epsilon)]

    graph.rewrite(apart)
    for node in graph.nodes:
        for index, name in enumerate(node.input):
            node.input[index] = masks.get(name, name)


def _positions(graph: Graph, name: str, given: dict[str, str]) -> tuple[str, list[Any]]:
    """The positions to look up: the graph's own, or 0, 1, 2 … as far as the ids go."""
    if given.get("position_ids"):
        return given["position_ids"], []
    count = int(graph.constants[given["positions"]].dims[0])
    all_places = graph.constant(f"{name}_all", np.arange(count, dtype=np.int64)[None])  # [1, most]
    zero, one = graph.constant(f"{name}_zero", np.zeros(1, np.int64)), graph.constant(f"{name}_one", np.ones(1, np.int64))
    nodes = [
        make("Shape", [given["ids"]], [f"{name}_length"], f"{name}/length", start=1, end=2),
        make("Slice", [all_places, zero, f"{name}_length", one], [f"{name}_places"], f"{name}/places"),
    ]
    return f"{name}_places", nodes
