"""What the engine of ONNX Runtime writes: every scheme loads, answers as fp32 does within its means, and is what its name says."""

from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engine_cases import SIZES, answers, convolutions, divergence, export_bert, export_vit, pictures, source, texts
from onnx import TensorProto, helper, numpy_helper

from edgedistill import graphs, quantizers, runtime, schemes
from edgedistill.quantizers import Source, _calibration, _dynamic, _macs, _mixed, _parts, _weights
from edgedistill.quantizers import onnxruntime as engine
from edgedistill.quantizers._graph import Graph

MADE = [name for name in schemes.names() if engine.makes(name)]
assert len(MADE) >= 80
STATIC = [f"int8-static-{types}{channels}" for types in ("s8s8", "u8s8", "u8u8") for channels in ("", "-per-channel")]
BOUNDS = {"fp32": 0.0, "fp16": 1e-4, "int4-weights": 0.15, "int8-dynamic-int4-embeddings": 0.1, "int16-static-u16u8": 0.02}  # divergence
CLIPPED, REDUCED, EIGHT = 0.25, 0.05, 0.02
PRODUCTS = ("MatMul", "Gemm", "FusedGemm", "FusedMatMul", "MatMulIntegerToFloat", "QLinearMatMul", "DynamicQuantizeMatMul", "QGemm")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return source(*export_bert(tmp_path_factory.mktemp("bert")), texts)


def bound(scheme: str) -> float:
    clipped = CLIPPED if scheme.removesuffix("-mixed").endswith(("entropy", "percentile")) else EIGHT
    return BOUNDS.get(scheme, max(clipped, REDUCED if "reduced" in scheme else 0))


