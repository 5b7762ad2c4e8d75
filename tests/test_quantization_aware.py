"""Rounds that know of int8: the grid is numpy's, the model that comes out is a plain one, and planted outliers cost it less."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLASSES, sentence
from stage_cases import material as inputs_of
from stage_cases import prepared
from torch import nn

from edgedistill import runtime
from edgedistill.exporters import torchscript
from edgedistill.progress import Progress
from edgedistill.quantizers import Source
from edgedistill.quantizers import onnxruntime as engine
from edgedistill.spec import Inputs, Loss, Schedule
from edgedistill.stages import _round
from edgedistill.stages._splits import read_split
from edgedistill.stages._training import fit
from edgedistill.tasks import text_classification as task
from edgedistill.training import models
from edgedistill.training.fake_quantization import Seen, Weight, fake_quantized, on_grid

pytestmark = pytest.mark.xdist_group("aware")

LENGTH = 24
SCHEMES = ("int8-dynamic", "int8-static-u8s8")
FACTOR = 12.0  # of the planted rows: int8's step is then 0.09, and most of the other weights are smaller
MASK = 4  # the piece's number


def test_weight_is_numpys_quantise_and_dequantise_when_made_by_hand() -> None:
    weight = np.array([[0.5, -1.0, 0.004], [0.26, 0.0, -0.9921]], np.float32)
    scale = np.float32(1.0 / 127)
    expected = np.clip(np.rint(weight / scale), -127, 127) * scale
    assert expected[0, 2] == scale, "0.004 · 127 = 0.508 rounds to one step"
    np.testing.assert_allclose(Weight()(torch.from_numpy(weight)).numpy(), expected, rtol=1e-6)


def test_activation_is_numpys_quantise_and_dequantise_when_made_by_hand() -> None:
    """Range −1 … 3 in 255 steps: s = 4/255, z = round(1/s) = 64."""
    batch = np.array([[-1.0, 0.0, 0.3], [1.25, 2.999, 3.0]], np.float32)
    scale = np.float32(4 / 255)
    zero = np.rint(1 / scale)
    assert zero == 64
    expected = (np.clip(np.rint(batch / scale) + zero, 0, 255) - zero) * scale
    np.testing.assert_allclose(Seen().train()(torch.from_numpy(batch)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_range_is_a_moving_average_when_training_and_stands_still_when_not() -> None:
    seen = Seen().train()
    seen(torch.tensor([-1.0, 3.0]))
    seen(torch.tensor([-2.0, 13.0]))
    low, high = -1 + 0.01 * (-2 - -1), 3 + 0.01 * (13 - 3)
    assert (seen.low.item(), seen.high.item()) == pytest.approx((low, high), rel=1e-6)
    clipped = seen.eval()(torch.tensor([-9.0, 9.0]))
    assert (seen.low.item(), seen.high.item()) == pytest.approx((low, high), rel=1e-6)
    assert clipped.numpy() == pytest.approx([low, high], abs=(high - low) / 255)


def test_gradient_passes_where_nothing_was_clamped() -> None:
    seen = Seen().train()
    seen(torch.tensor([-1.0, 1.0]))
    inputs = torch.tensor([0.123, 5.0], requires_grad=True)
    seen.eval()(inputs).sum().backward()
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [1.0, 0.0]
    weight = torch.tensor([0.3, -0.7], requires_grad=True)
    on_grid(weight, weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 1.0]


def test_model_is_as_it_was_when_the_block_ends() -> None:
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 2, bias=False))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    kinds = [type(module) for module in model.modules()]
    places = {name: id(parameter) for name, parameter in model.named_parameters()}
    ids = torch.arange(7)
    with fake_quantized(model):
        rounded = model.train()(ids)
        assert {id(parameter) for parameter in model.parameters()} == set(places.values()), "an optimiser's weights stay its own"
    assert [type(module) for module in model.modules()] == kinds
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == places
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert 0 < (model(ids) - rounded).abs().max() < 0.05


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("aware")
    found = inputs_of(folder / "made", layers=2)
    return Inputs(artifacts={**found.artifacts, "prepare": prepared(folder / "more", train=480, transfer=3)}, places=found.places)


def training(inputs: Inputs, start: Path, out: Path, epochs: float, rate: float = 2e-3, *, aware: bool = False) -> Any:
    """A round on the hard labels, from a model folder to another."""
    model, encoder = models.load_model(task.AUTO_CLASS, start), models.load_encoder(task, start)
    terms = _round.hard_terms({"ce": Loss()}, model)
    schedule = Schedule(epochs=epochs, batch_size=32, learning_rate=rate, evaluations=2)
    fit(
        model,
        _round.labelled(inputs, task, encoder, LENGTH),
        terms,
        schedule,
        3,
        out,
        Progress(lambda event: None, "distil"),
        quantization_aware=aware,
    )
    models.save(model, encoder, out)
    return models.load_model(task.AUTO_CLASS, out)  # accelerate leaves its mixed precision on the one that was trained


def plant(model: Any) -> None:
    """Outliers that change nothing in fp32: in the embedding of a piece that no text has, and in a unit of the pooler that nobody listens to."""
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[MASK] *= FACTOR / model.bert.embeddings.word_embeddings.weight[MASK].abs().max()
        model.bert.pooler.dense.weight[0] = FACTOR
        model.classifier.weight[:, 0] = 0


def errors(inputs: Inputs, model: Any, encoder: Any, folder: Path) -> dict[str, float]:
    """By scheme, the share of held-out rows that a model's files get wrong."""
    folder.mkdir()
    draw = random.Random(77)
    held_out = [{"text": f"{sentence(words, draw)} {index}"} for index in range(80) for words in CLASSES.values()]
    examples = {"held out": held_out, "calibration": read_split(inputs["prepare"].path, "calibration").examples}
    truth = np.array([sorted(CLASSES).index(name) for _ in range(80) for name in CLASSES])
    feeds = {name: [task.feeds(one, 0) for one in task.encode(encoder, some, LENGTH)] for name, some in examples.items()}
    torchscript.export(model.eval(), task.forward, feeds["held out"][0], folder, opset=17, ir_version=10)
    plain, fused = folder / "model.onnx", folder / "fused.onnx"

    def answers(file: Path) -> Any:
        session = runtime.open_session(file)
        return np.concatenate([session.run(None, runtime.fitted(session, feed, 0))[0] for feed in feeds["held out"]])

    source = Source(
        plain=plain,
        fused=fused,
        weights=None,
        calibration=lambda: iter([runtime.fitted(runtime.open_session(plain), feed, 0) for feed in feeds["calibration"]]),
        sizes={},
        divergence=lambda file: 0.0,
        holds=lambda file: True,
    )
    found = {"fp32": float((answers(fused).argmax(axis=1) != truth).mean())}
    for scheme in SCHEMES:
        engine.make(scheme, source, folder / f"{scheme}.onnx")
        ours = answers(folder / f"{scheme}.onnx")
        found[scheme] = float((ours.argmax(axis=1) != truth).mean())
    return found


def test_round_loses_less_under_int8_when_it_is_aware(inputs: Inputs, tmp_path: Path) -> None:
    teacher = inputs["teach"].path
    encoder = models.load_encoder(task, teacher)
    model = training(inputs, teacher, tmp_path / "start", 4)
    sound = errors(inputs, model, encoder, tmp_path / "sound")
    plant(model)
    models.save(model, encoder, tmp_path / "planted-model")
    planted = errors(inputs, model, encoder, tmp_path / "planted")
    blind = errors(inputs, training(inputs, tmp_path / "planted-model", tmp_path / "blind-model", 3), encoder, tmp_path / "blind")
    aware = errors(inputs, training(inputs, tmp_path / "planted-model", tmp_path / "aware-model", 3, aware=True), encoder, tmp_path / "aware")
    if os.environ.get("SHOW"):
        print(*(f"{name}: {found}" for name, found in (("sound", sound), ("planted", planted), ("blind", blind), ("aware", aware))), sep="\n")
    for scheme in SCHEMES:
        assert planted[scheme] > 5 * sound[scheme], "the outliers hurt"
        assert aware[scheme] < 0.5 * planted[scheme]
        assert aware[scheme] < 0.5 * blind[scheme], "it is not the further training that helps"
