"""Where a bundle's time goes, operator by operator, and how far it is from what this machine can multiply.

    python benchmarks/operators.py BUNDLE [--tokens 8 25 64] [--turns 20] [--json]

The profile is ONNX Runtime's own: one thread, token ids of a golden example cut or repeated to the length, the median of every node's kernel
over `--runs` runs, summed by kind. Its clock reads cost some microseconds a node, so the model's time is measured without it.

The roofline is of the matrix products with constant weights, those that the int8 model has, at M = the tokens that reach them in this model:

    bound = Σ over products of max(M · K · N ÷ peak, bytes of the weight ÷ bandwidth)  +  Σ over attentions of 2 · M² · width ÷ peak in fp32

`peak` is the best throughput that bare graphs reach on this machine, one thread, over these shapes: a graph of nothing but MatMulInteger
(uint8 × int8), and one of MatMul in fp32, with as many different weights of a shape as the model has, so that caches hold no more
than they would in it. The second sum is attention's own products, scores and values, which stay in fp32 (counted where attention is one node).
`bandwidth` is numpy's copy of as many bytes as all weights have, read and written, wherever this machine keeps them. `bare` is the sum of
the int8 graphs' times: what ONNX Runtime needs for the products alone at this length, without scaling, attention, norms or activations. The
model, the bare graphs and the copy run in turns, and every ratio is made within a turn, of the shortest of some runs; the table has the median
over turns and their quartiles.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgedistill import runtime
from edgedistill.bundle.reader import open_bundle
from edgedistill.devices.local import Local

ATTENTION = ("QAttention", "Attention")
PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QLinearMatMul", *ATTENTION)
DRAM_BYTES = 256 << 20
Feed = Mapping[str, NDArray[Any]]
Shape = tuple[int, int, int]  # M rows, K in, N out
Run = Callable[[], None]


def main() -> None:
    """Profile and measure at each length, and print."""
    asked = _arguments()
    bundle = open_bundle(asked.bundle)
    model = bundle.path / bundle.manifest["model"]["file"]
    ids = max((case["input_ids"][0] for case in bundle.document("golden.json")["cases"]), key=len)
    found = [_at(model, np.resize(ids, count), asked) for count in asked.tokens]
    document = {"model": f"{bundle.manifest['name']} for {bundle.manifest['target']}", "conditions": _conditions(asked), "lengths": found}
    print(json.dumps(document, indent=1) if asked.json else render(document))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--tokens", type=int, nargs="+", default=[8, 25, 64])
    parser.add_argument("--runs", type=int, default=200, help="of the profile")
    parser.add_argument("--turns", type=int, default=30, help="of the model, the bare products and the copy")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _at(model: Path, ids: NDArray[np.int64], asked: argparse.Namespace) -> dict[str, Any]:
    """One length: the profile, then model, bare products and copy in turns."""
    session = runtime.open_session(model, threads=1)
    feed = _feed(session, ids)
    with tempfile.TemporaryDirectory() as folder:
        kinds = profile(model, feed, Path(folder), asked.runs)
        shapes, attended = products(model, feed, Path(folder))
        int8 = {shape: _bare(shape, count, np.int8, Path(folder)) for shape, count in shapes.items()}
        fp32 = {shape: _bare(shape, count, np.float32, Path(folder)) for shape, count in shapes.items()}
    weights = sum(count * k * n for (_, k, n), count in shapes.items())
    runs = {"model": lambda: session.run(None, feed), "copy": _copy(weights), "dram": _copy(DRAM_BYTES)}
    turns = [_turn(runs, int8, fp32, shapes, attended) for _ in range(asked.turns + 1)][1:]  # the first warms up
    return {
        "tokens": len(ids),
        "kinds": kinds,
        "profile_us": sum(kind["us"] for kind in kinds.values()),
        "products": [{"m": m, "k": k, "n": n, "count": count} for (m, k, n), count in shapes.items()],
        "mmacs": sum(count * m * k * n for (m, k, n), count in shapes.items()) / 1e6,
        "attention_mmacs": attended / 1e6,
        **{name: _spread([turn[name] for turn in turns]) for name in turns[0]},
    }


def _feed(session: Any, ids: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    known = {"input_ids": ids[None], "attention_mask": np.ones((1, len(ids)), np.int64), "token_type_ids": np.zeros((1, len(ids)), np.int64)}
    return {entry.name: known[entry.name] for entry in session.get_inputs()}


def profile(model: Path, feed: Feed, folder: Path, runs: int) -> dict[str, dict[str, float]]:
    """Microseconds of each kind of operator and how many nodes have it, the longest first; a node's time is its median over runs."""
    ort = runtime.onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    for _ in range(runs):
        session.run(None, dict(feed))
    nodes: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            nodes[event["args"]["op_name"], event["name"]].append(event["dur"])
    total: dict[str, float] = defaultdict(float)
    for (kind, _), times in nodes.items():
        total[kind] += median(times)
    count = Counter(kind for kind, _ in nodes)
    return {kind: {"us": us, "nodes": count[kind]} for kind, us in sorted(total.items(), key=lambda one: -one[1])}