@pytest.mark.parametrize("scheme", MADE)
def test_scheme_answers_as_fp32_when_it_is_made(scheme: str, bert: Source, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    facts = engine.make(scheme, bert, out)
    assert divergence(out, bert.fused, texts(99)) <= bound(scheme)
    share = out.stat().st_size / bert.fused.stat().st_size
    limit = {"fp32": 1.01, "fp16": 0.6, "int4-weights": 0.35, "int8-dynamic-int4-embeddings": 0.42, "int16-static-u16u8": 0.6}.get(scheme, 0.45)
    assert share < limit
    assert (facts["int8_macs"] > 0.85) == scheme.startswith(("int8", "int16"))
    if scheme.endswith("-mixed"):
        assert facts["kept_fp32"] == []


def test_every_scheme_has_an_engine_that_says_so() -> None:
    assert quantizers.engine_of("int8-dynamic") is engine
    assert not engine.makes("int8-pt2e")
    assert not engine.makes("int8-qoperator-s8s8")


# ── what is in the files ─────────────────────────────────────────────────────────────────────────────────────────────


def stored(file: Path) -> dict[str, np.ndarray]:
    """Weights that are multiplied, and what scales them, by operator."""
    model = onnx.load(file)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    found = {}
    for node in model.graph.node:
        if node.op_type == "MatMulInteger":
            found[node.name] = (arrays[node.input[1]], arrays[node.input[1].replace("_values", "_scale")])
        elif node.op_type == "MatMul" and makers[node.input[1]].op_type == "DequantizeLinear" and makers[node.input[1]].input[0] in arrays:
            found[node.name] = tuple(arrays[name] for name in makers[node.input[1]].input[:2])
    assert len(found) == 10, list(found)  # two layers of attention, its output, two of the hidden layer; pooler and head
    return found


@pytest.mark.parametrize("scheme", ["int8-dynamic-reduced", "int8-static-s8s8-reduced", "int8-static-u8s8-per-channel-reduced"])
def test_weights_have_seven_bits_when_the_range_is_reduced(scheme: str, bert: Source, tmp_path: Path) -> None:
    engine.make(scheme, bert, tmp_path / "model.onnx")
    for weights, _ in stored(tmp_path / "model.onnx").values():
        assert weights.dtype == np.int8
        assert -64 <= weights.min() < -50
        assert 50 < weights.max() <= 63


@pytest.mark.parametrize("base", ["int8-dynamic", "int8-static-u8s8", "int8-static-u8u8"])
def test_every_output_channel_has_a_scale_when_it_goes_by_channel(base: str, bert: Source, tmp_path: Path) -> None:
    engine.make(base, bert, tmp_path / "whole.onnx")
    engine.make(f"{base}-per-channel", bert, tmp_path / "channel.onnx")
    assert all(scale.shape == () for _, scale in stored(tmp_path / "whole.onnx").values())
    assert all(scale.shape == (weights.shape[1],) for weights, scale in stored(tmp_path / "channel.onnx").values())


def test_answers_equal_onnxruntimes_own_quantiser_when_dynamic_goes_by_channel(bert: Source, tmp_path: Path) -> None:
    """Tables apart: theirs are symmetric by tensor."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.disable(logging.WARNING)
    apart = _parts.load(bert.fused)
    apart.save(tmp_path / "apart.onnx")
    kinds = {"DefaultTensorType": TensorProto.FLOAT}
    quantize_dynamic(
        tmp_path / "apart.onnx",
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options=kinds,
    )
    logging.disable(logging.NOTSET)
    ours = apart.copy()
    tables = [node.name for node in ours.nodes if node.op_type == "Gather"]
    _dynamic.quantize(ours, schemes.parse("int8-dynamic-per-channel"), tables)
    ours.save(tmp_path / "ours.onnx")
    np.testing.assert_allclose(answers(tmp_path / "ours.onnx", texts(5)), answers(tmp_path / "theirs.onnx", texts(5)), atol=2e-3)


def kernel_times(file: Path, feeds: dict[str, np.ndarray], folder: Path, signed: bool = False) -> Counter[str]:
    """Microseconds by operator of the graph as ONNX Runtime runs it; with `signed`, as on ARM, where signed activations need not be moved."""
    ort = runtime.onnxruntime()
    options = ort.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    options.add_session_config_entry("session.qdqisint8allowed", str(int(signed)))
    session = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    for _ in range(5):
        session.run(None, feeds)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    found: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            found[event["args"]["op_name"]] += event["dur"]
    return found


@pytest.mark.parametrize("scheme", STATIC)
@pytest.mark.parametrize("graph", ["fused", "plain"])
def test_products_are_integer_kernels_when_static(scheme: str, graph: str, bert: Source, tmp_path: Path) -> None:
    start = bert if graph == "fused" else source(bert.plain, bert.plain, texts)
    engine.make(scheme, start, tmp_path / "model.onnx")
    # x86 keeps signed activations that several operators read in fp32: queries, keys and values of an attention that is not fused
    times = kernel_times(tmp_path / "model.onnx", texts(1), tmp_path, signed=graph == "plain" and "s8s8" in scheme)
    products = sum(times[name] for name in PRODUCTS)
    assert products > 0
    assert sum(times[name] for name in PRODUCTS[4:]) >= 0.95 * products


def test_four_bits_are_what_numpy_makes_of_them(bert: Source, tmp_path: Path) -> None:
    """The 4-bit file's own numbers, dequantised by hand, in the fp32 graph: its answers are the 4-bit file's, but for activations in int8."""
    engine.make("int4-weights", bert, tmp_path / "four.onnx")
    apart = _parts.load(bert.fused)
    model = onnx.load(tmp_path / "four.onnx")
    arrays = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = {node.name: node for node in apart.nodes}
    seen = Counter()
    for node in model.graph.node:
        if node.op_type == "MatMulNBits":
            size = {entry.name: entry.i for entry in node.attribute}
            assert (size["block_size"], size["accuracy_level"], size["bits"]) == (32, 4, 4)
            packed, scale = (numpy_helper.to_array(arrays[name]) for name in node.input[1:3])
            numbers = np.stack([packed & 15, packed >> 4], axis=-1).reshape(size["N"], -1, 32).astype(np.float32) - 8
            dense = (numbers * scale.reshape(size["N"], -1, 1)).reshape(size["N"], -1)[:, : size["K"]].T
            index = 1
        elif node.op_type == "GatherBlockQuantized":
            numbers = numpy_helper.to_array(arrays[node.input[0]]).astype(np.float32)
            scale = np.repeat(numpy_helper.to_array(arrays[node.input[2]]), 32, axis=1)
            dense, index = numbers * scale[:, : numbers.shape[1]], 0
        else:
            continue
        seen[node.op_type] += 1
        old = apart.array(nodes[node.name].input[index])
        step = np.abs(old).max() / 8
        assert np.abs(dense - old).max() <= step
        nodes[node.name].input[index] = apart.constant(f"{node.name}_dense", dense.astype(np.float32))
    assert seen == {"MatMulNBits": 10, "GatherBlockQuantized": 2}
    apart.save(tmp_path / "dense.onnx")
    assert divergence(tmp_path / "four.onnx", tmp_path / "dense.onnx", texts(3)) < 0.01


def test_answers_equal_the_fused_graphs_when_it_is_taken_apart(bert: Source, tmp_path: Path) -> None:
    graph = _parts.load(bert.fused)
    graph.save(tmp_path / "apart.onnx")
    for rows, length in ((1, 3), (5, 16), (2, 31)):
        feeds = texts(rows, rows, length)
        np.testing.assert_allclose(answers(tmp_path / "apart.onnx", feeds), answers(bert.fused, feeds), atol=1e-5)
    kinds = Counter(node.op_type for node in graph.nodes)
    assert kinds["Attention"] == kinds["EmbedLayerNormalization"] == kinds["Gemm"] == 0
    assert len(_parts.weighted(graph)) == 12


def test_one_shape_takes_the_plain_graph_and_no_zero_points_of_weights(bert: Source, tmp_path: Path) -> None:
    shapes = {"batch": 1, "sequence": 16}
    plain, fused = (graphs.fixed(file, tmp_path / file.name, shapes) for file in (bert.plain, bert.fused))
    fixed = source(plain, fused, lambda seed: texts(seed, 1))
    engine.make("int8-static-s8s8", fixed, tmp_path / "out.onnx")
    model = onnx.load(tmp_path / "out.onnx")
    assert all(node.domain == "" for node in model.graph.node)
    zeros = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name.endswith("_zero") and "embeddings" not in tensor.name]
    assert len(zeros) > 20
    assert all((zero == 0).all() for zero in zeros if zero.dtype == np.int8)


def test_weights_beside_the_graph_are_read_and_left_alone(bert: Source, tmp_path: Path) -> None:
    onnx.save(onnx.load(bert.fused), tmp_path / "fused.onnx", save_as_external_data=True, location="fused.data", size_threshold=0)
    before = sorted(file.name for file in tmp_path.iterdir())
    start = source(tmp_path / "fused.onnx", tmp_path / "fused.onnx", texts)
    for scheme in ("fp32", "fp16", "int4-weights", "int8-dynamic", "int8-static-u8s8"):
        out = tmp_path / "out"
        out.mkdir(exist_ok=True)
        engine.make(scheme, start, out / f"{scheme}.onnx")
        assert divergence(out / f"{scheme}.onnx", bert.fused, texts(2)) <= bound(scheme)
    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == before


def test_weights_lie_beside_the_graph_when_they_are_too_many(bert: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedistill.graphs.LARGE", 10_000)
    engine.make("int8-dynamic", bert, tmp_path / "large.onnx")
    assert (tmp_path / "large.onnx.data").stat().st_size > (tmp_path / "large.onnx").stat().st_size
    assert divergence(tmp_path / "large.onnx", bert.fused, texts(2)) <= EIGHT


# ── calibration ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_calibration_runs_once_for_a_source_and_a_method(bert: Source, tmp_path: Path) -> None:
    started: list[int] = []

    def calibration() -> Any:
        started.append(1)
        return iter([texts(0)])

    counted = source(bert.plain, bert.fused, texts, calibration=calibration)
    for scheme in ("int8-static-u8s8", "int8-static-u8u8-per-channel", "int8-static-s8s8-mixed"):
        engine.make(scheme, counted, tmp_path / "model.onnx")
    assert len(started) == 1
    engine.make("int8-static-u8s8-percentile", counted, tmp_path / "model.onnx")
    assert len(started) == 3  # the ends, then what lies between them


def test_there_is_a_reason_when_nothing_calibrates(bert: Source, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no calibration inputs"):
        engine.make("int8-static-u8s8", source(bert.plain, bert.fused, texts, calibration=lambda: iter([])), tmp_path / "model.onnx")


def calibrate(values: np.ndarray, method: str, folder: Path) -> tuple[float, float]:
    """The range of an input that a graph hands through."""
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["z"]), helper.make_node("Neg", ["z"], ["y"])], "g", value[:1], value[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), folder / "x.onnx")
    batches = [{"x": part.astype(np.float32)} for part in np.array_split(values, 3)]
    return _calibration.ranges(Graph(folder / "x.onnx"), ["z"], lambda: iter(batches), method)["z"]


def test_ranges_are_the_ends_the_percentile_and_the_best_clip(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    values = np.concatenate([random.uniform(-1, 3, 300_000), [50.0, -20.0]])
    assert calibrate(values, "minmax", tmp_path) == (-20.0, 50.0)
    low, high = calibrate(values, "percentile", tmp_path)  # half of 10⁻⁵ of 300,002 numbers on each side: the two outliers
    assert low == pytest.approx(-1, abs=70 / 2048)
    assert high == pytest.approx(3, abs=2 * 70 / 2048)
    low, high = calibrate(values, "entropy", tmp_path)
    assert -20 < low <= -1
    assert 3 <= high < 50
    assert calibrate(np.full(9, 2.0), "minmax", tmp_path) == (0.0, 2.0)  # 0 is always in it


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_macs_are_those_counted_by_hand(bert: Source, tmp_path: Path) -> None:
    """A layer: 16·64·192 projected, 2·16·16·64 between tokens, 16·64·64 behind, 2·16·64·160 hidden. Pooler 64·64, head 64·3.

    Fused, the last layer's behind and hidden are of one token, not of 16.
    """
    layer = 16 * 64 * 192 + 2 * 16 * 16 * 64 + 16 * 64 * 64 + 2 * 16 * 64 * 160
    plain = 2 * layer + 64 * 64 + 64 * 3
    fused = plain - 15 * (64 * 64 + 2 * 64 * 160)
    assert [sum(one.macs for one in _macs.count(file, SIZES)) for file in (bert.plain, bert.fused)] == [plain, fused]
    facts = engine.make("int8-dynamic", bert, tmp_path / "model.onnx")
    assert facts["int8_macs"] == round(1 - 2 * 2 * 16 * 16 * 64 / fused, 4)


def test_macs_of_convolutions_are_kernel_times_answer(tmp_path: Path) -> None:
    file = convolutions(tmp_path / "conv.onnx")
    counted = {one.name: one.macs for one in _macs.count(file, {"batch": 2})}
    assert counted == {"first": 2 * 16 * 16 * 16 * 27, "second": 2 * 16 * 16 * 16 * 144, "head": 2 * 16 * 3}


# ── convolutions ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["int8-static-u8s8", "int8-static-u8u8", "int8-static-u8s8-per-channel", "int8-static-s8s8"])
def test_convolutions_compute_in_integers_when_static(scheme: str, tmp_path: Path) -> None:
    file = convolutions(tmp_path / "conv.onnx")
    engine.make(scheme, source(file, file, pictures), tmp_path / "out.onnx")
    assert divergence(tmp_path / "out.onnx", file, pictures(7)) < 0.01
    times = kernel_times(tmp_path / "out.onnx", pictures(7), tmp_path, signed="s8s8" in scheme)
    assert {"Conv", "Relu", "Add"}.isdisjoint(times)
    assert {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool"} <= set(times)


def test_dynamic_says_why_not_when_there_are_only_convolutions(tmp_path: Path) -> None:
    file = convolutions(tmp_path / "conv.onnx")
    with pytest.raises(ValueError, match="convolutions are for int8-static"):
        engine.make("int8-dynamic", source(file, file, pictures), tmp_path / "out.onnx")


def test_four_bit_tables_say_why_not_when_there_is_no_table(tmp_path: Path) -> None:
    file = convolutions(tmp_path / "conv.onnx")
    with pytest.raises(ValueError, match="the graph has no table that 4 bits could hold"):
        engine.make("int8-dynamic-int4-embeddings", source(file, file, pictures), tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


# ── mixed ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("count", "culprits"), [(12, {"o3"}), (12, {"o0", "o11"}), (150, {"o70", "o71", "o140"})])
def test_only_the_culprits_stay_when_mixed_searches(count: int, culprits: set[str], tmp_path: Path) -> None:
    """Planted: each culprit in int8 diverges by its own share, and it holds without all of them."""
    state: dict[str, Any] = {"kept": frozenset(), "trials": 0}

    def write(kept: frozenset[str]) -> None:
        state.update(kept=kept, trials=state["trials"] + 1)

    planted = Source(
        plain=tmp_path,
        fused=tmp_path,
        weights=None,
        calibration=lambda: iter([]),
        sizes={},
        divergence=lambda file: float(sum(1 + int(name[1:]) / 100 for name in culprits - state["kept"])),
        holds=lambda file: culprits <= state["kept"],
    )
    assert set(_mixed.choose([f"o{index}" for index in range(count)], write, tmp_path, planted)) == culprits
    assert state["kept"] == culprits  # what was written last is what was chosen
    assert state["trials"] <= 64


def sure(file: Path, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Pictures that a graph is sure of, and its decisions."""
    feeds = pictures(123, 4 * count)
    logits = answers(file, feeds)
    ordered = np.sort(logits, axis=1)
    chosen = np.argsort(ordered[:, -2] - ordered[:, -1])[:count]
    return {"pixel_values": feeds["pixel_values"][chosen]}, logits[chosen].argmax(axis=1)


def test_mixed_brings_the_accuracy_back_when_channels_are_outliers(tmp_path: Path) -> None:
    plain, fused = export_vit(tmp_path, outliers=True)
    (tmp_path / "clean").mkdir()
    np.testing.assert_allclose(answers(fused, pictures(1)), answers(export_vit(tmp_path / "clean", outliers=False)[1], pictures(1)), atol=2e-3)
    feeds, labels = sure(fused, 400)

    def accuracy(file: Path) -> float:
        return float((answers(file, feeds).argmax(axis=1) == labels).mean())  # fp32's is 1

    start = source(plain, fused, pictures, lambda file: accuracy(file) >= 0.995)
    engine.make("int8-static-u8s8", start, tmp_path / "ruined.onnx")
    facts = engine.make("int8-static-u8s8-mixed", start, tmp_path / "mixed.onnx")
    assert accuracy(tmp_path / "ruined.onnx") < 0.9
    assert accuracy(tmp_path / "mixed.onnx") >= 0.995
    assert facts["int8_macs"] >= 0.8
    assert 1 <= len(facts["kept_fp32"]) <= 3
    names = {node.name: node for node in _parts.load(fused).nodes}
    assert set(facts["kept_fp32"]) <= set(names)


def test_eight_bits_are_within_half_a_step() -> None:
    weight = np.random.default_rng(0).normal(size=(40, 7)).astype(np.float32) + np.float32(0.5)
    for kind in _weights.TYPES:
        for axis in (None, 1):
            for symmetric in (True, False) if kind[0] == "s8" else (False,):
                small = _weights.eight(weight, kind, axis, symmetric=symmetric)
                back = (small.values.astype(np.float32) - small.zero.astype(np.float32)) * small.scale
                assert np.abs(back - weight).max() <= 0.51 * small.scale.max()
