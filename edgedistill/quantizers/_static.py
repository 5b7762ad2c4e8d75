"""Static int8: quantise and dequantise around the operators, with ranges from calibration; ONNX Runtime fuses them into integer kernels.

A MatMul reads integers and hands out fp32, so that bias, residuals and norms lose nothing; what lies between convolutions stays integer.
Zero points of activations are where their range asks for them; accelerators get symmetric ones where activations are signed, as TensorRT demands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from edgedistill.quantizers import _parts
from edgedistill.quantizers._calibration import Ranges
from edgedistill.quantizers._dynamic import look_up
from edgedistill.quantizers._graph import Graph, make
from edgedistill.quantizers._weights import TINY, TYPES, matrix
from edgedistill.schemes import Scheme

BETWEEN = ("Add", "AveragePool", "Concat", "GlobalAveragePool", "Relu", "Clip")  # computed in integers between convolutions
SAME = ("MaxPool", "Flatten", "Reshape", "Transpose", "Squeeze", "Unsqueeze")  # whose answer has the input's scale
AFTER = ("Relu", "Clip")  # a convolution's, done by the quantisation behind it
ENDS = ("Conv", "GlobalAveragePool")


def operators(graph: Graph) -> list[str]:
    """The operators that static quantisation puts into integers, in their order."""
    weights = _parts.weighted(graph)
    return [node.name for node in graph.nodes if node.name in weights or two_sided(graph, node)]


def activations(graph: Graph) -> list[str]:
    """What static quantisation asks the ranges of."""
    found = []
    weights, between = _parts.weighted(graph), _between(graph)
    for node in graph.nodes:
        if node.name in between or (node.name in weights and node.op_type == "Conv"):
            found += [node.input[0], node.output[0], *(name for name in node.input[1:] if node.op_type in ("Add", "Concat"))]
        elif (node.name in weights and node.op_type == "MatMul") or two_sided(graph, node):
            found += [name for name in node.input if name not in graph.constants]
    return list(dict.fromkeys(found))


def quantize(graph: Graph, scheme: Scheme, ranges: Ranges, kept: Collection[str] = ()) -> None:
    """Put pairs of QuantizeLinear and DequantizeLinear around the operators of a graph that was taken apart, but not around those in `kept`."""
    _Static(graph, scheme, ranges, kept).run()


class _Static:
    """A graph on its way to integers."""

    def __init__(self, graph: Graph, scheme: Scheme, ranges: Ranges, kept: Collection[str]) -> None:
        self.graph, self.scheme, self.ranges, self.kept = graph, scheme, ranges, frozenset(kept)
        self.weights = {name: weight for name, weight in _parts.weighted(graph).items() if name not in kept}
        kinds = {node.name: node.op_type for node in graph.nodes}
        pictures = _between(graph) | {name for name in self.weights if kinds[name] == "Conv"}
        self.pictures = pictures if any(kinds[name] == "Conv" for name in pictures) else set()
        self.symmetric = graph.symmetric and scheme.activations == "s8"
        self.makers = graph.makers()
        self.sources = {node.name: node.input[0] for node in graph.nodes if node.input}
        self.whole = self._whole()
        self.pairs: dict[tuple[str, str], str] = {}

    def run(self) -> None:
        """Rewrite it."""
        self.graph.rewrite(self._change)
        products = {node.output[0] for node in self.graph.nodes if node.op_type == "MatMul" and node.name in self.weights}
        for node in self.graph.nodes:
            if node.op_type == "Add" and products & set(node.input):
                node.op_type = "Sum"  # ONNX Runtime would make the pair one Gemm, for which it has no integer kernel without integers behind it

    def _change(self, node: Any) -> list[Any] | None:
        if node.name in self.weights and node.op_type == "Gather":
            return look_up(self.graph, node, self.scheme)
        if node.name in self.pictures:
            return self._picture(node)
        if node.name in self.weights:
            return [*self._read(node, [0]), *self._weight(node, axis=-1), node]
        if two_sided(self.graph, node) and node.name not in self.kept:
            # kernels want the right operand signed wherever they want weights signed
            return [*self._read(node, [0]), *self._read(node, [1], self.scheme.weights), node]
        return None

    def _picture(self, node: Any) -> list[Any]:
        """A node that reads integers and hands out integers, to whoever reads it."""
        maker = self.makers.get(node.input[0])
        if node.op_type in AFTER and node.input[0] not in self.whole and maker is not None and maker.name in self.pictures:
            kind = self.scheme.activations  # integers saturate where the range ends: nothing is left to clip
            return self._pair(node.input[0], node.output[0], *self._parameters(node.output[0], kind))
        found = self._read(node, range(len(node.input)) if node.op_type in ("Add", "Concat") else [0])
        if node.op_type == "Conv":
            found += self._weight(node, axis=0) + self._bias(node)
        found.append(node)
        if node.output[0] in self.whole:
            answer, raw = node.output[0], f"{node.output[0]}_raw"
            node.output[0] = raw
            found += self._pair(raw, answer, *self._parameters(answer, self.scheme.activations))
        return found

    def _whole(self) -> set[str]:
        """Tensors that are integers for all their readers: what pictures hand out, but for what the next one clips."""
        readers = self.graph.readers()
        found = set()
        for node in self.graph.nodes:
            if node.name in self.pictures:
                after = readers.get(node.output[0], [])
                alone = len(after) == 1 and node.output[0] not in self.graph.outputs
                clipped = alone and after[0].op_type in AFTER and after[0].name in self.pictures and not self.symmetric
                found |= set() if clipped else {node.output[0]}
        return found

    def _read(self, node: Any, operands: Sequence[int], kind: str = "") -> list[Any]:
        """Let a node read tensors through their pairs; what is new of them."""
        found: list[Any] = []
        kind = kind or self.scheme.activations
        for index in operands:
            name = node.input[index]
            if name in self.whole:
                continue
            if (name, kind) not in self.pairs:
                self.pairs[name, kind] = f"{name}_{kind}"
                found += self._pair(name, self.pairs[name, kind], *self._parameters(name, kind))
            node.input[index] = self.pairs[name, kind]
        return found

    def _pair(self, name: str, answer: str, scale: str, zero: str) -> list[Any]:
        return [
            make("QuantizeLinear", [name, scale, zero], [f"{answer}_int"], f"{answer}/quantize"),
            make("DequantizeLinear", [f"{answer}_int", scale, zero], [answer], f"{answer}/dequantize"),
        ]

    def _parameters(self, name: str, kind: str) -> tuple[str, ...]:
        """Scale and zero point of an activation; those of the input where the node behind it only moves numbers."""
        maker = self.makers.get(name)
        if maker is not None and maker.op_type in SAME and maker.name in self.pictures:
            return self._parameters(self.sources[maker.name], kind)
        key = ("activation", name, kind, self.scheme.calibration)
        if key not in self.graph.shared:
            scale, zero = parameters(*self.ranges[name], kind, symmetric=kind == "s8" and self.graph.symmetric)
            self.graph.shared[key] = (self.graph.constant(f"{name}_scale", scale), self.graph.constant(f"{name}_zero", zero))
        return self.graph.shared[key]

    def _weight(self, node: Any, axis: int) -> list[Any]:
        values, scale, zero = matrix(self.graph, self.weights[node.name], self.scheme, axis)
        node.input[1] = f"{node.name}_weight"
        by_channel: dict[str, Any] = {"axis": axis % len(self.graph.constants[values].dims)} if self.scheme.per_channel else {}
        return [make("DequantizeLinear", [values, scale, zero], [node.input[1]], f"{node.name}/weight", **by_channel)]

    def _bias(self, node: Any) -> list[Any]:
        """A convolution's bias in 32 bits, in the scale of its products."""
        if len(node.input) < 3 or not node.input[2]:
            return []
        of_input = self.graph.array(self._parameters(self.sources[node.name], self.scheme.activations)[0])
        of_weight = self.graph.array(matrix(self.graph, self.weights[node.name], self.scheme, 0)[1])
        scale = (of_input * of_weight).astype(np.float32)
        whole = np.clip(np.rint(self.graph.array(node.input[2]) / scale), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        names = [self.graph.constant(f"{node.name}_bias", value) for value in (whole, scale, np.zeros(scale.shape, np.int32))]
        node.input[2] = f"{node.name}_shift"
        by_channel: dict[str, Any] = {"axis": 0} if scale.ndim else {}
        return [make("DequantizeLinear", names, [node.input[2]], f"{node.name}/bias", **by_channel)]


def parameters(low: float, high: float, kind: str, *, symmetric: bool) -> tuple[Any, Any]:
    """Scale and zero point of a range that includes 0.

    scale = (high − low) / 255, zero = least − low / scale;      symmetric: scale = max(−low, high) / 127, zero = 0
    """
    if symmetric:
        return np.array(max(-low, high, TINY) / 127, np.float32), np.array(0, np.int8)
    least, most, dtype = TYPES[kind, False]
    scale = max((high - low) / (most - least), TINY)
    return np.array(scale, np.float32), np.array(np.clip(np.rint(least - low / scale), least, most), dtype)


def two_sided(graph: Graph, node: Any) -> bool:
    """Whether a node multiplies two activations."""
    return node.op_type == "MatMul" and not any(name in graph.constants for name in node.input)


def _between(graph: Graph) -> set[str]:
    """The operators that lie between a convolution and another, or a global pooling, with nothing between that must be fp32."""
    behind: set[str] = set()  # tensors that come of a convolution
    reached = []
    for node in graph.nodes:
        data = node.input if node.op_type in ("Add", "Concat") else node.input[:1]
        if node.op_type == "Conv" or (node.op_type in BETWEEN + SAME and all(name in behind for name in data)):
            behind.update(node.output)
            reached.append(node)
    found: set[str] = set()
    wanted: set[str] = set()
    for node in reversed(reached):
        if node.op_type in ENDS or wanted & set(node.output):
            wanted.update(node.input)
            found |= {node.name} if node.op_type != "Conv" else set()
    return found
