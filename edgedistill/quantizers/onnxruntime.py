"""Quantisation for ONNX Runtime: every scheme but those of torch.

    fp32, fp16                   the fused graph
    int8-dynamic, int4-weights   the fused graph taken apart where weights hide in fused operators (`_parts`)
    int8-static                  the same; the plain graph where it has one shape, for then it is an accelerator's, which knows no fused operators
    int16-static                 the plain graph

Dynamic int8 and 4 bits take the embeddings along: leaving them out keeps most of a small student's bytes in fp32. QOperator S8S8 is not made:
on x86 it was measured 50 to 115 times slower than QDQ (microsoft/onnxruntime, quantize.py warns).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgedistill import graphs
from edgedistill.quantizers import Source, UnfitError, _calibration, _coverage, _dynamic, _four_bit, _macs, _mixed, _parts, _static, _tools
from edgedistill.quantizers._graph import Graph
from edgedistill.schemes import REFUSED, Scheme, parse

TORCH = ("int8-pt2e",)
LEAST_INTEGER = 0.5  # of the multiply-accumulates; a file with less is not what its name says
NAMED = 3  # operators in a sentence


def makes(scheme: str) -> bool:
    """Whether `make` knows the scheme."""
    return parse(scheme).name not in (*TORCH, *REFUSED)


def make(scheme: str, source: Source, out: Path) -> dict[str, Any]:
    """Write the quantised graph. Raises UnfitError when the graph has little that the scheme computes in integers."""
    asked = parse(scheme)
    facts = _MAKERS.get(asked.base, _integers)(asked, source, out)
    return facts | {"int8_macs": _macs.integer_share(out, source.sizes), "weights": _coverage.weights(out)}


def _fp32(scheme: Scheme, source: Source, out: Path) -> dict[str, Any]:
    """The fused graph; the plain one of an accelerator, which knows no fused operators."""
    Graph(source.plain if _one_shape(source.plain) else source.fused).save(out)
    return {}


def _fp16(scheme: Scheme, source: Source, out: Path) -> dict[str, Any]:
    _tools.half(source.plain if _one_shape(source.plain) else source.fused, out)
    return {}


def _sixteen(scheme: Scheme, source: Source, out: Path) -> dict[str, Any]:
    _tools.sixteen(source, out)
    return {"calibration": "minmax"}


def _four(scheme: Scheme, source: Source, out: Path) -> dict[str, Any]:
    """Tables in four bits; matrices too, or in dynamic int8."""
    graph, whole = _parts.load(source.fused), scheme.base == "int4-weights"
    _four_bit.tables(graph)
    if whole:
        _four_bit.matrices(graph)
    if not any(node.op_type in _four_bit.OPERATORS for node in graph.nodes):
        raise UnfitError(f"the graph has no {'matrix or table' if whole else 'table'} that 4 bits could hold")
    if not whole:
        _dynamic.quantize(graph, scheme)
    graph.save(out)
    if not whole:
        _is_integer(scheme, source, out)
    return {}


def _integers(scheme: Scheme, source: Source, out: Path) -> dict[str, Any]:
    """Dynamic or static int8; mixed where it is asked for."""
    static = scheme.base.startswith("int8-static")
    accelerator = static and _one_shape(source.plain)
    graph = _parts.load(source.plain if accelerator else source.fused)
    graph.symmetric = accelerator
    operators = _static.operators(graph) if static else _dynamic.operators(graph)
    quantize = _with_ranges(graph, scheme, source) if static else lambda copy, kept: _dynamic.quantize(copy, scheme, kept)

    def write(kept: frozenset[str]) -> None:
        copy = graph.copy()
        quantize(copy, kept)
        copy.save(out)

    facts: dict[str, Any] = {"calibration": scheme.calibration} if static else {}
    if scheme.mixed:
        facts["kept_fp32"] = _mixed.choose(operators, write, out, source)
    else:
        write(frozenset())
    _is_integer(scheme, source, out)
    return facts


def _with_ranges(graph: Graph, scheme: Scheme, source: Source) -> Callable[[Graph, frozenset[str]], None]:
    """Static quantisation with ranges that are found once for a source and a method."""
    key = ("ranges", scheme.calibration)
    if key not in source.memory:
        source.memory[key] = _calibration.ranges(graph, _static.activations(graph), source.calibration, scheme.calibration)
    return lambda copy, kept: _static.quantize(copy, scheme, source.memory[key], kept)


def _is_integer(scheme: Scheme, source: Source, out: Path) -> None:
    """Raises UnfitError where integers do little of what they could.

    What no scheme here makes integers of, recurrences say, is left out where floats do it: it is told by the weights that stay.
    """
    work, told = _macs.count(out, source.sizes), _coverage.weights(out)
    able = [one for one in work if one.integer or one.kind not in _macs.OTHERS]
    small = _coverage.quantised(told)
    if not any(one.macs for one in able) and small:
        return
    if not any(one.macs for one in able):
        raise UnfitError(f"no operator of this graph is one that {scheme.name} makes integers of{_weights_in(told)}{_inside(out)}")
    share = _macs.share(able)
    if share < LEAST_INTEGER:
        floats = sorted((one for one in able if not one.integer), key=lambda one: -one.macs)
        total = sum(one.macs for one in able)
        named = ", ".join(f"{one.name} ({one.kind}, {one.macs / total:.1%})" for one in floats[:NAMED])
        advice = "; convolutions are for int8-static" if scheme.base.startswith("int8-dynamic") and floats[0].kind in _macs.CONVOLUTIONS else ""
        least = f"integers would do {share:.1%} of this graph's multiply-accumulates, and {LEAST_INTEGER:.0%} is the least"
        raise UnfitError(f"{least}; most are in {named}{advice}")


def _weights_in(told: Mapping[str, Any]) -> str:
    places = [f"{one['node']} ({one['operator']})" for one in told["left"]]
    more = len(places) - NAMED + told["left_more"]
    return f": its weights are in {', '.join(places[:NAMED])}" + (f" and {more} more" if more > 0 else "") if places else ": it has no weights"


def _inside(file: Path) -> str:
    """That graphs inside of operators are left alone, where there are some."""
    nested = graphs.nested(file)
    return f"; what is inside of {', '.join(nested[:NAMED])} stays as it is" if nested else ""


def _one_shape(file: Path) -> bool:
    """Whether every dimension of a graph's inputs is a number."""
    import onnx

    inputs = onnx.load(str(file), load_external_data=False).graph.input
    return all(size.HasField("dim_value") for entry in inputs for size in entry.type.tensor_type.shape.dim)


_MAKERS: dict[str, Callable[[Scheme, Source, Path], dict[str, Any]]] = {
    "fp32": _fp32,
    "fp16": _fp16,
    "int16-static-u16u8": _sixteen,
    "int4-weights": _four,
    "int8-dynamic-int4-embeddings": _four,
}
