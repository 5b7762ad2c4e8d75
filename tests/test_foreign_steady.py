"""Models that answer otherwise when asked again are refused by the operator that does it; others are taken, whatever is in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_models import save
from number_models import FLOAT, model, node, numbers
from onnx import TensorProto, helper
from test_foreign import in_process

from edgedistill import runtime
from edgedistill.errors import ConfigError
from edgedistill.foreign import steady

PRODUCT = node("MatMul", ["x", "w"], ["m"], "product")
STATISTICS = {name: np.ones(4, np.float32) for name in ("scale", "shift", "mean", "var")}


def made(*nodes: Any, shape: Sequence[Any] = (1, 16), **weights: Any) -> onnx.ModelProto:
    return model([PRODUCT, *nodes], shape, ["rows", "columns"], {"w": numbers((16, 4)), **weights})


def noisy(kind: str = "RandomNormalLike", **options: Any) -> onnx.ModelProto:
    inputs = ["m"] if kind.endswith("Like") else []
    return made(node(kind, inputs, ["noise"], "noise", **options), node("Add", ["m", "noise"], ["y"]))


def sampled(**options: Any) -> onnx.ModelProto:
    return made(node("Multinomial", ["m"], ["ids"], "pick", sample_size=8, **options), node("Cast", ["ids"], ["y"], to=FLOAT))


def thrown() -> onnx.ModelProto:
    return made(node("Sigmoid", ["m"], ["p"]), node("Bernoulli", ["p"], ["y"], "coin"))


def dropped(training: bool = True) -> onnx.ModelProto:
    return made(node("Dropout", ["m", "half", "training"], ["y"], "drop"), half=np.float32(0.5), training=np.array(training))


def batch_trained() -> onnx.ModelProto:
    nodes = [node("BatchNormalization", ["m", *STATISTICS], ["n", "mean_on", "var_on"], "norm", training_mode=1), node("Relu", ["n"], ["y"])]
    return made(*nodes, **STATISTICS)


def inside() -> onnx.ModelProto:
    """Random in a branch that is taken."""
    value = helper.make_tensor_value_info("n", FLOAT, None)
    branch = helper.make_graph([node("RandomUniformLike", ["m"], ["n"], "hidden")], "side", [], [value])
    return made(node("If", ["yes"], ["r"], "choice", then_branch=branch, else_branch=branch), node("Add", ["m", "r"], ["y"]), yes=np.array(True))


def looked_at(made: onnx.ModelProto, folder: Path) -> list[str]:
    file = save(made, folder / "model.onnx")
    session = runtime.open_session(file, threads=1)
    rows = [{"x": np.random.default_rng(row).normal(size=(1, 16)).astype(np.float32)} for row in range(4)]
    for _ in range(2):
        answers = session.run(None, rows[0])
    return steady.check(file, made, session, (rows[0], answers), rows)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (noisy, "noise (RandomNormalLike) draws at random"),
        (lambda: noisy("RandomUniform", shape=[1, 4]), "noise (RandomUniform) draws at random"),
        (sampled, "pick (Multinomial) draws at random"),
        (lambda: sampled(seed=3.0), "pick (Multinomial) draws at random, its seed fixes the first run of a session alone"),
        (thrown, "coin (Bernoulli) draws at random"),
        (dropped, "drop (Dropout) is in training mode"),
        (batch_trained, "norm (BatchNormalization) is in training mode"),
        (inside, "hidden (RandomUniformLike) draws at random"),
    ],
)
def test_operator_is_named_when_answers_differ(made: Callable[[], onnx.ModelProto], told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not agree with itself: asked twice the same, output 'y'") as caught:
        looked_at(made(), tmp_path)
    assert caught.value.exit_code == 2
    assert told in str(caught.value)
    assert "model.eval()" in caught.value.hint


@pytest.mark.parametrize(
    "harmless",
    [
        lambda: made(node("RandomNormalLike", ["m"], ["unread"], "unread"), node("Relu", ["m"], ["y"])),
        lambda: made(node("RandomNormalLike", ["m"], ["r"]), node("Mul", ["r", "zero"], ["z"]), node("Add", ["m", "z"], ["y"]), zero=np.float32(0)),
        lambda: dropped(training=False),
        lambda: noisy(scale=1e-9),
    ],
)
def test_random_operator_is_taken_when_answers_are_the_same(harmless: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    assert looked_at(harmless(), tmp_path) == []


@pytest.mark.parametrize("kind", [{"kind": "RandomNormalLike"}, {"kind": "RandomUniform", "shape": [1, 4]}])
def test_fixed_seed_stands_as_what_a_session_draws_first(kind: dict[str, Any], tmp_path: Path) -> None:
    """The frozen model answers, as often as it is asked, what a fresh session of the original answers at first."""
    original = noisy(**kind, seed=7.0)
    names = looked_at(original, tmp_path)
    assert names == ["noise"]
    rows = [{"x": np.full((1, 16), value, np.float32)} for value in (0.1, 0.7)]
    file, said = steady.frozen(tmp_path / "model.onnx", names, rows, tmp_path)
    assert "noise" in said
    session = runtime.open_session(file)
    for row in rows:
        first = runtime.open_session(tmp_path / "model.onnx").run(None, row)[0]
        for _ in range(2):
            assert np.allclose(session.run(None, row)[0], first, atol=1e-6)


def test_fixed_seed_is_refused_when_the_shape_of_what_it_draws_is_open(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])
    open_one = noisy(seed=7.0)
    open_one.graph.input[0].CopyFrom(value)
    with pytest.raises(ConfigError, match="its seed fixes the first run of a session alone"):
        looked_at(open_one, tmp_path)


def test_exit_is_2_when_a_random_model_is_quantised_and_0_when_its_seed_is_fixed(tmp_path: Path) -> None:
    from edgedistill.bundle.reader import open_bundle
    from edgedistill.bundle.tensors import difference

    with pytest.raises(ConfigError, match=r"noise \(RandomNormalLike\) draws at random"):
        in_process(tmp_path / "random", noisy())
    found = in_process(tmp_path / "seeded", noisy(seed=7.0), scheme="fp32")
    assert any("became constants" in note for note in found["notes"])
    assert difference(open_bundle(tmp_path / "seeded" / "out")) <= 1e-3
