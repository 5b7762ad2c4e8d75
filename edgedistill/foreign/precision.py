"""The numbers that a foreign model is kept in and computes with: what is quantised already is refused, other floats are cast to fp32.

A model is of the kind that most bytes of its float weights have; of what its operators hand out, where it has no weights. It is cast where that
is not fp32, where anything is computed in half precision, and where an operator that multiplies is not fp32. A little fp64 stays, and is said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgedistill.errors import ConfigError
from edgedistill.foreign.walk import called, inner, nodes, tensors

FP32 = 1  # TensorProto.FLOAT
FLOATS: Mapping[int, str] = {FP32: "fp32", 10: "fp16", 16: "bf16", 11: "fp64"}
TINY = range(17, 27)  # TensorProto's types of eight bits and fewer that only quantisers write: float8, (u)int4, float4, e8m0, (u)int2
EIGHT = (2, 3)  # uint8, int8: weights where they are cast to floats
LEAST_WEIGHT = 1024  # numbers; smaller constants of bytes are tables of something else
OWN = ("", "ai.onnx", "com.microsoft", "com.ms.internal.nhwc")
QUANTISED = re.compile(
    r"Q[A-Z]\w*|(Dynamic)?Quantize\w*|Dequantize\w*|\w+Integer(16|ToFloat)?|MatMul(NBits|BlockQuantized|Bnb)\w*|GatherBlockQuantized"
)
MULTIPLYING = ("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "LSTM", "GRU", "RNN", "Attention", "MultiHeadAttention", "FusedMatMul")
HALVES = ("fp16", "bf16")  # which profiles forbid, wherever they are
TYPED = ("to", "dtype", "output_datatype", "stash_type")  # attributes that name a tensor's type
NAMED = 5  # operators in a sentence
MOST_INFERRED = 500_000_000  # bytes of a message whose types are inferred: more would be held twice


@dataclass(frozen=True, slots=True, kw_only=True)
class Kinds:
    """Bytes of weights and number of inner values by kind of float; `cast` is the kind that must become fp32, empty where there is none."""

    weights: Mapping[str, int]
    values: Mapping[str, int]
    cast: str
    others: tuple[str, ...]


def refuse_quantised(file: Path, model: Any) -> None:
    """Raises ConfigError with the operators that say that a model is quantised already."""
    found = _quantised(model)
    if found:
        named = ", ".join(f"{name} ({count} ×)" for name, count in found.most_common(2 * NAMED))
        what = f"{file} is quantised already: {named}. Made from it, every number would compare integers with integers"
        raise ConfigError(what, hint="quantise the fp32 model that it was made from: edgedistill quantize FP32.onnx …")


def _quantised(model: Any) -> Counter[str]:
    """What of a model is quantised. Integers that come in from outside or go out are a picture's bytes, and no quantised model."""
    outside, handed = {one.name for one in model.graph.input}, {one.name for one in model.graph.output}
    held = {tensor.name for tensor in model.graph.initializer}
    functions = {(one.domain, one.name) for one in model.functions}
    found: Counter[str] = Counter()
    bytes_of = {one.name: one for one in tensors(model) if one.name and one.data_type in EIGHT and len(one.dims) > 1 and _count(one) >= LEAST_WEIGHT}
    for node in nodes(model):
        if node.domain in OWN and (node.domain, node.op_type) not in functions and QUANTISED.fullmatch(node.op_type):
            edge = (node.op_type == "DequantizeLinear" and node.input[0] in outside - held) or (
                node.op_type == "QuantizeLinear" and node.output[0] in handed
            )
            found[node.op_type] += 0 if edge else 1
        elif node.op_type in ("Cast", "CastLike") and node.input[0] in bytes_of and _target(node) in (0, *FLOATS):
            found["Cast of weights in 8 bits"] += 1
    tiny = sum(one.data_type in TINY for one in tensors(model))
    return +Counter({**found, "weights in 8 bits or fewer": tiny})


def _count(tensor: Any) -> int:
    count = 1
    for size in tensor.dims:
        count *= int(size)
    return count


def _target(node: Any) -> int:
    """The type that a Cast makes; 0 where that is another tensor's."""
    return next((int(one.i) for one in node.attribute if one.name == "to"), 0)


