"""The engine on neural-compressor: its numbers are on the graph, the graph computes in integers, and its tuning has the say."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import make_teacher
from onnx import numpy_helper

from edgedistill import quantizers, runtime, search, surgery
from edgedistill.errors import StageError
from edgedistill.exporters import torchscript
from edgedistill.progress import Progress
from edgedistill.quantizers import Source, _qdq
from edgedistill.quantizers import neural_compressor as engine
from edgedistill.tasks import text_classification as task
from edgedistill.training import models

LAYERS = 2
LINEAR = 6 * LAYERS + 2  # maps of a BERT: six a layer, the pooler and the head


def feeds(rows: int, length: int, seed: int = 0) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    mask = np.ones((rows, length), np.int64)
    mask[0, length - 2 :] = 0
    return {"input_ids": draw.integers(5, 60, (rows, length)), "attention_mask": mask, "token_type_ids": np.zeros((rows, length), np.int64)}


CALIBRATION = [feeds(4, 7, 1), feeds(4, 12, 2), feeds(1, 5, 3)]  # the last batch is short
HELD_OUT = [feeds(3, 9, 4), feeds(1, 15, 5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT with one head pruned out of each layer's two, and its export."""
    import torch

    place = make_teacher(tmp_path_factory.mktemp("student"), layers=LAYERS)
    model = models.load_model(task.AUTO_CLASS, place)
    surgery.change(model.config, heads=1, head_size=16)
    torch.manual_seed(1)
    student = surgery.construct(type(model), model.config)
    with torch.no_grad():
        for weight in student.parameters():
            weight.mul_(8.0)  # of a network that was trained, rather than of one that barely answers
    student.save_pretrained(place, safe_serialization=True)
    student = models.load_model(task.AUTO_CLASS, place).eval()
    torchscript.export(student, task.forward, feeds(2, 7), place, opset=17, ir_version=10)
    return place


def source_of(folder: Path, *, bound: float = 1.0, changed: Path | None = None) -> Source:
    def answers(file: Path) -> Any:
        session = runtime.open_session(file)
        return np.concatenate([session.run(None, feed)[0] for feed in HELD_OUT])

    def divergence(file: Path) -> float:
        fp32 = answers(folder / "model.onnx")
        return float(((answers(file) - fp32) ** 2).mean() / fp32.var())

    return Source(
        plain=changed or folder / "model.onnx",
        fused=folder / "fused.onnx",
        weights=folder,
        calibration=lambda: iter(CALIBRATION),
        sizes={"batch": 1, "sequence": 16},
        divergence=divergence,
        holds=lambda file: divergence(file) < bound,
        torch_model=lambda: models.load_model(task.AUTO_CLASS, folder).eval(),
        forward=task.forward,
    )


@pytest.fixture(scope="module")
def made(folder: Path) -> dict[str, Any]:
    source = source_of(folder)
    return {"file": folder / "int8-pt2e.onnx", "source": source, **engine.make("int8-pt2e", source, folder / "int8-pt2e.onnx")}


