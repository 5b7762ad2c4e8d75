"""Weights in four bits, in blocks of 32: tables by row (GatherBlockQuantized), matrices by output channel (MatMulNBits).

MatMulNBits is written with accuracy_level 4, activations in int8: unset, ONNX Runtime multiplies in fp32 and is slower by more than half.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedistill.quantizers import _parts
from edgedistill.quantizers._graph import MICROSOFT, Graph, make
from edgedistill.quantizers._weights import BLOCK, MIDDLE, four, packed

INT8_ACTIVATIONS = 4
OPERATORS = ("GatherBlockQuantized", "MatMulNBits")


def tables(graph: Graph) -> None:
    """Put every table of a graph that was taken apart into four bits."""
    _replace(graph, "Gather", _table)


def matrices(graph: Graph) -> None:
    """Put every MatMul's weight into four bits."""
    _replace(graph, "MatMul", _matrix)


def _replace(graph: Graph, kind: str, change: Any) -> None:
    names = set(_parts.weighted(graph))
    graph.needs(MICROSOFT)
    graph.rewrite(lambda node: [change(graph, node)] if node.op_type == kind and node.name in names else None)


def _table(graph: Graph, node: Any) -> Any:
    rows = graph.array(node.input[0])
    nibbles, scale = four(rows)
    count, width = rows.shape
    flat = nibbles.reshape(count, -1)[:, :width].astype(np.int8) - MIDDLE
    table = graph.int4(f"{node.name}_table", flat)
    scales = graph.constant(f"{node.name}_scale", scale)
    return make(
        "GatherBlockQuantized",
        [table, node.input[1], scales],
        node.output,
        node.name,
        domain=MICROSOFT,
        block_size=BLOCK,
        gather_axis=0,
        quantize_axis=1,
    )


def _matrix(graph: Graph, node: Any) -> Any:
    weight = graph.array(node.input[1])  # [k, n]
    nibbles, scale = four(np.ascontiguousarray(weight.T))
    values = graph.constant(f"{node.name}_int", packed(nibbles))  # [n, blocks, 16]
    scales = graph.constant(f"{node.name}_scale", scale.reshape(-1))
    return make(
        "MatMulNBits",
        [node.input[0], values, scales],
        node.output,
        node.name,
        domain=MICROSOFT,
        K=weight.shape[0],
        N=weight.shape[1],
        bits=4,
        block_size=BLOCK,
        accuracy_level=INT8_ACTIVATIONS,
    )
