"""What numbers a foreign model is in: quantised ones are refused by name, other floats are cast where that changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_models import save
from number_models import DOUBLE, FLOAT, HALF, branched, einsum, layers, model, node, numbers
from onnx import TensorProto, numpy_helper
from test_foreign import in_process, manifest

from edgedistill.errors import ConfigError
from edgedistill.foreign import precision


def bytes_of(shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(0).integers(-100, 100, shape).astype(np.int8)


def dynamic() -> onnx.ModelProto:
    """Made by ONNX Runtime's own quantiser."""
    from onnxruntime.quantization import quant_utils, quantize_dynamic

    assert quant_utils
    file = Path("fp32.onnx")
    quantize_dynamic(save(layers(), file), "int8.onnx")
    return onnx.load("int8.onnx")


def weights_apart() -> onnx.ModelProto:
    """QDQ of the weight alone, inside a branch."""
    made = branched("If")
    side = next(one for one in made.graph.node if one.op_type == "If").attribute[0].g
    side.initializer.extend([numpy_helper.from_array(bytes_of((32, 32)), "in_int"), numpy_helper.from_array(np.array(0.01, np.float32), "scale")])
    side.node.insert(0, node("DequantizeLinear", ["in_int", "scale"], ["in_float"], "restore"))
    side.node[1].input[1] = "in_float"
    return made


def by_hand() -> onnx.ModelProto:
    """Bytes, cast and scaled."""
    nodes = [node("Cast", ["w"], ["f"], to=FLOAT), node("Mul", ["f", "s"], ["m"]), node("MatMul", ["x", "m"], ["y"])]
    return model(nodes, [1, 64], [1, 32], {"w": bytes_of((64, 32)), "s": np.float32(0.01)})


def four_bits() -> onnx.ModelProto:
    nodes = [node("MatMulNBits", ["x", "w", "s"], ["y"], "packed", domain="com.microsoft", K=64, N=32, bits=4, block_size=32)]
    return model(nodes, [1, 64], [1, 32], {"w": np.zeros((32, 2, 16), np.uint8), "s": np.ones(64, np.float32)})


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (dynamic, ["DynamicQuantizeLinear (2 ×)", "MatMulInteger (2 ×)"]),
        (weights_apart, ["DequantizeLinear (1 ×)"]),
        (by_hand, ["Cast of weights in 8 bits (1 ×)"]),
        (four_bits, ["MatMulNBits (1 ×)"]),
    ],
)
def test_operators_are_counted_when_the_model_is_quantised_already(
    made: Callable[[], onnx.ModelProto], told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is quantised already") as caught:
        precision.refuse_quantised(Path("model.onnx"), made())
    assert all(part in str(caught.value) for part in told)
    assert "quantise the fp32 model that it was made from" in caught.value.hint


def test_exit_is_2_when_an_int8_model_is_to_be_quantised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"MatMulInteger \(2 ×\)") as caught:
        in_process(tmp_path / "again", dynamic())
    assert caught.value.exit_code == 2


def test_model_is_taken_when_only_its_pictures_are_bytes() -> None:
    nodes = [node("DequantizeLinear", ["x", "s", "z"], ["f"]), node("MatMul", ["f", "w"], ["y"])]
    weights = {"s": np.float32(1 / 255), "z": np.uint8(0), "w": numbers((64, 8))}
    precision.refuse_quantised(Path("model.onnx"), model(nodes, [1, 64], [1, 8], weights, (TensorProto.UINT8, FLOAT)))


def autocast() -> onnx.ModelProto:
    """Weights in fp32, the product in fp16, as torch's autocast exports."""
    nodes = [
        node("Cast", ["x"], ["xh"], to=HALF),
        node("Cast", ["w"], ["wh"], to=HALF),
        node("MatMul", ["xh", "wh"], ["m"], "product"),
        node("Cast", ["m"], ["y"], to=FLOAT),
    ]
    return model(nodes, [1, 64], [1, 8], {"w": numbers((64, 8))})


def island() -> onnx.ModelProto:
    """One small operator in fp16, which profiles forbid, and all else in fp32."""
    nodes = [node("MatMul", ["x", "w"], ["m"]), node("Cast", ["m"], ["h"], to=HALF), node("Tanh", ["h"], ["t"]), node("Cast", ["t"], ["y"], to=FLOAT)]
    return model(nodes, [1, 64], [1, 8], {"w": numbers((64, 8))})


def kept_as_half() -> onnx.ModelProto:
    """Weights in fp16, cast when they are read."""
    return model([node("Cast", ["w"], ["f"], to=FLOAT), node("MatMul", ["x", "f"], ["y"])], [1, 64], [1, 8], {"w": numbers((64, 8), 0, HALF)})


