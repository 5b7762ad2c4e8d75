"""How answers of other people's models are held against each other: a measure for each kind of output, and what is no number."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import run_cli
from foreign_models import classifier, graph, save, scaled
from onnx import TensorProto, helper

from edgedistill.errors import ConfigError
from edgedistill.foreign import finite
from edgedistill.foreign.fidelity import Fidelity, Judge, problem, summary
from edgedistill.foreign.figures import in_common
from edgedistill.foreign.inputs import Input
from edgedistill.foreign.kinds import Kind, clues, kind_of, named
from edgedistill.foreign.limits import Limits, limits_of
from edgedistill.foreign.original import Original
from edgedistill.foreign.samples import Samples

Rows = list[dict[str, Any]]


def rows_of(*values: Any, name: str = "x") -> Rows:
    return [{name: np.asarray(one, np.float32)} for one in values]


def samples_of(rows: Rows, sizes: tuple[int, ...] = (1, 4), kind: str = "normal") -> Samples:
    inputs = tuple(Input(name=name, dtype="float32", shape=sizes, sizes=sizes, kind=kind, high=0, why="") for name in rows[0])
    return Samples(inputs=inputs, calibration=(), judging=tuple(rows), places=(), facts={})


def judge_of(folder: Path, original: onnx.ModelProto, rows: Rows, limits: Limits = Limits(), classes: tuple[str, ...] = ()) -> Judge:  # noqa: B008  frozen
    file = save(original, folder / "original.onnx")
    return Judge(Original(file, samples_of(rows), 1), original, limits, classes)


def held(folder: Path, original: onnx.ModelProto, other: onnx.ModelProto, rows: Rows, **more: Any) -> tuple[list[Fidelity], str]:
    """The figures of another file, and why it cannot be shipped."""
    judge = judge_of(folder, original, rows, **more)
    judged = judge(save(other, folder / "other.onnx"))
    return judge.records["other"], judged.problem


# what an output is


def kind(name: str, shape: tuple[int, ...], model: onnx.ModelProto | None = None, *, ids: bool = False, asked: Any = None) -> Kind:
    said = clues(model or graph([helper.make_node("Relu", ["x"], [name])], {"x": [1, "t", 4]}, {name: None}))
    inputs = [Input(name="x", dtype="float32", shape=(2, 1, 64), sizes=(2, 1, 64), kind="ids" if ids else "normal", high=0, why="")]
    return kind_of(name, np.zeros(shape, np.float32), said, inputs, asked)


@pytest.mark.parametrize(
    ("name", "shape", "measure", "why"),
    [
        ("y", (1, 2), "argmax", "at most 64"),
        ("y", (1, 10, 9), "argmax", "at most 64"),  # tags of words
        ("y", (1, 5, 1, 1), "argmax", "at most 64"),  # what a pooling leaves of channels
        ("y", (1, 1000), "argmax", "ImageNet"),
        ("y", (1, 384), "near", "nothing says"),
        ("y", (1, 7, 384), "near", "nothing says"),
        ("y", (1, 30522), "near", "nothing says"),  # anchors, where the model reads an image
        ("y", (1, 1), "near", "no largest value"),
        ("y", (3,), "argmax", "at most 64"),
        ("y", (), "near", "no largest value"),
        ("scores", (1, 1, 8, 8), "near", "no largest value"),
        ("scores", (1, 21, 8, 8), "argmax", "'scores'"),
        ("y", (1, 21, 8, 8), "near", "a map of 21"),
        ("start_logits", (1, 384), "argmax", "'logits'"),
        ("speechProbs", (1, 384), "argmax", "'probs'"),
        ("sentence_embedding", (1, 32), "near", "'embedding'"),
        ("class_embeddings", (1, 32), "near", "'embeddings'"),
        ("box_scores", (1, 9, 4), "argmax", "'scores'"),
        ("pred_boxes", (1, 9, 4), "near", "'boxes'"),
        ("stateN", (2, 1, 128), "near", "'state'"),
        ("h1", (2, 1, 64), "near", "sizes of the input 'x'"),
    ],
)
def test_measure_is_that_of_the_kind_when_an_output_looks_so(name: str, shape: tuple[int, ...], measure: str, why: str) -> None:
    found = kind(name, shape)
    assert found.measure == measure
    assert why in found.why


def test_measure_is_argmax_when_ids_go_in_and_a_vocabulary_comes_out() -> None:
    assert kind("y", (1, 5, 30522), ids=True).measure == "argmax"
    assert kind("y", (1, 5, 768), ids=True).measure == "near"


def test_measure_follows_the_operator_when_the_name_says_nothing() -> None:
    softmax = graph([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {"x": [1, 300, 7]}, {"y": [1, 300, 7]})
    found = kind("y", (1, 300, 7), softmax)
    assert (found.measure, found.axis) == ("argmax", 1)
    shaped = [helper.make_node("Softmax", ["x"], ["s"]), helper.make_node("Flatten", ["s"], ["y"])]
    assert kind("y", (1, 300), graph(shaped, {"x": [1, 300]}, {"y": [1, 300]})).measure == "argmax"
    recurrent = graph([helper.make_node("GRU", ["x", "w", "r"], ["", "y"], hidden_size=8)], {"x": [1, 1, 4]}, {"y": [1, 1, 8]})
    assert kind("y", (1, 1, 8), recurrent).measure == "near"


def test_measure_is_near_when_the_output_is_as_long_as_the_input() -> None:
    cleaned = graph([helper.make_node("Relu", ["x"], ["y"])], {"x": [1, "samples"]}, {"y": [1, "samples"]})
    assert "'samples'" in kind("y", (1, 64), cleaned).why


def test_whole_numbers_are_compared_as_such_when_they_come_out() -> None:
    said = clues(scaled(1))
    assert kind_of("y", np.zeros((1, 384), np.int64), said, [], None).measure == "equal"
    assert kind_of("y", np.zeros((1, 384), bool), said, [], None).measure == "equal"


def test_classes_are_those_that_are_named_when_the_user_names_them() -> None:
    assert kind("y", (1, 384), asked=("y",)).measure == "argmax"
    assert kind("logits", (1, 4), asked=("y",)).why == "--classes names others"
    assert kind("logits", (1, 4), asked=()).measure == "near"
    assert kind("y", (1, 1), asked=("y",)).measure == "near"
    assert named(("none",), ["y"]) == ()
    assert named((), ["y"]) is None
    with pytest.raises(ConfigError, match=r"--classes lgits.*no such output"):
        named(("lgits", "y"), ["logits", "y"])


# cosine and SQNR, argmax, equality


def test_cosine_and_sqnr_decide_when_an_output_is_no_list_of_classes(tmp_path: Path) -> None:
    """y = (3, 4, 0, 0) and ŷ = (3, 4, 0.5, 0): SQNR 10 · log10(25 / 0.25) = 20 dB, cosine 25 / √(25 · 25.25) = 0.99504."""
    add = graph([helper.make_node("Add", ["x", "b"], ["embedding"])], {"x": [1, 4]}, {"embedding": [1, 4]}, b=np.zeros(4, np.float32))
    off = graph([helper.make_node("Add", ["x", "b"], ["embedding"])], {"x": [1, 4]}, {"embedding": [1, 4]}, b=np.float32([0, 0, 0.5, 0]))
    rows = rows_of(*[[[3, 4, 0, 0]]] * 8)
    (one,), why = held(tmp_path, add, off, rows)
    assert (one.measure, one.agreement, why) == ("near", None, "")
    assert one.sqnr_db == pytest.approx(20.0)
    assert one.cosine == pytest.approx(25 / math.sqrt(25 * 25.25))
    (one,), why = held(tmp_path, add, off, rows, limits=Limits(sqnr_db=20.5))
    assert "SQNR of 20.0 dB; asked are 0.99 and 20.5 dB" in why
    (one,), why = held(tmp_path, add, off, rows, limits=Limits(cosine=0.996))
    assert "a cosine of 0.9950" in why


def test_place_of_the_largest_value_decides_when_an_output_is_classes(tmp_path: Path) -> None:
    """One of four inputs has its largest value elsewhere, though 20 dB would be held."""
    rows = rows_of([[1, 1.05, 0, 0]], [[0, 5, 1, 1]], [[5, 0, 1, 1]], [[1, 0, 9, 1]])
    (one,), why = held(tmp_path, scaled(1.0), scaled([1.1, 1, 1, 1]), rows)
    assert (one.measure, one.agreement) == ("argmax", 0.75)
    assert "largest value where fp32 has it for 75.00% of the inputs" in why


def test_decision_that_never_changes_is_measured_by_its_numbers_when_all_inputs_agree(tmp_path: Path) -> None:
    (one,), why = held(tmp_path, scaled(1.0), scaled(1.01), rows_of(*([[9, at, 0, 0]] for at in range(4))))
    assert (one.measure, why) == ("near", "")
    assert "same place for every judging input" in one.why
    assert one.sqnr_db == pytest.approx(40)


def test_share_of_equal_values_decides_when_whole_numbers_come_out(tmp_path: Path) -> None:
    """Rounded to whole numbers, 3 of 4 values of each input stay: 2.4 · 1.1 rounds up."""
    nodes = [
        helper.make_node("Mul", ["x", "by"], ["m"]),
        helper.make_node("Round", ["m"], ["r"]),
        helper.make_node("Cast", ["r"], ["y"], to=TensorProto.INT64),
    ]
    models = []
    for by in (1.0, 1.1):
        model = graph(nodes, {"x": [1, 4]}, {"y": [1, 4]}, by=np.float32(by))
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
        models.append(model)
    (one,), why = held(tmp_path, *models, rows_of(*[[[0, 1, 2.4, 3]]] * 2))
    assert (one.measure, one.agreement, one.score) == ("equal", 0.75, 0.75)
    assert "equal to fp32's for 75.00% of its values" in why


# lengths that depend on the data


def positive(threshold: float) -> onnx.ModelProto:
    """The places [2, n] of values above a threshold, beside the values."""
    nodes = [
        helper.make_node("Sub", ["x", "threshold"], ["above"]),
        helper.make_node("Relu", ["above"], ["kept"]),
        helper.make_node("NonZero", ["kept"], ["places"]),
        helper.make_node("Identity", ["x"], ["same"]),
    ]
    model = graph(nodes, {"x": [1, 4]}, {"places": [2, "n"], "same": [1, 4]}, threshold=np.float32(threshold))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def test_other_outputs_keep_their_figures_when_ones_length_depends_on_the_data(tmp_path: Path) -> None:
    """Of (1, 2, 3, 4) the first file keeps all above 1.5, three, and the second all above 2.5, two: 2 of 3 in common. Of the rest the same: 1."""
    rows = rows_of([[1, 2, 3, 4]], [[0, 0, 3, 0]])
    (places, same), why = held(tmp_path, positive(1.5), positive(2.5), rows)
    assert (places.measure, places.sqnr_db, places.same_shape) == ("items", None, 0.5)
    assert places.agreement == pytest.approx((2 / 3 + 1) / 2)
    assert (same.sqnr_db, same.cosine, same.broken) == (None, pytest.approx(1), 0)
    assert "83.33% of its items in common with fp32's, below 90.00% (as long for 50.00% of the inputs)" in why
    assert not held(tmp_path, positive(1.5), positive(2.5), rows, limits=Limits(items=0.8))[1]


def test_length_is_seen_to_depend_on_the_data_when_only_the_candidate_shows_it(tmp_path: Path) -> None:
    (places, _), _ = held(tmp_path, positive(1.5), positive(2.5), rows_of(*[[[1, 2, 3, 4]]] * 3))
    assert (places.measure, places.agreement, places.same_shape) == ("items", pytest.approx(2 / 3), 0.0)


@pytest.mark.parametrize(
    ("one", "other", "share"),
    [
        ([[1, 2], [3, 4]], [[3, 4], [1, 2]], 1.0),  # whatever the order
        ([[1, 2], [3, 4], [5, 6]], [[3, 4]], 1 / 3),
        ([[1, 2], [1, 2]], [[1, 2]], 1 / 2),  # each counts once
        (np.zeros((0, 2)), np.zeros((0, 2)), 1.0),
        (np.zeros((0, 2)), [[1, 2]], 0.0),
    ],
)
@pytest.mark.parametrize("dtype", [np.int64, np.float32])
def test_items_in_common_are_counted_when_lists_differ(one: Any, other: Any, share: float, dtype: Any) -> None:
    assert in_common(np.asarray(one, dtype), np.asarray(other, dtype), 0) == pytest.approx(share)


def test_boxes_are_common_when_they_are_within_a_tenth_of_their_size() -> None:
    """Sizes 5 and 5: the reach is 0.5. One box is off by 0.4, the other by 0.6."""
    boxes, moved = np.float32([[3, 4], [4, 3]]), np.float32([[4, 3.4], [3.6, 4]])
    assert in_common(boxes, moved, 0) == pytest.approx(1 / 3)


def test_output_is_named_as_not_compared_when_it_is_empty_for_every_input(tmp_path: Path) -> None:
    (places, same), why = held(tmp_path, positive(9), positive(9), rows_of([[1, 2, 3, 4]], [[4, 2, 3, 1]]))
    assert (places.measure, places.score, places.broken, why) == ("not compared", None, 0, "")
    assert summary(places, Limits()) == "output 'places': not compared: it is empty for every judging input"
    assert same.measure == "argmax"


def test_shape_is_a_fault_when_the_graph_says_that_it_is_fixed(tmp_path: Path) -> None:
    cut = graph([helper.make_node("Slice", ["x", "a", "b"], ["y"])], {"x": [1, 4]}, {"y": [1, 2]}, a=np.int64([0, 0]), b=np.int64([1, 2]))
    (one,), why = held(tmp_path, scaled(1.0), cut, rows_of([[1, 2, 3, 4]], [[4, 2, 3, 1]]))
    assert (one.broken, one.score) == (2, 0.0)
    assert "of another shape for 2 of 2 inputs" in why


# what is no number


def logarithm() -> onnx.ModelProto:
    return graph([helper.make_node("Log", ["x"], ["y"])], {"x": [1, 4]}, {"y": [1, 4]})


def test_output_and_input_are_named_when_fp32_answers_nan(tmp_path: Path) -> None:
    """The logarithm of −1 and −2 is none: 2 of 4 values, in the inputs 1 and 3 of four."""
    rows = rows_of([[1, 2, 3, 4]], [[-1, -2, 3, 4]], [[4, 3, 2, 1]], [[-1, 3, 3, 4]])
    with pytest.raises(ConfigError) as told:
        judge_of(tmp_path, logarithm(), rows)
    assert "output 'y': the model itself, in fp32, answers NaN or infinity: 2 NaN of 4 values for judging input 1" in str(told.value)
    assert "and such values for 2 of 4 inputs" in str(told.value)
    assert "not_finite" in str(told.value.faults[0].hint)


def test_nan_is_compared_by_place_when_the_profile_allows_it(tmp_path: Path) -> None:
    """3 of 16 values, 18.75 %, are NaN in both; the other 13 are the same."""
    rows = rows_of([[1, 2, 3, 4]], [[-1, -2, 3, 4]], [[4, 3, 2, 1]], [[-1, 3, 3, 4]])
    (one,), why = held(tmp_path, logarithm(), logarithm(), rows, limits=Limits(not_finite=0.1875))
    assert (one.not_finite, one.broken, one.agreement, one.sqnr_db, why) == (3, 0, 1.0, None, "")
    with pytest.raises(ConfigError, match=r"18\.75% of all, above 18\.70%"):
        judge_of(tmp_path, logarithm(), rows, Limits(not_finite=0.187))


def test_infinity_is_a_fault_when_it_is_above_everything(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1 infinite of 4 values for judging input 0"):
        judge_of(tmp_path, scaled(1e38), rows_of([[1, 2, 3, 9]], [[1, 2, 3, 1]]))


@pytest.mark.parametrize("lowest", [-np.inf, float(np.finfo(np.float32).min)])
def test_minus_infinity_is_a_mask_when_numbers_stand_beside_it(lowest: float, tmp_path: Path) -> None:
    """The mask's places say nothing; of the rest SQNR is 20 · log10(1 / 0.05) = 26.02 dB. The lowest number of fp32 alone would make it endless."""
    masked = [helper.make_node("Mul", ["x", "by"], ["m"]), helper.make_node("Where", ["allowed", "m", "low"], ["state"])]
    low = {"allowed": np.array([[True, True, False, True]]), "low": np.float32(lowest)}
    models = [graph(masked, {"x": [1, 4]}, {"state": [1, 4]}, by=np.float32(by), **low) for by in (1.0, 1.05)]
    (one,), why = held(tmp_path, *models, rows_of([[1, 2, 3, 4]], [[4, 2, 3, 1]]))
    assert (one.not_finite, one.broken, why) == (2, 0, "")
    assert one.sqnr_db == pytest.approx(26.02, abs=0.01)


