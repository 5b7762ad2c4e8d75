"""Graphs that leave sizes open and run at few of them: sizes that are found, told and pinned, or a sentence that says what to give."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import graph, save
from onnx import TensorProto, helper

from edgedistill.errors import ConfigError
from edgedistill.foreign import look, sizes
from edgedistill.foreign.inputs import Input, draw

node = helper.make_node


def looked(folder: Path, model: onnx.ModelProto, **shapes: list[int]) -> dict[str, Input]:
    """The inputs that a first look finds, by name."""
    file = save(model, folder / "model.onnx")
    found = look.run({"model": str(file), "shapes": shapes, "calibration": "", "not_finite": 0.0}, lambda event: None)
    return {one["name"]: Input(**one) for one in found["inputs"]}


def refused(folder: Path, model: onnx.ModelProto, **shapes: list[int]) -> tuple[str, str]:
    with pytest.raises(ConfigError) as told:
        looked(folder, model, **shapes)
    return str(told.value), told.value.faults[0].hint


def recogniser() -> onnx.ModelProto:
    """Text in a strip of 48 rows [n, 3, ?, w]: pooled over its height, which must then be one."""
    nodes = [node("AveragePool", ["x"], ["pooled"], kernel_shape=[48, 4], strides=[48, 4]), node("Squeeze", ["pooled", "two"], ["y"])]
    model = graph(nodes, {"x": ["n", 3, "?", "w"]}, {"y": ["n", 3, "steps"]}, two=np.array([2]))
    return model


def voice(name: str = "sr") -> onnx.ModelProto:
    """Voice activity: samples [?, ?] in whole frames of 512, a state [2, ?, 8] of one row, and a sample rate of 8000 or 16000."""
    nodes = [
        node("Reshape", ["input", "frame"], ["frames"]),  # [1, 512]
        node("MatMul", ["frames", "w"], ["now"]),
        node("Div", [name, "eight"], ["which"]),
        node("Sub", ["which", "one"], ["at"]),
        node("Gather", ["rates", "at"], ["gain"]),  # two rates are known
        node("Mul", ["now", "gain"], ["told"]),
        node("Reshape", ["state", "twice"], ["before"]),  # [2, 1, 8]
        node("Add", ["before", "told"], ["stateN"]),
    ]
    weights: dict[str, Any] = {"frame": np.array([1, 512]), "twice": np.array([2, 1, 8]), "eight": np.array(8000), "one": np.array(1)}
    weights |= {"w": np.full((512, 8), 0.01, np.float32), "rates": np.float32([1, 2])}
    model = graph(nodes, {"input": [None, None], "state": [2, None, 8], name: []}, {"stateN": [2, None, 8]}, **weights)
    model.graph.input[2].type.tensor_type.elem_type = TensorProto.INT64
    return model


def test_height_is_found_and_told_when_a_recogniser_takes_one_alone(tmp_path: Path) -> None:
    found = looked(tmp_path, recogniser())["x"]
    assert found.sizes[:3] == (1, 3, 48)
    assert found.kind == "image"
    assert f"its open sizes were tried out, and --shape x=1,3,48,{found.sizes[3]} pins them" in found.why


def test_frame_and_state_are_found_and_the_rate_is_16000_when_a_voice_detector_asks(tmp_path: Path) -> None:
    found = looked(tmp_path, voice())
    assert {name: one.sizes for name, one in found.items()} == {"input": (1, 512), "state": (2, 1, 8), "sr": ()}
    assert found["sr"].why == "named a sample rate: 16000"
    drawn = draw(list(found.values()), 3)
    assert (drawn["sr"], drawn["sr"].dtype, drawn["sr"].shape) == (16000, np.int64, ())


def test_rate_is_known_by_its_usual_names_when_it_is_one_number(tmp_path: Path) -> None:
    assert looked(tmp_path, voice("sampling_rate"))["sampling_rate"].kind == "constant"
    assert looked(tmp_path, voice(), input=[1, 512], state=[2, 1, 8])["input"].why == "standard normal"


def test_width_is_that_of_the_weights_when_features_are_open(tmp_path: Path) -> None:
    model = graph([node("MatMul", ["x", "w"], ["y"])], {"x": ["n", "features"]}, {"y": ["n", 2]}, w=np.ones((37, 2), np.float32))
    assert looked(tmp_path, model)["x"].sizes == (1, 37)


def summed() -> onnx.ModelProto:
    """Two inputs of one length, 480 of it: a product with a window, then frames of 160 samples, three of them."""
    nodes = [node("Add", ["a", "b"], ["sum"]), node("Reshape", ["sum", "frames"], ["cut"]), node("MatMul", ["cut", "w"], ["y"])]
    shape: list[Any] = ["n", "samples"]
    return graph(nodes, {"a": shape, "b": shape}, {"y": [3, 2]}, frames=np.array([3, 160]), w=np.ones((160, 2), np.float32))


def test_sizes_are_equal_when_their_names_are(tmp_path: Path) -> None:
    assert {one.sizes for one in looked(tmp_path, summed()).values()} == {(1, 480)}


def test_sizes_of_others_follow_when_one_of_the_same_name_is_given(tmp_path: Path) -> None:
    """2 × 240 samples are three frames too; the ladder alone would not try them."""
    found = looked(tmp_path, summed(), a=[2, 240])
    assert found["b"].sizes == (2, 240)
    assert "tried out" not in found["a"].why + found["b"].why


def test_usual_sizes_stay_when_the_graph_runs_at_them(tmp_path: Path) -> None:
    relu = graph([node("Relu", ["x"], ["y"])], {"x": ["n", "t"]}, {"y": ["n", "t"]})
    found = looked(tmp_path, relu)["x"]
    assert (found.sizes, found.why) == ((1, 64), "standard normal")


def secret() -> onnx.ModelProto:
    """Runs at 7 × 53 = 371 samples alone, which nothing says."""
    nodes = [node("Reshape", ["x", "to"], ["cut"]), node("ReduceMax", ["cut"], ["y"])]
    return graph(nodes, {"x": ["n", "samples"]}, {"y": [1, 1]}, to=np.array([7, 53]))


def test_sizes_to_give_are_named_when_no_size_runs(tmp_path: Path) -> None:
    what, hint = refused(tmp_path, secret())
    assert "does not run on inputs of its own description" in what
    assert "sets of sizes and values that were tried" in what
    assert "--shape x=n,samples" in hint
    assert looked(tmp_path, secret(), x=[1, 371])["x"].sizes == (1, 371)


def shapeless(inner: int) -> onnx.ModelProto:
    return graph([node("MatMul", ["x", "w"], ["y"])], {"x": None}, {"y": None}, w=np.ones((inner, 3), np.float32))


def test_shape_is_taken_when_the_graph_has_none(tmp_path: Path) -> None:
    found = looked(tmp_path, shapeless(20), x=[1, 5, 20])["x"]
    assert (found.sizes, found.shape) == ((1, 5, 20), (None, None, None))


def test_whole_shapes_are_tried_when_the_graph_has_none(tmp_path: Path) -> None:
    found = looked(tmp_path, shapeless(20))["x"]
    assert (found.sizes, found.shape) == ((1, 20), (None, None))
    assert "--shape x=1,20 pins them" in found.why
    picture = graph([node("Conv", ["x", "w"], ["y"])], {"x": None}, {"y": None}, w=np.ones((4, 3, 3, 3), np.float32))
    image = looked(tmp_path, picture)["x"]
    assert (image.sizes, image.kind) == ((1, 3, 224, 224), "image")


def test_number_of_axes_is_asked_for_when_rows_are_given_and_the_graph_has_none(tmp_path: Path) -> None:
    file = save(shapeless(20), tmp_path / "model.onnx")
    np.save(tmp_path / "rows.npy", np.ones((3, 20), np.float32))
    job = {"model": str(file), "shapes": {}, "calibration": str(tmp_path / "rows.npy"), "not_finite": 0.0}
    with pytest.raises(ConfigError, match=r"--shape x: is needed beside --calibration"):
        look.run(job, lambda event: None)
    assert look.run(job | {"shapes": {"x": [1, 20]}}, lambda event: None)["inputs"][0]["sizes"] == (1, 20)


def test_scalar_is_taken_for_a_shape_that_nobody_knew_when_the_graph_does_not_run_on_one(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "to"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    model = graph(nodes, {"x": []}, {"y": [1, 3]}, to=np.array([1, 20]), w=np.ones((20, 3), np.float32))
    assert looked(tmp_path, model)["x"].sizes == (1, 20)
    assert looked(tmp_path, model, x=[4, 5])["x"].sizes == (4, 5)
    gain = graph([node("Mul", ["x", "by"], ["y"])], {"x": []}, {"y": [3]}, by=np.float32([1, 2, 3]))
    assert looked(tmp_path, gain)["x"].sizes == ()


def test_shape_to_give_is_named_when_the_graph_has_none_and_nothing_runs(tmp_path: Path) -> None:
    cut = graph([node("Reshape", ["x", "to"], ["y"])], {"x": None}, {"y": None}, to=np.array([7, 53]))
    assert "--shape x=1,3,224,224" in refused(tmp_path, cut)[1]


def test_calibration_is_asked_for_when_nan_is_the_answer_and_not_other_sizes(tmp_path: Path) -> None:
    nodes = [node("Sub", ["x", "x"], ["zero"]), node("Div", ["zero", "zero"], ["ratio"])]
    what, hint = refused(tmp_path, graph(nodes, {"x": ["n", 4]}, {"ratio": ["n", 4]}))
    assert "it answers NaN or infinity to input 0: 4 NaN of the 4 values of output 'ratio'" in what
    assert "--calibration FILE" in hint
    assert "not_finite" in hint


def test_tries_end_in_time_when_every_dimension_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty states of three open axes each, and an operator that refuses them all."""
    names = [f"s{at}" for at in range(30)]
    nodes = [node("Concat", names, ["all"], axis=0), node("Reshape", ["all", "to"], ["y"])]
    model = graph(nodes, {name: [None, None, None] for name in names}, {"y": [7, 53]}, to=np.array([7, 53]))
    monkeypatch.setattr(sizes, "SECONDS", 0.5)
    started = time.monotonic()
    assert "sets of sizes and values that were tried" in refused(tmp_path, model)[0]
    assert time.monotonic() - started < 10