def kinds(model: Any) -> Kinds:
    """The floats of a model without its external data."""
    weights: Counter[str] = Counter()
    for tensor in tensors(model):
        if tensor.data_type in FLOATS:
            weights[FLOATS[tensor.data_type]] += _count(tensor) * {1: 4, 11: 8}.get(tensor.data_type, 2)
    types = _types(model)
    made = [
        (node, FLOATS[types[name]]) for node in _all(model.graph) for name in node.output if types.get(name) in FLOATS and _is_inside(node, model)
    ]
    values = Counter(kind for _, kind in made)
    main = (weights or values or Counter(fp32=1)).most_common(1)[0][0]
    if main == "fp32":
        main = next((kind for node, kind in made if kind != "fp32" and (kind in HALVES or node.op_type in MULTIPLYING)), "fp32")
    others = [f"{called(node)} in {kind}" for node, kind in made if kind != "fp32"]
    return Kinds(weights=dict(weights), values=dict(values), cast="" if main == "fp32" else main, others=tuple(dict.fromkeys(others)))


def _is_inside(node: Any, model: Any) -> bool:
    """Whether a value is the model's own, and not only the form in which an answer goes out."""
    return node.op_type != "Cast" or node.output[0] not in {one.name for one in model.graph.output}


def _all(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for one in inner(node):
            yield from _all(one)


def _types(model: Any) -> dict[str, int]:
    """The element type of every value that the standard's inference knows."""
    import onnx

    if model.ByteSize() > MOST_INFERRED:
        return {}
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except Exception:  # the inference meets whatever an odd graph holds; then the weights alone tell
        return {}
    graphs = [graph, *(one for node in _all(graph) for one in inner(node))]
    return {value.name: value.type.tensor_type.elem_type for one in graphs for value in (*one.value_info, *one.output)}


def remark(found: Kinds) -> str:
    """What must be said of other floats in a model that is fp32 for the rest; empty where there are none."""
    if found.cast or not found.others:
        return ""
    rest = f" and {len(found.others) - NAMED} more" if len(found.others) > NAMED else ""
    return f"beside fp32 the model computes {', '.join(found.others[:NAMED])}{rest}; these stay as they are"


def in_fp32(model: Any) -> None:
    """Make every other float of a model fp32, in place; inputs and outputs keep their types, through a Cast each."""
    _Caster().run(model)


@dataclass(slots=True)
class _Caster:
    renamed: dict[str, str] = field(default_factory=dict)

    def run(self, model: Any) -> None:
        from onnx import helper

        graph = model.graph
        held = {tensor.name for tensor in graph.initializer}
        casts = {"in": list[Any](), "out": list[Any]()}
        for entry in graph.input:
            if entry.name not in held and _is_other(entry.type.tensor_type.elem_type):
                self.renamed[entry.name] = f"{entry.name}_fp32"
                casts["in"].append(helper.make_node("Cast", [entry.name], [f"{entry.name}_fp32"], to=FP32))
        for entry in graph.output:
            if _is_other(kind := entry.type.tensor_type.elem_type):
                self.renamed[entry.name] = f"{entry.name}_fp32"
                casts["out"].append(helper.make_node("Cast", [f"{entry.name}_fp32"], [entry.name], to=kind))
        for entry in graph.input:
            if entry.name in held and _is_other(entry.type.tensor_type.elem_type):
                entry.type.tensor_type.elem_type = FP32
        self._graph(graph)
        ordered = [*casts["in"], *graph.node, *casts["out"]]
        del graph.node[:]
        graph.node.extend(ordered)
        for function in model.functions:
            self._nodes(function.node)

    def _graph(self, graph: Any) -> None:
        for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer)):
            _cast(tensor)
        del graph.value_info[:]
        self._nodes(graph.node)

    def _nodes(self, some: Any) -> None:
        for node in some:
            for names in (node.input, node.output):
                for at, name in enumerate(names):
                    names[at] = self.renamed.get(name, name)
            for one in node.attribute:
                if one.name in TYPED and _is_other(one.i):
                    one.i = FP32
                for tensor in (*([one.t] if one.HasField("t") else []), *one.tensors):
                    _cast(tensor)
            for graph in inner(node):
                for entry in (*graph.input, *graph.output):
                    entry.name = self.renamed.get(entry.name, entry.name)
                    if _is_other(entry.type.tensor_type.elem_type):
                        entry.type.tensor_type.elem_type = FP32
                self._graph(graph)


def _is_other(kind: int) -> bool:
    return kind in FLOATS and kind != FP32


def _cast(tensor: Any) -> None:
    """A tensor's numbers as fp32; what is beyond its range, as masks are, becomes the largest that it has."""
    import numpy as np
    from onnx import numpy_helper

    if not _is_other(tensor.data_type):
        return
    wide = numpy_helper.to_array(tensor).astype(np.float64)
    most = float(np.finfo(np.float32).max)
    narrow = np.where(np.isfinite(wide), np.clip(wide, -most, most), wide).astype(np.float32)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(narrow, name))