def looped() -> onnx.ModelProto:
    """Everything in fp64, a Loop with its graph too."""
    made = branched("Loop")
    body = next(one for one in next(one for one in made.graph.node if one.op_type == "Loop").attribute if one.name == "body").g
    for value in (*made.graph.input, *made.graph.output, body.input[2], body.output[1]):
        value.type.tensor_type.elem_type = DOUBLE
    for tensor in made.graph.initializer:
        if tensor.data_type == FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
    return made


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (layers, ""),
        (lambda: layers(HALF), "fp16"),
        (lambda: layers(DOUBLE), "fp64"),
        (einsum, "fp64"),
        (autocast, "fp16"),
        (kept_as_half, "fp16"),
        (island, "fp16"),
        (looped, "fp64"),
    ],
)
def test_cast_answers_as_the_original_and_keeps_its_types_when_made(made: Callable[[], onnx.ModelProto], kind: str) -> None:
    """Both are run here; the largest relative error of one fp16 number is 2⁻¹¹."""
    original, changed = made(), made()
    onnx.checker.check_model(original)
    assert precision.kinds(original).cast == kind
    precision.in_fp32(changed)
    onnx.checker.check_model(changed, full_check=True)
    assert precision.kinds(changed).cast == ""
    assert {one.data_type for one in changed.graph.initializer if one.data_type in precision.FLOATS} == {FLOAT}
    sessions = [onnxruntime.InferenceSession(one.SerializeToString()) for one in (original, changed)]
    types = [[one.type for one in (*session.get_inputs(), *session.get_outputs())] for session in sessions]
    assert types[0] == types[1]
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16}[types[0][0]]
    feeds = {"x": np.random.default_rng(9).normal(size=(1, 64)).astype(dtype)}
    theirs, ours = (session.run(None, feeds)[0].astype(np.float64) for session in sessions)
    assert np.abs(ours - theirs).max() <= (1e-5 if kind in ("", "fp64") else 20 * 2.0**-11) * max(1, np.abs(theirs).max())


def test_a_few_other_floats_stay_and_are_named_when_the_rest_is_fp32() -> None:
    nodes = [
        node("Cast", ["x"], ["wide"], "widen", to=DOUBLE),
        node("Round", ["wide"], ["r"], "whole"),
        node("Cast", ["r"], ["f"], "narrow", to=FLOAT),
    ]
    found = precision.kinds(model([*nodes, node("MatMul", ["f", "w"], ["y"], "product")], [1, 64], [1, 8], {"w": numbers((64, 8))}))
    assert found.cast == ""
    assert precision.remark(found) == "beside fp32 the model computes widen (Cast) in fp64, whole (Round) in fp64; these stay as they are"


def test_masks_become_the_largest_number_when_fp32_does_not_reach_them() -> None:
    nodes = [node("Add", ["x", "mask"], ["m"]), node("Softmax", ["m"], ["y"])]
    made = model(nodes, [1, 2], [1, 2], {"mask": np.array([0.0, -1.7e308])}, (DOUBLE, DOUBLE))
    precision.in_fp32(made)
    answer = onnxruntime.InferenceSession(made.SerializeToString()).run(None, {"x": np.zeros((1, 2))})[0]
    assert answer.tolist() == [[1.0, 0.0]]


def test_bundle_says_what_was_cast_when_the_original_is_fp16(tmp_path: Path) -> None:
    from edgedistill.bundle.reader import open_bundle
    from edgedistill.faces.foreign import _row
    from edgedistill.measure.report import make_report

    found = in_process(tmp_path, layers(HALF), scheme="fp32")
    (only,) = found["candidates"]
    assert _row(only).startswith("fp32 (cast from fp16) ")
    assert only["agreement"] == 1.0
    assert any(note.startswith("the original computes in fp16: it was cast to fp32") for note in found["notes"])
    assert [one["dtype"] for one in (*manifest(tmp_path / "out")["inputs"], *manifest(tmp_path / "out")["outputs"])] == ["float16", "float16"]
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "left in fp32 (cast from fp16)" in readme
    assert "compare with the fp16 original" in readme
    assert {one.name: one.title for one in make_report(open_bundle(tmp_path / "out"), None).subjects}["original"] == "fp16, measured in fp32"


def test_exit_is_2_when_fp32_is_not_wide_enough_for_an_fp64_model(tmp_path: Path) -> None:
    """x + 10⁹ − 10⁹ is x in fp64, and a multiple of 64 in fp32."""
    nodes = [node("Add", ["x", "far"], ["a"]), node("Sub", ["a", "far"], ["b"]), node("MatMul", ["b", "w"], ["y"])]
    made = model(nodes, [1, 64], [1, 8], {"far": np.array(1e9), "w": numbers((64, 8), 0, DOUBLE)}, (DOUBLE, DOUBLE))
    with pytest.raises(ConfigError, match="computes in fp64, and in fp32 it is another one: output 'y' is off by") as caught:
        in_process(tmp_path, made)
    assert caught.value.exit_code == 2
