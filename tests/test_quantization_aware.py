"""Rounds that know of int8: the grid is numpy's, the model that comes out is a plain one, and planted outliers cost it less."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CLASSES, RECIPE, build_json, sentence, write_project
from stage_cases import material as inputs_of
from stage_cases import prepared
from test_resume import WORDS, digests, kill_when
from torch import nn

from edgedistill import plugins, runtime
from edgedistill.exporters import torchscript
from edgedistill.pipeline._plan import _keyed
from edgedistill.progress import Progress
from edgedistill.quantizers import Source
from edgedistill.quantizers import onnxruntime as engine
from edgedistill.spec import Inputs, Loss, Round, Schedule, plain
from edgedistill.stages import _round
from edgedistill.stages._splits import read_split
from edgedistill.stages._training import fit
from edgedistill.tasks import text_classification as task
from edgedistill.training import models
from edgedistill.training.fake_quantization import Seen, Weight, fake_quantized, rows_of

LENGTH = 24
SCHEMES = ("int8-dynamic", "int8-static-u8s8")
FACTOR = 20.0  # of the planted rows: int8's step is then 0.13, and most of the other weights are smaller
MASK = 4  # the piece's number
DRAW = random.Random(77)
HELD_OUT = [{"text": f"{sentence(words, DRAW)} {index}"} for index in range(80) for words in CLASSES.values()]


def test_weight_is_numpys_quantise_and_dequantise_when_made_by_hand() -> None:
    """The weight's range −0.5 … 2.05 in 256 steps: s = 0.01, z = −128 + 50 as int8."""
    weight = np.array([[0.5, -0.5, 0.004], [0.263, 0.0, 2.05]], np.float32)
    expected = (np.clip(np.rint(weight / 0.01) - 78, -128, 127) + 78) * 0.01
    assert expected.ravel().tolist() == pytest.approx([0.5, -0.5, 0.0, 0.26, 0.0, 2.05])
    np.testing.assert_allclose(Weight()(torch.from_numpy(weight)).numpy(), expected, atol=1e-6)


def test_rows_are_numpys_quantise_and_dequantise_when_of_a_whole_table() -> None:
    """The table's range −0.5 … 2.05 in 255 steps: s = 0.01, z = 50."""
    table = np.array([[-0.5, 0.013], [2.05, 0.3], [0.004, -0.117]], np.float32)
    expected = (np.clip(np.rint(table[[2, 0]] / 0.01) + 50, 0, 255) - 50) * 0.01
    found = rows_of(torch.from_numpy(table), torch.from_numpy(table[[2, 0]]))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    assert expected.ravel().tolist() == pytest.approx([0.0, -0.12, -0.5, 0.01])


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
    Weight()(weight).sum().backward()
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


def training(inputs: Inputs, start: Path, out: Path, epochs: float, rate: float, *, aware: bool = False) -> Any:
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
    held_out, calibration = feeds_of(encoder, HELD_OUT), feeds_of(encoder, read_split(inputs["prepare"].path, "calibration").examples)
    torchscript.export(model.eval(), task.forward, held_out[0], folder, opset=17, ir_version=10)
    source = Source(
        plain=folder / "model.onnx",
        fused=folder / "fused.onnx",
        weights=None,
        calibration=lambda: iter(calibration),
        sizes={},
        divergence=lambda file: 0.0,
        holds=lambda file: True,
    )
    for scheme in ("fp32", *SCHEMES):
        engine.make(scheme, source, folder / f"{scheme}.onnx")
    truth = np.array([sorted(CLASSES).index(name) for _ in range(80) for name in CLASSES])
    files = {scheme: folder / f"{scheme}.onnx" for scheme in ("fp32", *SCHEMES)}
    return {scheme: float((file_answers(file, held_out).argmax(axis=1) != truth).mean()) for scheme, file in files.items()}


def feeds_of(encoder: Any, examples: Sequence[Any]) -> list[Any]:
    return [task.feeds(one, 0) for one in task.encode(encoder, examples, LENGTH)]


def file_answers(file: Path, feeds: Sequence[Any]) -> Any:
    session = runtime.open_session(file)
    return np.concatenate([session.run(None, feed)[0] for feed in feeds])


@dataclass(frozen=True, slots=True)
class Planted:
    """A student that knows its task, with outliers, its folder, and what its files get wrong."""

    model: Any
    encoder: Any
    folder: Path
    errors: dict[str, float]