def test_only_its_own_scheme_is_made_when_asked_without_torch() -> None:
    script = """
import sys
from edgedistill.quantizers import neural_compressor as engine
from edgedistill import schemes
assert [name for name in schemes.names() if engine.makes(name)] == ["int8-pt2e"]
assert not {"torch", "neural_compressor", "onnx"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert quantizers.engine_of("int8-pt2e") is engine


def test_graph_has_the_same_face_when_made(folder: Path, made: dict[str, Any]) -> None:
    def face(file: Path) -> Any:
        graph = onnx.load(str(file)).graph
        shape = lambda entry: [one.dim_param or one.dim_value for one in entry.type.tensor_type.shape.dim]  # noqa: E731  shorter than a nested def
        return [(entry.name, shape(entry)) for entry in [*graph.input, *graph.output]]

    ours, plain = onnx.load(str(made["file"])), onnx.load(str(folder / "model.onnx"))
    onnx.checker.check_model(ours, full_check=True)
    assert face(made["file"]) == face(folder / "model.onnx")
    assert face(made["file"])[-1] == ("logits", ["batch", 3])
    assert ours.ir_version <= plain.ir_version
    assert [entry.version for entry in ours.opset_import if not entry.domain] == [17]


def test_every_linear_map_runs_in_integers_when_loaded(made: dict[str, Any], tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(str(made["file"]), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node)
    assert kinds["MatMulIntegerToFloat"] + kinds["QGemm"] == LINEAR
    assert kinds["MatMul"] + kinds["FusedMatMul"] == 2 * LAYERS, "what stays fp32 is attention, which has no weights"
    assert made["kept_fp32"] == []


def test_share_of_integer_products_is_what_shapes_say(made: dict[str, Any]) -> None:
    """By hand, of 16 tokens of width 32 with one head of 16: a layer is 3 maps 32·16, one 16·32, two 32·64; attention twice 16·16·16."""
    tokens, layer = 16, 4 * 32 * 16 + 2 * 32 * 64
    linear = LAYERS * tokens * layer + 32 * 32 + 32 * 3
    attention = LAYERS * 2 * tokens * tokens * 16
    assert made["int8_macs"] == pytest.approx(linear / (linear + attention), abs=1e-4)


def test_numbers_are_neural_compressors_when_prepared_beside_it(folder: Path, made: dict[str, Any]) -> None:
    """Its own prepare, calibrate, convert, without tuning: every scale and zero point of the converted model is on the graph."""
    import torch
    from neural_compressor.torch.quantization import StaticQuantConfig, convert, prepare

    prepared = prepare(engine._captured(made["source"]), StaticQuantConfig(**engine.WAYS[0]))
    engine._calibrate(prepared, made["source"])
    converted = convert(prepared)
    theirs = {
        (round(float(node.args[1]), 12), int(node.args[2]))
        for node in converted.graph.nodes
        if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default
    }
    assert len(theirs) == 4 * LAYERS + 2, "query, key and value share what they see"
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(made["file"])).graph.initializer}
    graph = onnx.load(str(made["file"])).graph
    ours = {(held[node.input[1]].item(), held[node.input[2]].item()) for node in graph.node if node.op_type == "QuantizeLinear"}
    assert sorted(zero for _, zero in ours) == sorted(zero for _, zero in theirs)
    assert sorted(scale for scale, _ in ours) == pytest.approx(sorted(scale for scale, _ in theirs), rel=1e-6)
    answers = converted(*(torch.from_numpy(array) for array in HELD_OUT[0].values())).detach().numpy()
    session = runtime.open_session(made["file"])
    fp32 = runtime.open_session(folder / "model.onnx").run(None, HELD_OUT[0])[0]
    gap = np.abs(session.run(None, HELD_OUT[0])[0] - answers).max()
    assert gap < 0.5 * np.abs(answers - fp32).max() + 0.02 * fp32.std(), "nearer to the converted model than that is to fp32: embeddings alone differ"


def test_weights_are_int8_with_their_own_scales_when_kept(folder: Path, made: dict[str, Any]) -> None:
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(made["file"])).graph.initializer}
    plain = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(folder / "model.onnx")).graph.initializer}
    tables = [name for name in held if name.endswith("_u8") and name.removesuffix("_u8") in plain]
    assert len(tables) == 3
    for name in tables:
        stem = name.removesuffix("_u8")
        table, scale = plain[stem], (plain[stem].max() - plain[stem].min()) / 255
        zero = np.rint(-plain[stem].min() / scale)
        assert held[f"{stem}_scale"] == pytest.approx(scale, rel=1e-6)
        assert held[f"{stem}_zero"] == zero
        np.testing.assert_allclose(held[name], np.clip(np.rint(table / held[f"{stem}_scale"]) + zero, 0, 255), atol=0)
    assert not [values for values in held.values() if values.ndim == 2 and values.dtype == np.float32]
    assert made["file"].stat().st_size < 0.75 * (folder / "model.onnx").stat().st_size


def test_tuning_stops_at_the_first_way_that_holds(made: dict[str, Any]) -> None:
    assert [trial["way"] for trial in made["trials"]] == ["minmax, weights per_channel"]
    assert made["trials"][0]["holds"]
    assert 0 < made["trials"][0]["divergence"] < 1
    assert made["calibration"] == "minmax, weights per_channel"


def test_tuning_takes_the_nearest_when_no_way_holds(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = source_of(folder, bound=0.0)
    facts = engine.make("int8-pt2e", source, tmp_path / "out.onnx")
    assert len(facts["trials"]) == len(engine.WAYS) == 3
    taken = facts["trials"][-1]
    assert taken["divergence"] == min(trial["divergence"] for trial in facts["trials"])
    assert source.divergence(tmp_path / "out.onnx") == pytest.approx(taken["divergence"], abs=1e-5)
    assert capfd.readouterr().out == "", "stdout is the answer's, and neural-compressor talks"


def test_candidate_is_out_with_its_package_named_when_that_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "neural_compressor", None)
    for name in [name for name in sys.modules if name.startswith("neural_compressor.")]:
        monkeypatch.setitem(sys.modules, name, None)
    judge: Any = lambda file, first=None: search.Judged(score=1.0, agreement=1.0, divergence=0.0, rows=64, problem="")  # noqa: E731  shorter than a nested def
    limits = search.Limits(agreement=0.9, bytes=1e9)
    found = search.find(["int8-pt2e", "fp32"], source_of(folder), judge, limits, None, tmp_path, Progress(lambda event: None, "quantize"))
    assert found.chosen.scheme == "fp32"
    assert found.candidates[0].engine == "neural-compressor"
    assert found.candidates[0].reason.startswith("not made: the package 'neural_compressor")


def test_onnx_alone_is_refused_when_there_is_no_torch_model(folder: Path, tmp_path: Path) -> None:
    source = source_of(folder)
    bare = Source(**{name: getattr(source, name) for name in ("plain", "fused", "calibration", "sizes", "divergence", "holds")}, weights=None)
    with pytest.raises(StageError, match="came as ONNX"):
        engine.make("int8-pt2e", bare, tmp_path / "out.onnx")


def small(*nodes: Any, **tensors: Any) -> onnx.ModelProto:
    """A graph of an input x [n, 4] and an output y."""
    from onnx import TensorProto, helper

    held = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in tensors.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name, width in (("x", 4), ("y", 3))]
    return helper.make_model(helper.make_graph(list(nodes), "g", ends[:1], ends[1:], held), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Gemm with transB"])
def test_answer_is_integer_arithmetic_when_done_by_hand(kind: str, tmp_path: Path) -> None:
    from onnx import helper

    draw = np.random.default_rng(2)
    weight, bias = draw.normal(size=(3, 4)).astype(np.float32), draw.normal(size=3).astype(np.float32)
    scales = (np.abs(weight).max(axis=1) / 127).astype(np.float32)
    integers = np.rint(weight / scales[:, None]).astype(np.int8)
    inputs = ["x", "w"] if kind == "MatMul" else ["x", "w", "b"]
    options = {"transB": 1} if kind.endswith("transB") else {}
    model = small(helper.make_node(kind.split()[0], inputs, ["y"], **options), w=weight if options else weight.T, b=bias)
    onnx.save(model, str(tmp_path / "plain.onnx"))
    linear = _qdq.Linear(original=weight, integers=integers, scales=scales, seen_scale=0.02, seen_zero=120, seen_signed=False)
    facts = _qdq.write(tmp_path / "plain.onnx", [linear], no_table, tmp_path / "out.onnx", {"batch": 5})
    x = draw.normal(size=(6, 4)).astype(np.float32)
    seen = (np.clip(np.rint(x / np.float32(0.02)) + 120, 0, 255) - 120) * 0.02
    expected = seen @ (integers * scales[:, None]).T + (0 if kind == "MatMul" else bias)
    np.testing.assert_allclose(runtime.open_session(tmp_path / "out.onnx").run(None, {"x": x})[0], expected, atol=1e-3)
    assert facts == {"kept_fp32": [], "int8_macs": 1.0}


def test_operator_stays_when_its_weight_is_no_layers(tmp_path: Path) -> None:
    from onnx import helper

    draw = np.random.default_rng(2)
    first, second = draw.normal(size=(4, 4)).astype(np.float32), draw.normal(size=(4, 3)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "first"], ["h"], name="one"), helper.make_node("MatMul", ["h", "second"], ["y"], name="two")]
    onnx.save(small(*nodes, first=first, second=second), str(tmp_path / "plain.onnx"))
    known = _qdq.Linear(
        original=first.T,
        integers=np.rint(first.T * 20).astype(np.int8),
        scales=np.array([0.05], np.float32),
        seen_scale=0.02,
        seen_zero=0,
        seen_signed=True,
    )
    facts = _qdq.write(tmp_path / "plain.onnx", [known], no_table, tmp_path / "out.onnx", {"batch": 5})
    assert facts == {"kept_fp32": ["two"], "int8_macs": pytest.approx(16 / 28, abs=1e-4)}
    strange = _qdq.Linear(original=first.T + 1, integers=known.integers, scales=known.scales, seen_scale=0.02, seen_zero=0, seen_signed=True)
    with pytest.raises(ValueError, match="no operator of the graph"):
        _qdq.write(tmp_path / "plain.onnx", [strange], no_table, tmp_path / "out.onnx", {"batch": 5})


def no_table(values: Any) -> Iterator[Any]:
    raise AssertionError("there is no embedding here")
