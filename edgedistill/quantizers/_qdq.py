"""Numbers that a torch quantiser found, written onto an ONNX graph as QuantizeLinear and DequantizeLinear.

Operators are found by their weights: the matrix of a MatMul or Gemm is the torch layer's, as it is or turned. Scales and integers are taken
as they come; only the bias of a Gemm, which the integer operator adds inside, is rounded here: to int32 at the product of both scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.quantizers import UnfitError

WEIGHTED = ("MatMul", "Gemm", "Conv")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """A linear map: its weight [out, in] in fp32 and in int8, the weight's `scales` [out] or [1], and how what it sees is kept in 8 bits."""

    original: NDArray[np.float32]
    integers: NDArray[np.int8]
    scales: NDArray[np.float32]
    seen_scale: float
    seen_zero: int
    seen_signed: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """An embedding table in u8."""

    integers: NDArray[np.uint8]
    scale: float
    zero: int


Tables = Callable[[NDArray[np.float32]], Table]


def inputs(file: Path) -> list[str]:
    """The names of a graph's inputs, in their order."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    held = {tensor.name for tensor in graph.initializer}
    return [entry.name for entry in graph.input if entry.name not in held]


def write(plain: Path, linears: Sequence[Linear], tables: Tables, out: Path, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Write the graph with integers wherever a linear map is known, its embeddings through `tables`; returns `kept_fp32` and `int8_macs`."""
    import onnx

    model = onnx.load(str(plain))
    draft = _Draft({tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer})
    left = list(linears)
    done: set[str] = set()
    for node in model.graph.node:
        linear = _linear_of(node, draft.held, left)
        if linear is not None:
            left.remove(linear)
            draft.integer(node, linear)
            done.add(node.output[0])
        elif node.op_type == "Gather" and _is_table(draft.held.get(node.input[0])):
            draft.looked_up(node, tables)
        else:
            draft.nodes.append(node)
    if linears and not done:
        raise UnfitError("no operator of the graph has a weight of the torch model")
    kept = [node.name or node.output[0] for node in model.graph.node if _is_weighted(node, draft.held) and node.output[0] not in done]
    share = _share(plain, out, done, sizes)
    _replace(model.graph, draft)
    onnx.save(model, str(out))
    return {"kept_fp32": kept, "int8_macs": share}


@dataclass(slots=True)
class _Draft:
    """The graph that is being written: its nodes, and the tensors that are new."""

    held: dict[str, NDArray[Any]]
    nodes: list[Any] = field(default_factory=list)
    new: dict[str, NDArray[Any]] = field(default_factory=dict)
    seen: dict[tuple[Any, ...], str] = field(default_factory=dict)

    def integer(self, node: Any, linear: Linear) -> None:
        """A MatMul or Gemm between integers: its input through 8 bits, its weight kept in them."""
        from onnx import helper

        turned = _turned(self.held[node.input[1]], linear, node)
        zero = np.array(linear.seen_zero, np.int8 if linear.seen_signed else np.uint8)
        parts = [self._through(node.input[0], linear, zero)]
        stem = f"{node.output[0]}_weight"
        values, axis = (linear.integers.T, 1) if turned else (linear.integers, 0)
        parts.append(self._constant(stem, np.ascontiguousarray(values), linear.scales, axis))
        if len(node.input) > 2:
            scales = (linear.scales * np.float32(linear.seen_scale)).astype(np.float32)
            bias = self.held[node.input[2]]
            wide = np.broadcast_to(scales, bias.shape).astype(np.float32)
            limits = np.iinfo(np.int32)
            whole = np.clip(np.rint(bias.astype(np.float64) / wide), limits.min, limits.max).astype(np.int32)
            parts.append(self._constant(f"{node.output[0]}_bias", whole, wide, 0))
        changed = helper.make_node(node.op_type, parts, list(node.output), name=node.name)
        changed.attribute.extend(node.attribute)
        self.nodes.append(changed)

    def looked_up(self, node: Any, tables: Tables) -> None:
        """A Gather of u8 rows, whose result alone becomes fp32."""
        from onnx import helper

        stem = node.input[0]
        if f"{stem}_u8" not in self.new:
            table = tables(self.held[stem])
            self.new |= {
                f"{stem}_u8": table.integers,
                f"{stem}_scale": np.array(table.scale, np.float32),
                f"{stem}_zero": np.array(table.zero, np.uint8),
            }
        rows = f"{node.output[0]}_u8"
        changed = helper.make_node("Gather", [f"{stem}_u8", node.input[1]], [rows], name=node.name)
        changed.attribute.extend(node.attribute)
        back = helper.make_node("DequantizeLinear", [rows, f"{stem}_scale", f"{stem}_zero"], list(node.output), name=f"{node.output[0]}_dequantized")
        self.nodes += [changed, back]

    def _through(self, name: str, linear: Linear, zero: NDArray[Any]) -> str:
        """A tensor quantised and back, once for all that read it at the same scale."""
        from onnx import helper

        key = (name, linear.seen_scale, linear.seen_zero, linear.seen_signed)
        if key not in self.seen:
            stem = f"{name}_seen{len(self.seen)}"
            self.new[f"{stem}_scale"], self.new[f"{stem}_zero"] = np.array(linear.seen_scale, np.float32), zero
            how = [f"{stem}_scale", f"{stem}_zero"]
            self.nodes.append(helper.make_node("QuantizeLinear", [name, *how], [f"{stem}_q"], name=f"{stem}_quantize"))
            self.nodes.append(helper.make_node("DequantizeLinear", [f"{stem}_q", *how], [f"{stem}_dq"], name=f"{stem}_dequantize"))
            self.seen[key] = f"{stem}_dq"
        return self.seen[key]

    def _constant(self, stem: str, values: NDArray[Any], scales: NDArray[np.float32], axis: int) -> str:
        """A tensor of integers and what makes it fp32 again."""
        from onnx import helper

        single = len(scales) == 1
        self._keep(stem, values, scales[0] if single else scales)
        names = [f"{stem}_int8", f"{stem}_scale", f"{stem}_zero"]
        options = {} if single else {"axis": axis}
        self.nodes.append(helper.make_node("DequantizeLinear", names, [f"{stem}_dq"], name=f"{stem}_dequantize", **options))
        return f"{stem}_dq"

    def _keep(self, stem: str, values: NDArray[Any], scales: Any) -> None:
        scales = np.asarray(scales, np.float32)
        self.new |= {f"{stem}_int8": values, f"{stem}_scale": scales, f"{stem}_zero": np.zeros(scales.shape, values.dtype)}


