"""What of a graph is quantised: all weights count, whoever reads them, and a reason names the operators that it is about."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from number_models import FLOAT, branched, einsum, model, node, numbers, recurrent
from onnx import TensorProto

from edgedistill import quantizers, runtime, search
from edgedistill.errors import IntegrityError
from edgedistill.progress import Progress, silent
from edgedistill.quantizers import Source, UnfitError, _coverage, _macs
from edgedistill.quantizers import onnxruntime as engine
from edgedistill.spec import Candidate
from edgedistill.wording import left_in_float


def row(shape: tuple[int, ...], seed: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(seed).normal(size=shape).astype(np.float32)}


def source(made: onnx.ModelProto, folder: Path, shape: tuple[int, ...]) -> Source:
    file = folder / "fp32.onnx"
    onnx.save(made, file)
    rows = [row(shape, seed) for seed in range(8)]
    return Source(
        plain=file, fused=file, weights=None, calibration=lambda: iter(rows), sizes={"n": 1}, divergence=lambda file: 0.0, holds=lambda file: True
    )


def answers(file: Path, shape: tuple[int, ...]) -> Any:
    session = runtime.open_session(file)
    return np.stack([session.run(None, row(shape, 100 + seed))[0] for seed in range(16)])


def noise(file: Path, fp32: Path, shape: tuple[int, ...]) -> float:
    """Mean squared difference as a share of the variance."""
    ours, theirs = answers(file, shape), answers(fp32, shape)
    return float(((ours - theirs) ** 2).mean() / theirs.var())


SEQUENCE = (12, 1, 32)


@pytest.mark.parametrize("scheme", ["int8-dynamic", "int8-dynamic-per-channel-reduced", "int8-dynamic-u8u8", "int8-dynamic-mixed"])
@pytest.mark.parametrize("directions", [1, 2])
def test_lstm_is_as_near_to_fp32_as_onnxruntimes_own_when_dynamic(scheme: str, directions: int, tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    given = source(recurrent("LSTM", directions=directions), tmp_path, SEQUENCE)
    facts = engine.make(scheme, given, tmp_path / "ours.onnx")
    quantize_dynamic(str(given.plain), str(tmp_path / "theirs.onnx"), op_types_to_quantize=["LSTM"])
    assert "DynamicQuantizeLSTM" in {one.op_type for one in onnx.load(str(tmp_path / "ours.onnx")).graph.node}
    assert noise(tmp_path / "ours.onnx", given.plain, SEQUENCE) <= 4 * noise(tmp_path / "theirs.onnx", given.plain, SEQUENCE)
    small = "uint8" if "u8u8" in scheme else "int8"
    assert facts["weights"] == {"bytes": {small: 4 * directions * (4 * 96 * (32 + 96) + 96 * 4)}, "left": [], "left_more": 0}
    assert facts["int8_macs"] == 1.0
    assert left_in_float(scheme, facts) == ""


@pytest.mark.parametrize(("kind", "gates"), [("GRU", 3), ("RNN", 1)])
def test_weights_that_stay_float_are_named_when_they_are_most(kind: str, gates: int, tmp_path: Path) -> None:
    """ONNX Runtime has no integer GRU: of 96 · 4 and gates · 96 · (32 + 96) numbers the first are int8."""
    facts = engine.make("int8-dynamic", source(recurrent(kind), tmp_path, SEQUENCE), tmp_path / "out.onnx")
    small, large = 4 * 96 * 4, 4 * gates * 96 * (32 + 96)
    assert facts["weights"]["bytes"] == {"fp32": large, "int8": small}
    name = kind.lower()
    assert facts["weights"]["left"] == [{"node": f"{name}_0", "operator": kind, "bytes": large}]
    share, size = {"GRU": ("1.0%", "0.147 MB"), "RNN": ("3.0%", "49.2 kB")}[kind]
    assert left_in_float("int8-dynamic", facts) == f"{share} of the weights' bytes are int8; the rest stays float in {name}_0 ({kind}, {size})"
    assert facts["int8_macs"] < 0.01


def test_warning_and_note_are_given_when_little_is_quantised(tmp_path: Path) -> None:
    from test_foreign import in_process

    from edgedistill.faces.foreign import _row

    found = in_process(tmp_path, recurrent("GRU"), scheme="int8-dynamic")
    told = "1.0% of the weights' bytes are int8; the rest stays float in gru_0 (GRU, 0.147 MB)"
    assert f"int8-dynamic: {told}" in found["notes"]
    assert _row(found["candidates"][0]).endswith(told)
    assert told in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_weights_inside_of_a_loop_are_counted_and_named(tmp_path: Path) -> None:
    facts = engine.make("int8-dynamic", source(branched("Loop"), tmp_path, (1, 64)), tmp_path / "out.onnx")
    assert facts["weights"]["bytes"] == {"int8": 4 * (64 * 32 + 32 * 4), "fp32": 4 * 32 * 32}
    assert facts["weights"]["left"] == [{"node": "loop/turn", "operator": "MatMul", "bytes": 4 * 32 * 32}]


def test_four_bits_count_as_what_they_stand_for(tmp_path: Path) -> None:
    """64 · 32 numbers in two a byte are 8192 bytes of fp32, whatever they take here."""
    made = model([node("MatMul", ["x", "w"], ["y"], "product")], [1, 64], [1, 32], {"w": numbers((64, 32))})
    facts = engine.make("int4-weights", source(made, tmp_path, (1, 64)), tmp_path / "out.onnx")
    assert facts["weights"] == {"bytes": {"int4": 4 * 64 * 32}, "left": [], "left_more": 0}


def test_macs_of_other_operators_are_those_counted_by_hand(tmp_path: Path) -> None:
    """An LSTM over 12 steps; an Einsum of 64 to 8; 8 · 8 · 8 numbers that meet 16 · 3 · 3 of a kernel each."""
    turned = model([node("ConvTranspose", ["x", "k"], ["y"], "up")], [1, 8, 8, 8], [1, 16, 10, 10], {"k": numbers((8, 16, 3, 3))})
    for made, wanted in (
        (recurrent("LSTM", directions=2), {"lstm_0": 2 * 12 * 4 * 96 * (32 + 96), "head": 192 * 4}),
        (einsum(FLOAT), {"product": 64 * 8}),
        (turned, {"up": 8 * 8 * 8 * 16 * 9}),
    ):
        onnx.save(made, tmp_path / "model.onnx")
        assert {one.name: one.macs for one in _macs.count(tmp_path / "model.onnx", {"n": 1})} == wanted


def looked_up() -> onnx.ModelProto:
    """Nothing but a table and its mean: no product at all."""
    nodes = [node("Cast", ["x"], ["ids"], to=TensorProto.INT64), node("Gather", ["t", "ids"], ["g"], "look")]
    return model([*nodes, node("ReduceMean", ["g"], ["y"], "mean", axes=[1], keepdims=0)], [1, 4], [1, 64], {"t": numbers((100, 64))})


@pytest.mark.parametrize("scheme", ["int8-dynamic", "int8-static-u8s8"])
def test_table_alone_is_quantised_when_nothing_multiplies(scheme: str, tmp_path: Path) -> None:
    facts = engine.make(scheme, source(looked_up(), tmp_path, (1, 4)), tmp_path / "out.onnx")
    assert facts["weights"]["bytes"] in ({"int8": 4 * 100 * 64}, {"uint8": 4 * 100 * 64})
    assert (tmp_path / "out.onnx").stat().st_size < (tmp_path / "fp32.onnx").stat().st_size / 3


def pairs() -> onnx.ModelProto:
    """Products of two activations, and a small weight."""
    nodes = [
        node("Transpose", ["x"], ["t"], "turn"),
        node("MatMul", ["x", "t"], ["s"], "scores"),
        node("MatMul", ["s", "w"], ["y"], "head"),
    ]
    return model(nodes, [64, 64], [64, 2], {"w": numbers((64, 2))})


@pytest.mark.parametrize(
    ("made", "shape", "scheme", "told"),
    [
        (lambda: einsum(FLOAT), (1, 64), "int8-static-u8s8", "that int8-static-u8s8 makes integers of: its weights are in product"),
        (lambda: einsum(FLOAT), (1, 64), "int8-dynamic", "its weights are in product (Einsum)"),
        (lambda: model([node("Relu", ["x"], ["y"])], [1, 8], [1, 8], {}), (1, 8), "int8-static-u8s8", "it has no weights"),
        (pairs, (64, 64), "int8-dynamic", "most are in scores (MatMul, 97.0%)"),
    ],
)
def test_reason_says_what_is_true_of_this_model(made: Any, shape: tuple[int, ...], scheme: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UnfitError) as caught:
        engine.make(scheme, source(made(), tmp_path, shape), tmp_path / "out.onnx")
    assert told in str(caught.value)
    assert "convolutions" not in str(caught.value)


@pytest.mark.parametrize("inner", ["If", "Loop", "Scan"])
@pytest.mark.parametrize("scheme", ["int8-dynamic", "int8-static-u8s8", "int4-weights", "fp16", "fp32"])
def test_graphs_inside_of_operators_go_through_every_engine(inner: str, scheme: str, tmp_path: Path) -> None:
    given = source(branched(inner), tmp_path, (1, 64))
    engine.make(scheme, given, tmp_path / "out.onnx")
    assert noise(tmp_path / "out.onnx", given.plain, (1, 64)) < (0.1 if scheme == "int4-weights" else 0.02)


def broken(scheme: str, source: Any, out: Path) -> Any:
    """An engine that stumbles over a node, as tools do."""
    for node in onnx.load(str(source.fused)).graph.node:  # noqa: F402  a tool's own name for it is what counts
        if node.op_type == "Loop":
            return [][int(node.input[0] != "")]
    raise KeyError("value_info")


def tried(engine_make: Any, made: onnx.ModelProto, folder: Path) -> Any:
    """How a search of one scheme and fp32 tells of an engine that breaks off."""
    given = source(made, folder, (1, 64))
    planted = SimpleNamespace(__name__="x.planted", make=engine_make)

    def judge(file: Path, first: int | None = None) -> search.Judged:
        return search.Judged(score=1.0, agreement=1.0, divergence=0.0, rows=first or 256, problem="")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizers, "engine_of", lambda scheme: planted if scheme != "fp32" else engine)
        limits = search.Limits(agreement=0.99, bytes=1e9)
        found = search.find(["int8-dynamic", "fp32"], given, judge, limits, None, folder, Progress(silent, "quantize"))
    return found.candidates[0]


def test_reason_names_the_operator_when_an_engine_breaks_off_at_it(tmp_path: Path) -> None:
    one = tried(broken, branched("Loop"), tmp_path)
    assert one.reason == "not made: a tool broke off at loop (Loop) with IndexError"
    assert one.facts == {"error": "IndexError: list index out of range"}


def test_reason_names_operators_with_graphs_inside_when_nothing_else_is_known(tmp_path: Path) -> None:
    def make(scheme: str, source: Any, out: Path) -> Any:
        return dict(zip((), (1,), strict=True))

    one = tried(make, branched("Scan"), tmp_path)
    assert one.reason == "not made: a tool broke off with ValueError; the graph has scan (Scan), with graphs inside"
    assert "zip() argument 2 is longer" in one.facts["error"]


def test_reason_names_the_operator_when_a_file_does_not_load(tmp_path: Path) -> None:
    """MatMulInteger takes no floats: ONNX Runtime says so in words of its own."""
    onnx.save(model([node("MatMulInteger", ["x", "w"], ["y"], "product")], [1, 64], [1, 8], {"w": numbers((64, 8))}), tmp_path / "out.onnx")
    with pytest.raises(IntegrityError) as caught:
        runtime.open_session(tmp_path / "out.onnx")
    said = quantizers.said(caught.value, tmp_path / "out.onnx")
    assert said == "product (MatMulInteger) does not take 'x' as tensor(float)"


def test_operator_and_its_fault_are_said_when_a_run_fails(tmp_path: Path) -> None:
    onnx.save(looked_up(), tmp_path / "model.onnx")
    with pytest.raises(Exception, match="out of data bounds") as caught:
        onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"x": np.full((1, 4), 500, np.float32)})
    said = runtime.said(caught.value)
    assert said.startswith("look (Gather) does not run: ")
    assert "out of data bounds, idx=500" in said


def test_zeros_are_counted_as_nothing_when_a_file_has_no_weights(tmp_path: Path) -> None:
    onnx.save(model([node("Relu", ["x"], ["y"])], [1, 8], [1, 8], {}), tmp_path / "model.onnx")
    assert _coverage.weights(tmp_path / "model.onnx") == {"bytes": {}, "left": [], "left_more": 0}


def test_scheme_that_quantised_little_is_passed_over_when_another_is_as_small() -> None:
    """Latency is unmeasured: order decides, but not for a file that is int8 by name alone."""

    def one(scheme: str, size: int, small: int) -> Candidate:
        left = [{"node": "gru", "operator": "GRU", "bytes": 4000 - small}]
        facts = {"weights": {"bytes": {"int8": small, "fp32": 4000 - small}, "left": left if small < 4000 else [], "left_more": 0}}
        return Candidate(scheme=scheme, engine="e", status="lost", reason="", bytes=size, score=1.0, agreement=1.0, facts=facts)

    fp32 = replace(one("fp32", 4000, 0), facts={})
    placed = {found.scheme: found for found in search.choose([one("int8-dynamic", 3990, 20), fp32])}
    assert placed["fp32"].chosen
    assert placed["int8-dynamic"].reason.startswith("lost: it quantises little, and fp32 is as small; 0.998 × the bytes of fp32")
    assert search.choose([one("int8-dynamic", 2700, 1800), fp32])[0].chosen  # 45 % are worth having
    assert search.choose([one("int8-dynamic", 1100, 4000), fp32])[0].chosen
