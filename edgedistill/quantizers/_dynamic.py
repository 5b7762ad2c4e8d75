"""Dynamic int8: weights are integers, the ranges of activations are found while the model runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edgedistill.quantizers import _parts, _recurrent
from edgedistill.quantizers._graph import Graph, make
from edgedistill.quantizers._weights import matrix, table
from edgedistill.schemes import Scheme


def operators(graph: Graph) -> list[str]:
    """The operators that dynamic quantisation puts into integers, in their order. Convolutions are not: ONNX Runtime's are slow."""
    weights = _parts.weighted(graph)
    return [node.name for node in graph.nodes if (node.name in weights and node.op_type != "Conv") or _recurrent.fits(graph, node)]


def quantize(graph: Graph, scheme: Scheme, kept: Collection[str] = ()) -> None:
    """Put integers into every MatMul, every LSTM and every table of a graph that was taken apart, except the operators named in `kept`."""
    import onnx

    weights = {name: weight for name, weight in _parts.weighted(graph).items() if name not in kept}
    ranged: dict[str, tuple[str, str, str]] = {}  # an activation → its integers, scale and zero point

    def change(node: Any) -> list[Any] | None:
        if node.name not in kept and _recurrent.fits(graph, node):
            return _recurrent.quantize(graph, node, scheme)
        if node.name not in weights or node.op_type == "Conv":
            return None
        if node.op_type == "Gather":
            return look_up(graph, node, scheme)
        weight = matrix(graph, weights[node.name], scheme, axis=-1)
        source, found = node.input[0], []
        if source not in ranged:
            ranged[source] = (f"{source}_int", f"{source}_int_scale", f"{source}_int_zero")
            found.append(make("DynamicQuantizeLinear", [source], ranged[source], f"{source}_range"))
        values, scale, zero = ranged[source]
        product, scales, numbers = (f"{node.name}_{part}" for part in ("product", "scales", "numbers"))
        return [
            *found,
            make("MatMulInteger", [values, weight[0], zero, weight[2]], [product], node.name),
            make("Mul", [scale, weight[1]], [scales], f"{node.name}/scales"),
            make("Cast", [product], [numbers], f"{node.name}/numbers", to=onnx.TensorProto.FLOAT),
            make("Mul", [numbers, scales], node.output, f"{node.name}/scaled"),
        ]

    graph.rewrite(change)


def look_up(graph: Graph, node: Any, scheme: Scheme) -> list[Any]:
    """A Gather of integers, made numbers after the looking up; by column where the scheme goes by channel."""
    values, scale, zero = table(graph, node.input[0], scheme)
    found = f"{node.output[0]}_int"
    axis: dict[str, Any] = {"axis": -1} if scheme.per_channel else {}
    return [
        make("Gather", [values, node.input[1]], [found], node.name, axis=0),
        make("DequantizeLinear", [found, scale, zero], node.output, f"{node.name}/numbers", **axis),
    ]