def products(model: Path, feed: Feed, folder: Path) -> tuple[dict[Shape, int], int]:
    """The products with constant weights and how often the model has each, and attention's own MACs; M is what reaches them on this feed."""
    graph = onnx.load(str(model))
    weights = {entry.name: tuple(entry.dims) for entry in graph.graph.initializer}
    turned = {node.name for node in graph.graph.node if any(one.name == "transB" and one.i for one in node.attribute)}
    found = [node for node in graph.graph.node if node.op_type in PRODUCTS and len(weights.get(node.input[1], ())) == 2]
    heads = [node for node in graph.graph.node if node.op_type == "MultiHeadAttention"]
    graph.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input[0] for node in [*found, *heads]))
    file = folder / "inputs.onnx"
    onnx.save(graph, str(file))
    session = runtime.open_session(file, threads=1)
    values = dict(zip((entry.name for entry in session.get_outputs()), session.run(None, dict(feed)), strict=True))
    shapes: Counter[Shape] = Counter()
    attended = sum(2 * values[node.input[0]].size * values[node.input[0]].shape[1] for node in heads)  # queries [1, m, width]: m² · width, twice
    for node in found:
        k, n = weights[node.input[1]][:: -1 if node.name in turned else 1]
        m = values[node.input[0]].size // k
        shapes[m, k, n] += 1
        attended += 2 * m * m * n // 3 if node.op_type in ATTENTION else 0  # n is query, key and value together
    return dict(shapes), attended


def _bare(shape: Shape, count: int, dtype: type[np.int8] | type[np.float32], folder: Path) -> Run:
    """A graph of nothing but `count` products of a shape, each with a weight of its own."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    whole = dtype is np.int8
    names = [f"w{index}" for index in range(count)]
    weights = [rng.integers(-127, 128, (k, n)).astype(np.int8) if whole else rng.normal(size=(k, n)).astype(np.float32) for _ in names]
    kind = "MatMulInteger" if whole else "MatMul"
    nodes = [helper.make_node(kind, ["x", name], [f"y{name}"]) for name in names]
    read, wrote = (TensorProto.UINT8, TensorProto.INT32) if whole else (TensorProto.FLOAT, TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info("x", read, [m, k])]
    outputs = [helper.make_tensor_value_info(f"y{name}", wrote, [m, n]) for name in names]
    graph = helper.make_graph(
        nodes, "bare", inputs, outputs, [numpy_helper.from_array(array, name) for array, name in zip(weights, names, strict=True)]
    )
    file = folder / f"{kind}-{m}-{k}-{n}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(file))
    session = runtime.open_session(file, threads=1)
    x = rng.integers(0, 256, (m, k)).astype(np.uint8) if whole else rng.normal(size=(m, k)).astype(np.float32)
    return lambda: session.run(None, {"x": x})


def _copy(size: int) -> Run:
    source, target = np.ones(size, np.uint8), np.zeros(size, np.uint8)
    return lambda: np.copyto(target, source)


def _turn(
    runs: Mapping[str, Run], int8: Mapping[Shape, Run], fp32: Mapping[Shape, Run], shapes: Mapping[Shape, int], attended: int
) -> dict[str, float]:
    """Everything once, close together; microseconds, and what follows from them."""
    model = _best(runs["model"], 8)
    times = {kind: {shape: _best(run, 5) for shape, run in graphs.items()} for kind, graphs in (("int8", int8), ("fp32", fp32))}
    macs = {(m, k, n): count * m * k * n for (m, k, n), count in shapes.items()}
    weights = {(m, k, n): count * k * n for (m, k, n), count in shapes.items()}  # bytes
    peak = {kind: max(macs[shape] / found[shape] for shape in shapes) for kind, found in times.items()}  # MACs a µs
    copied, dram = 2 * sum(weights.values()) / _best(runs["copy"], 5), 2 * DRAM_BYTES / _best(runs["dram"], 1)  # bytes a µs
    bound = sum(max(macs[shape] / peak["int8"], weights[shape] / copied) for shape in shapes) + attended / peak["fp32"]
    bare = sum(times["int8"].values())
    return {
        "model_us": model,
        "bound_us": bound,
        "bare_int8_us": bare,
        "bare_fp32_us": sum(times["fp32"].values()),
        "peak_int8_gmacs": peak["int8"] / 1e3,
        "peak_fp32_gmacs": peak["fp32"] / 1e3,
        "copy_gb_s": copied / 1e3,
        "dram_gb_s": dram / 1e3,
        "to_bound": model / bound,
        "to_bare": model / bare,
    }


def _best(run: Run, times: int) -> float:
    """The shortest of some runs in µs: what other jobs on the machine add is no property of the graph."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return min(found) * 1e6