def test_minus_infinity_is_a_fault_when_there_is_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="4 infinite of 4 values for judging input 1"):
        judge_of(tmp_path, logarithm(), rows_of([[1, 2, 3, 4]], [[0, 0, 0, 0]]))


def test_candidate_is_out_when_it_answers_nan_where_fp32_does_not(tmp_path: Path) -> None:
    (one,), why = held(tmp_path, scaled(1.0), logarithm(), rows_of([[1, 2, 3, 4]], [[4, 3, -1, 1]]))
    assert one.broken == 1
    assert "NaN, infinite or of another shape for 1 of 2 inputs" in why


def test_golden_answers_are_right_when_nan_and_infinity_are_at_the_same_places() -> None:
    from edgedistill.bundle.tensors import _off

    odd = np.float32([np.nan, np.inf, -np.inf, 1])
    assert _off(odd, odd) == finite.largest_difference(odd, odd) == 0
    assert _off(odd, odd + np.float32([0, 0, 0, 0.5])) == pytest.approx(0.5)
    assert _off(odd, np.float32([np.nan, -np.inf, -np.inf, 1])) == np.inf
    assert _off(odd, np.float32([1, np.inf, -np.inf, 1])) == np.inf
    assert _off(np.float32(2), np.float32(3)) == 1