@pytest.fixture(scope="module")
def planted(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    folder, teacher = tmp_path_factory.mktemp("planted"), inputs["teach"].path
    encoder = models.load_encoder(task, teacher)
    training(inputs, teacher, folder / "begun", 4, 2e-3)
    model = training(inputs, folder / "begun", folder / "sound", 6, 1e-3)
    plant(model)
    models.save(model, encoder, folder / "model")
    return Planted(model, encoder, folder / "model", errors(inputs, model, encoder, folder / "files"))


def test_answers_are_the_int8_files_when_fake_quantised(inputs: Inputs, planted: Planted) -> None:
    """ONNX Runtime's files are the truth: what training sees is what they compute, to within a fiftieth of what int8 changes."""
    model = models.load_model(task.AUTO_CLASS, planted.folder)
    models.set_dropout(model, 0.0)
    calibration = feeds_of(planted.encoder, read_split(inputs["prepare"].path, "calibration").examples)

    def answers(some: list[Any]) -> Any:
        return np.concatenate([task.forward(model, {name: torch.from_numpy(array) for name, array in feed.items()}).numpy() for feed in some])

    held_out = feeds_of(planted.encoder, HELD_OUT)
    with torch.no_grad():
        fp32 = answers(held_out)
        with fake_quantized(model):
            model.train()
            answers(calibration)
            model.eval()
            fake = answers(held_out)
    for scheme in SCHEMES:
        int8 = file_answers(planted.folder.parent / "files" / f"{scheme}.onnx", held_out)
        assert ((fake - int8) ** 2).mean() < 0.02 * ((fp32 - int8) ** 2).mean()


def test_round_loses_less_under_int8_when_it_is_aware(inputs: Inputs, planted: Planted, tmp_path: Path) -> None:
    found = {}
    for name, aware in (("blind", False), ("aware", True)):
        model = training(inputs, planted.folder, tmp_path / name, 6, 2e-4, aware=aware)
        assert set(model.state_dict()) == set(planted.model.state_dict())
        found[name] = errors(inputs, model, planted.encoder, tmp_path / f"{name}-files")
    assert planted.errors["fp32"] == found["blind"]["fp32"] == found["aware"]["fp32"] == 0
    for scheme in SCHEMES:
        assert planted.errors[scheme] > 0.05, "the outliers hurt"
        assert found["blind"][scheme] > 0.02, "and it is not the further training that helps"
        assert found["aware"][scheme] < 0.5 * found["blind"][scheme]


def test_key_is_what_it_was_when_a_recipe_does_not_ask_for_it() -> None:
    assert "quantization_aware" not in _keyed(plain(Round()))
    assert _keyed(plain(Round(quantization_aware=True)))["quantization_aware"] is True


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose one round is aware, and a target that allows neural-compressor's scheme."""
    folder = write_project(tmp_path_factory.mktemp("aware-project"))
    text = RECIPE.replace("epochs = 12", "epochs = 2").replace("schedule = { epochs = 8,", "schedule = { epochs = 16, dropout = 0.1, patience = 99,")
    (folder / "recipe.toml").write_text(text.replace("[[rounds]]", "[[rounds]]\nquantization_aware = true"), encoding="utf-8")
    target = plugins.data_file("targets", "linux-x64").read_text(encoding="utf-8")
    assert '{ scheme = "int8-pt2e",' in target  # beside onnxruntime's own
    (folder / "both.toml").write_text(target, encoding="utf-8")
    return folder


def test_build_is_the_same_and_judges_both_engines_when_killed_in_an_aware_round(project: Path) -> None:
    whole, killed = project / "whole", project / "killed"
    build_json(project, "--target", "both.toml", "--no-bench", "--set", "gates.retention=0.1", gates=False, store=whole)
    shutil.copytree(whole, killed)
    shutil.rmtree(killed / "distil")  # what is left to do is the round
    reached = "unfinished/distil/*/files/resume/step-*"
    kill_when(project, killed, lambda: any(step.suffix != ".part" and step.name >= "step-00000060" for step in killed.glob(reached)))
    build_json(project, *WORDS, gates=False, store=killed)
    ours, theirs = ({name: digest for name, digest in digests(store).items() if name.startswith("distil/")} for store in (killed, whole))
    assert ours == theirs != {}
    receipt = json.loads(next(whole.glob("quantize/*/receipt.json")).read_text())
    found = {one["scheme"]: one for one in receipt["facts"]["candidates"]}
    assert found["int8-pt2e"]["engine"] == "neural-compressor"
    assert found["int8-pt2e"]["status"] in ("chosen", "lost"), found["int8-pt2e"]["reason"]
    assert found["int8-pt2e"]["agreement"] >= 0.97
    assert found["int8-pt2e"]["bytes"] < found["fp32"]["bytes"]
    assert found["int8-pt2e"]["facts"]["int8_macs"] > 0.8