def _spread(values: Sequence[float]) -> dict[str, float]:
    quarter, middle, three = np.percentile(values, [25, 50, 75])
    return {"median": float(middle), "low": float(quarter), "high": float(three)}


def _conditions(asked: argparse.Namespace) -> dict[str, Any]:
    now = {**Local().facts(), **Local().conditions()}
    return {
        "date": time.strftime("%Y-%m-%d"),
        **{name: now[name] for name in ("cpu", "cores", "load_1min")},
        "python": platform.python_version(),
        "onnxruntime": runtime.onnxruntime().__version__,
        "threads": 1,
        "runs": asked.runs,
        "turns": asked.turns,
    }


def render(document: Mapping[str, Any]) -> str:
    """Two tables in Markdown: time by kind of operator, and the ratio to the roofline, a column a length."""
    lengths, where = document["lengths"], document["conditions"]
    kinds = list(dict.fromkeys(kind for one in reversed(lengths) for kind in one["kinds"]))
    heads = " | ".join(f"{one['tokens']} tokens" for one in lengths)
    rule = "|---" * (len(lengths) + 1) + "|"
    rows = [f"| {kind} | {' | '.join(_kind(one['kinds'].get(kind)) for one in lengths)} |" for kind in kinds]
    sums = " | ".join(f"{one['profile_us']:.0f}" for one in lengths)
    said: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
        "model, without the profiler, µs": lambda one: _three(one["model_us"], 0),
        "products with weights (attention's own), million MACs": lambda one: f"{one['mmacs']:.1f} ({one['attention_mmacs']:.1f})",
        "bare int8 products, µs": lambda one: _three(one["bare_int8_us"], 0),
        "bare fp32 products, µs": lambda one: _three(one["bare_fp32_us"], 0),
        "peak int8, GMAC/s": lambda one: _three(one["peak_int8_gmacs"], 0),
        "peak fp32, GMAC/s": lambda one: _three(one["peak_fp32_gmacs"], 0),
        "copy of the weights' size, GB/s": lambda one: _three(one["copy_gb_s"], 1),
        "copy of 256 MiB, GB/s": lambda one: _three(one["dram_gb_s"], 1),
        "bound (roofline), µs": lambda one: _three(one["bound_us"], 0),
        "**model ÷ bound**": lambda one: _three(one["to_bound"], 2),
        "model ÷ bare int8 products": lambda one: _three(one["to_bare"], 2),
    }
    roof = [f"| {name} | {' | '.join(cell(one) for one in lengths)} |" for name, cell in said.items()]
    place = (
        f"{document['model']}: onnxruntime {where['onnxruntime']}, 1 thread, {where['cores']} cores of {where['cpu']}, load {where['load_1min']}, "
    )
    return "\n".join(
        [place + where["date"], "", f"| operator, µs (nodes) | {heads} |", rule, *rows, f"| all | {sums} |", "", f"| | {heads} |", rule, *roof]
    )


def _kind(found: Mapping[str, float] | None) -> str:
    return f"{found['us']:.0f} ({found['nodes']})" if found else "–"


def _three(found: Mapping[str, float], digits: int) -> str:
    return f"{found['median']:.{digits}f} ({found['low']:.{digits}f}–{found['high']:.{digits}f})"


if __name__ == "__main__":
    main()