# a whole bundle


def encoder() -> onnx.ModelProto:
    """Rows [1, 64] to an embedding of 384, a mask with −∞, and the places of positive inputs, as many as there are."""
    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "inner"], ["first"]),
        helper.make_node("Tanh", ["first"], ["active"]),
        helper.make_node("MatMul", ["active", "outer"], ["embedding"]),
        helper.make_node("Where", ["allowed", "x", "low"], ["masked"]),
        helper.make_node("Relu", ["x"], ["kept"]),
        helper.make_node("NonZero", ["kept"], ["places"]),
    ]
    shapes: dict[str, list[Any] | None] = {"embedding": [1, 384], "masked": [1, 64], "places": [2, "n"]}
    inner, outer = (random.normal(size=size).astype(np.float32) for size in ((64, 128), (128, 384)))
    model = graph(nodes, {"x": [1, 64]}, shapes, inner=inner, outer=outer, allowed=np.arange(64)[None] != 7, low=np.float32(-np.inf))
    model.graph.output[2].type.tensor_type.elem_type = TensorProto.INT64
    return model


def test_int8_is_shipped_and_verified_when_an_encoder_has_a_mask_and_a_list_beside(tmp_path: Path) -> None:
    """No largest value of 384 is asked for, and every answer is told with its measure and why."""
    from edgedistill.bundle.reader import open_bundle, verify
    from edgedistill.config import load_target
    from edgedistill.foreign.run import Asked, quantize
    from edgedistill.measure.subjects import _foreign
    from edgedistill.profiles import only
    from edgedistill.progress import Progress, silent

    target = only(load_target("android-arm64"), "int8-dynamic")
    file = save(encoder(), tmp_path / "encoder.onnx")
    asked = Asked(model=file, target=target, out=tmp_path / "out", calibration=None, scheme=None, rows=256, shapes={}, store=tmp_path / "store")
    done = quantize(asked, silent)
    found = {one["output"]: one for one in done["fidelity"]}
    assert done["scheme"] == "int8-dynamic"
    assert {name: one["measure"] for name, one in found.items()} == {"embedding": "near", "masked": "argmax", "places": "items"}
    assert 20 < found["embedding"]["sqnr_db"] < 60
    assert found["masked"]["not_finite"] == 256
    assert any("'masked' is NaN, infinite or a mask's lowest number at 256 places" in note for note in done["notes"])
    assert [one.partition(":")[0] for one in done["measures"]] == ["output 'embedding'", "output 'masked'", "output 'places'"]
    assert "golden answers" in " ".join(verify(tmp_path / "out"))
    asked_on_devices = _foreign(open_bundle(tmp_path / "out"), tmp_path / "store", Progress(silent, "bench"))[-1].job
    assert asked_on_devices["outputs"] == ["embedding", "places"]  # JSON knows no infinity, and an agent compares numbers
    json.dumps(asked_on_devices, allow_nan=False)
    history = json.loads((tmp_path / "out" / "history.json").read_text(encoding="utf-8"))
    assert history["measures"] == done["measures"]
    assert history["notes"][0].startswith("Measured: output 'embedding': cosine ")  # the report shows these
    readme = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| near: its name says 'embedding' |" in readme
    assert "| items: its length, on axis 1, depends on the data |" in readme


