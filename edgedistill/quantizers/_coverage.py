"""Which weights of a file are small numbers, and which operators kept theirs in floats.

A weight is a constant of two and more dimensions that an operator computes with, those inside of If, Loop and Scan too; scales, zero points,
biases and norms are not. It counts with the bytes that it has in fp32, so that shares are of the original's, whatever the file keeps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgedistill.graphs import KINDS

FLOATS = ("fp32", "fp16", "fp64", "bf16")
SMALL = ("int8", "uint8", "int4", "uint4", "int16", "uint16")
NAMES = {**KINDS, 11: "fp64", 16: "bf16"}
DATA: Mapping[str, tuple[int, ...]] = {  # where an operator reads weights; any other one reads them everywhere
    "QuantizeLinear": (0,),
    "DequantizeLinear": (0,),
    "MatMulInteger": (0, 1),
    "ConvInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1),
    "DynamicQuantizeMatMul": (1,),
    "QLinearMatMul": (0, 3),
    "QLinearConv": (0, 3),
    "QGemm": (0, 3),
    "QAttention": (0, 1),
    "MatMulNBits": (1,),
    "GatherBlockQuantized": (0,),
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), (1, 2)),
}
FP32 = 4  # bytes
LISTED = 20  # operators that a receipt names


def weights(file: Path) -> dict[str, Any]:
    """`bytes` of the weights by the type that they have, and `left`: the operators with weights in fp32, the largest first, at most `LISTED`."""
    import onnx

    model = onnx.load(str(file), load_external_data=False)
    sizes: Counter[str] = Counter()
    left: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[int, str]] = set()
    for name, node, tensor, scope in _reads(model.graph, {}, ""):
        kind = NAMES.get(tensor.data_type, "other")
        if len(tensor.dims) < 2 or kind not in FLOATS + SMALL or (scope, tensor.name) in seen:
            continue
        seen.add((scope, tensor.name))
        size = FP32 * _numbers(node, tensor)
        sizes[_shown(node, kind)] += size
        if kind in ("fp32", "fp64"):
            left[name, node.op_type] += size
    told = [{"node": name, "operator": operator, "bytes": size} for (name, operator), size in left.most_common()]
    return {"bytes": dict(sizes.most_common()), "left": told[:LISTED], "left_more": len(told[LISTED:])}


def quantised(found: Mapping[str, Any]) -> int:
    """The bytes in fp32 of what is kept in other numbers."""
    return sum(size for kind, size in found["bytes"].items() if kind not in ("fp32", "fp64"))


def _reads(graph: Any, outer: Mapping[str, tuple[Any, int]], prefix: str) -> Iterator[tuple[str, Any, Any, int]]:
    """Every constant that an operator reads, with the operator's name and the scope that the constant is of."""
    known = {**outer, **{tensor.name: (tensor, id(graph)) for tensor in graph.initializer}}
    for index, node in enumerate(graph.node):
        value = next((one.t for one in node.attribute if one.name == "value"), None)
        if node.op_type == "Constant" and value is not None:
            constant = type(value)()
            constant.CopyFrom(value)
            constant.name = node.output[0]
            known[node.output[0]] = (constant, id(graph))
            continue
        name = prefix + (node.name or f"{node.op_type}_{index}")
        for at in DATA.get(node.op_type, range(len(node.input))):
            if at < len(node.input) and node.input[at] in known:
                tensor, scope = known[node.input[at]]
                yield name, node, tensor, scope
        for inner in (one for entry in node.attribute for one in [*([entry.g] if entry.HasField("g") else []), *entry.graphs]):
            yield from _reads(inner, known, f"{name}/")


def _numbers(node: Any, tensor: Any) -> int:
    """How many numbers a weight has; those of MatMulNBits lie several in a byte."""
    if node.op_type == "MatMulNBits":
        sizes = {one.name: one.i for one in node.attribute}
        return int(sizes["K"] * sizes["N"])
    count = 1
    for size in tensor.dims:
        count *= int(size)
    return count


def _shown(node: Any, kind: str) -> str:
    return f"int{next(one.i for one in node.attribute if one.name == 'bits')}" if node.op_type == "MatMulNBits" else kind