def _linear_of(node: Any, held: Mapping[str, NDArray[Any]], left: Sequence[Linear]) -> Linear | None:
    """The first map that is left whose weight a node has."""
    if node.op_type not in ("MatMul", "Gemm") or not _is_weighted(node, held):
        return None
    if node.op_type == "Gemm" and len(node.input) > 2 and (node.input[2] not in held or held[node.input[2]].ndim != 1):
        return None
    options = {attribute.name: attribute for attribute in node.attribute}
    if any(name in options and options[name].f != 1.0 for name in ("alpha", "beta")) or ("transA" in options and options["transA"].i):
        return None
    weight = held[node.input[1]]
    return next((linear for linear in left if _turned(weight, linear, node) is not None), None)


def _turned(weight: NDArray[Any], linear: Linear, node: Any) -> bool | None:
    """Whether a node keeps a torch weight [out, in] as [in, out]; None where it is another weight."""
    turned = not any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    ours = linear.original.T if turned else linear.original
    return turned if weight.shape == ours.shape and np.array_equal(weight, ours) else None


def _is_weighted(node: Any, held: Mapping[str, NDArray[Any]]) -> bool:
    return node.op_type in WEIGHTED and len(node.input) > 1 and node.input[1] in held and held[node.input[1]].ndim >= 2


def _is_table(values: NDArray[Any] | None) -> bool:
    return values is not None and values.ndim == 2 and values.dtype == np.float32


def _replace(graph: Any, draft: _Draft) -> None:
    """Put the draft's nodes and tensors in, and drop the tensors that nobody reads any more."""
    from onnx import numpy_helper

    read = {name for node in draft.nodes for name in node.input} | {entry.name for entry in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    kept += [numpy_helper.from_array(np.ascontiguousarray(values), name) for name, values in draft.new.items()]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(draft.nodes)
    graph.initializer.extend(kept)


def _share(plain: Path, scratch: Path, done: set[str], sizes: Mapping[str, int]) -> float:
    """The share of multiply-accumulates of the graph's matrix products that are between integers, at one size of its inputs."""
    counts = _macs(plain, scratch, sizes)
    return round(sum(count for name, count in counts.items() if name in done) / max(sum(counts.values()), 1), 4)


def _macs(plain: Path, scratch: Path, sizes: Mapping[str, int]) -> dict[str, int]:
    """Multiply-accumulates of each MatMul and Gemm, by the name of its output: the shapes are those of a run."""
    import onnx

    model = onnx.load(str(plain))
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Gemm")]
    given = [entry.name for entry in model.graph.input]
    wanted = list(dict.fromkeys(name for node in products for name in (node.input[0], node.output[0]) if name not in given))
    known = {entry.name for entry in model.graph.output} | {tensor.name for tensor in model.graph.initializer}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in wanted if name not in known)
    onnx.save(model, str(scratch))
    session = runtime.open_session(scratch)
    feeds = {entry.name: runtime.zeros(entry, sizes) for entry in session.get_inputs()}
    found = feeds | (dict(zip(wanted, session.run(wanted, feeds), strict=True)) if wanted else {})
    inner = {node.output[0]: (node.input[0], _turns_first(node)) for node in products}
    return {name: int(found[name].size * found[first].shape[0 if turned else -1]) for name, (first, turned) in inner.items()}


def _turns_first(node: Any) -> bool:
    return any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