def test_output_is_named_when_classes_are_asked_of_one_that_is_not_there(tmp_path: Path) -> None:
    file = save(classifier(), tmp_path / "model.onnx")
    words = ["quantize", str(file), "-t", "linux-x64", "--scheme", "fp32", "--out", "out", "--classes", "logit"]
    told = run_cli(*words, cwd=tmp_path, check=2).stderr
    assert "--classes logit: the model has no such output" in told
    assert "did you mean 'logits'?" in told


# limits


def test_limits_are_the_profiles_when_it_has_them(tmp_path: Path) -> None:
    from edgedistill.config import load_target

    assert Limits(**limits_of(load_target("linux-x64"))) == Limits()
    own = (
        'extends = "linux-x64"\nsummary = "ours"\nstatus = "unmeasured"\n[parity.fidelity]\nsqnr_db = { value = 30, source = "https://s.example" }\n'
    )
    (tmp_path / "ours.toml").write_text(own, encoding="utf-8")
    assert Limits(**limits_of(load_target(str(tmp_path / "ours.toml")))) == Limits(sqnr_db=30)
    (tmp_path / "ours.toml").write_text(own.replace("30", "-3").replace("sqnr_db", "cosine"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"parity\.fidelity\.cosine\.value"):
        load_target(str(tmp_path / "ours.toml"))
    (tmp_path / "ours.toml").write_text(own.replace("sqnr_db", "snr"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"parity\.fidelity\.snr"):
        load_target(str(tmp_path / "ours.toml"))


def test_problem_is_none_when_nothing_differs(tmp_path: Path) -> None:
    found, why = held(tmp_path, classifier(), classifier(), [{"ids": np.full((1, 5), at), "mask": np.ones((1, 5), np.int64)} for at in range(6)])
    assert why == problem(found[0], Limits()) == ""
    assert (found[0].measure, found[0].agreement) == ("argmax", 1.0)
