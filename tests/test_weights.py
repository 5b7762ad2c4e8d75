"""Weights come in as float32 and finite, whatever type they lie in the file, in every step that reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import stage_cases
import torch
from conftest import CLASSES, make_teacher
from safetensors.torch import load_file, save_file
from tiny import make_any, make_tokenizer, origin, origin_of
from tiny import make_teacher as make_tiny

from edgedistill import ragged, runtime, surgery
from edgedistill.errors import ConfigError
from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Inputs, Student
from edgedistill.stages import export, label, teach
from edgedistill.stages._training import predict
from edgedistill.students import checkpoint, prune
from edgedistill.tasks import image_classification
from edgedistill.tasks import text_classification as task
from edgedistill.training import models

AUTO = "AutoModelForSequenceClassification"
TASK = "text-classification"
KINDS = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished teacher in float32."""
    return make_teacher(tmp_path_factory.mktemp("plain") / "teacher", labels=sorted(CLASSES))


def saved_as(plain: Path, folder: Path, kind: torch.dtype) -> Path:
    """The teacher as a training in `kind` would have saved it."""
    model = models.load_model(AUTO, plain).to(kind)
    models.save(model, models.load_tokenizer(plain), folder)
    return folder


def spoilt(plain: Path, folder: Path, **values: float) -> Path:
    """The teacher with the first value of some weights changed."""
    models.save(models.load_model(AUTO, plain), models.load_tokenizer(plain), folder)
    weights = load_file(folder / "model.safetensors")
    for name, value in values.items():
        weights[name.replace("__", ".")].view(-1)[0] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_files_numbers_as_float32_when_it_holds_another_type(plain: Path, tmp_path: Path, kind: str) -> None:
    folder = saved_as(plain, tmp_path, KINDS[kind])
    stored = load_file(folder / "model.safetensors")
    assert {weight.dtype for weight in stored.values()} == {KINDS[kind]}
    loaded = models.load_model(AUTO, folder)
    assert loaded.config.dtype == torch.float32
    for name, weight in loaded.state_dict().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, stored[name].float())


def test_weights_are_float32_when_only_the_config_names_another_type(plain: Path, tmp_path: Path) -> None:
    folder = spoilt(plain, tmp_path)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"dtype": "float16"}), encoding="utf-8")
    assert {weight.dtype for weight in models.load_model(AUTO, folder).state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_teacher_is_adopted_labels_and_is_exported_when_its_weights_are_of_half_width(plain: Path, tmp_path: Path, kind: str) -> None:
    """The truth is the same numbers in a float32 folder, and torch beside ONNX."""
    halved = saved_as(plain, tmp_path / "halved", KINDS[kind])
    inputs = stage_cases.material(tmp_path)
    prepared = {"prepare": inputs["prepare"]}
    adopted = tmp_path / "teach"
    params = teach.Params(task=TASK, schedule=None, max_length=24, seed=0)
    teach.run(params, Inputs(artifacts=prepared, places={"teacher": str(halved)}), adopted, Progress(silent, "teach"))
    assert {weight.dtype for weight in load_file(adopted / "model.safetensors").values()} == {torch.float32}
    said = []
    for folder in (halved, saved_as(halved, tmp_path / "widened", torch.float32)):
        out = tmp_path / f"label-{folder.name}"
        out.mkdir()
        told = Inputs(artifacts=prepared | {"teach": stage_cases.artifact("teach", folder)}, places={})
        label.run(label.Params(task=TASK, max_length=24), told, out, Progress(silent, "label"))
        said.append(np.concatenate([ragged.load(out / "train-00000.npz")[index] for index in range(96)]))
    np.testing.assert_array_equal(*said)
    if kind == "bfloat16":
        out = tmp_path / "export"
        out.mkdir()
        told = Inputs(artifacts=prepared | {"model": stage_cases.artifact("distil", halved)}, places={})
        wanted = export.Params(task=TASK, exporter="torchscript", opset=17, ir_version=8, max_length=24, plain=False)
        facts = export.run(wanted, told, out, Progress(silent, "export"))
        assert facts["parity"]["max_abs"] < 1e-4
        assert runtime.open_session(out / "fused.onnx").get_outputs()[0].type == "tensor(float)"


def test_student_of_other_shapes_is_float32_when_it_was_saved_in_half(tmp_path: Path) -> None:
    made = prune.build(Student(method="prune", heads=1), origin_of(make_tiny("bert"), make_tokenizer()), 0)
    assert surgery.plan(made.model.config)["heads"] == 1
    models.save(made.model.half(), made.tokenizer, tmp_path)
    assert {weight.dtype for weight in models.load_model(AUTO, tmp_path).state_dict().values()} == {torch.float32}


def test_tensor_and_count_are_named_when_a_weight_is_no_number(plain: Path, tmp_path: Path) -> None:
    folder = spoilt(plain, tmp_path, classifier__bias=float("nan"), bert__pooler__dense__weight=float("-inf"))
    with pytest.raises(ConfigError) as refused:
        models.load_model(AUTO, folder)
    message = str(refused.value)
    assert f"{folder} has weights that are no finite numbers" in message
    assert "bert.pooler.dense.weight (NaN or Inf in 1 of 1024), classifier.bias (NaN or Inf in 1 of 3)" in message
    assert "did not diverge" in message
    assert refused.value.exit_code == 2


def test_four_are_named_and_the_rest_counted_when_many_weights_are_no_numbers(plain: Path, tmp_path: Path) -> None:
    names = [name for name in load_file(plain / "model.safetensors") if name.endswith("LayerNorm.bias")]
    folder = spoilt(plain, tmp_path, **{name.replace(".", "__"): float("nan") for name in names})
    with pytest.raises(ConfigError, match=rf"of 32\), {len(names) - 4} more"):
        models.load_model(AUTO, folder)


def test_weights_are_refused_when_the_type_they_are_cast_to_is_too_narrow(plain: Path, tmp_path: Path) -> None:
    folder = spoilt(plain, tmp_path, classifier__bias=1e5)
    assert float(models.load_model(AUTO, folder).classifier.bias[0]) == 1e5
    with pytest.raises(ConfigError, match=r"float16 ends at 65,504"):
        models.load_model(AUTO, folder, dtype="float16")


def test_recipe_key_is_named_when_a_students_checkpoint_holds_no_numbers(plain: Path, tmp_path: Path) -> None:
    folder = spoilt(plain, tmp_path, classifier__bias=float("inf"))
    with pytest.raises(ConfigError, match=r"student.model: .*classifier.bias \(NaN or Inf in 1 of 3\)"):
        checkpoint.build(Student(method="checkpoint", model="x"), origin(make_tiny("bert"), checkpoint=folder), 0)


def test_checkpoint_is_float32_when_its_file_is_not(plain: Path, tmp_path: Path) -> None:
    folder = saved_as(plain, tmp_path, torch.bfloat16)
    made = checkpoint.build(Student(method="checkpoint", model="x"), origin(make_tiny("bert"), checkpoint=folder), 0)
    assert {weight.dtype for weight in made.model.state_dict().values()} == {torch.float32}


def test_rows_are_labelled_in_the_recipes_type_only_where_there_is_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Event] = []
    asked = label.Params(task=TASK, max_length=24, dtype="bfloat16")
    for here, found in ((False, "float32"), (True, "bfloat16")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda here=here: here)
        assert label._dtype(asked, Progress(told.append, "label")) == found
        assert label._dtype(label.Params(task=TASK, max_length=24), Progress(told.append, "label")) == "float32"
    assert [event.text for event in told] == ["teacher.dtype = 'bfloat16' is for a GPU, and there is none here: the teacher labels in float32"]


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_answers_are_nearly_float32s_when_the_teacher_labels_in_a_narrower_type(plain: Path, kind: str) -> None:
    """bfloat16 keeps 8 bits of a number, float16 11: through four layers the answers, of the order of 0.1, stay within some of the last."""
    encoder = models.load_tokenizer(plain)
    rows = task.encode(encoder, [{"text": "a sunny day"}, {"text": "the film was very cold"}], 24)
    found, wanted = (predict(models.load_model(AUTO, plain, dtype=name), task, rows) for name in (kind, "float32"))
    np.testing.assert_allclose(np.concatenate([one[0] for one in found]), np.concatenate([one[0] for one in wanted]), atol=0.02)
    assert {array.dtype for one in found for array in one} == {np.dtype("float32")}


def test_images_are_read_in_the_weights_type_when_it_is_narrower() -> None:
    model = make_any("vit").bfloat16()
    processor = image_classification.Processor(height=8, width=8, mode="RGB", resample=2, scale=1 / 255, mean=(0.5,) * 3, deviation=(0.5,) * 3)
    row = image_classification.ImageRow(pixels=np.zeros((3, 8, 8), np.uint8), processor=processor)
    ((answer,),) = predict(model, image_classification, [[row]])
    assert (answer.dtype, answer.shape) == (np.float32, (1, 3))


def test_known_types_are_listed_when_the_recipes_is_none() -> None:
    (fault,) = label.requires(label.Params(task=TASK, max_length=24, dtype="bf16"), {})
    assert (fault.where, fault.what) == ("teacher.dtype", "unknown type 'bf16'")
    assert "bfloat16, float16, float32" in fault.hint
    assert label.requires(label.Params(task=TASK, max_length=24, dtype="float16"), {}) == []


def test_surgery_alone_reads_weights_when_the_source_is_searched() -> None:
    root = Path(surgery.__file__).parent
    calls = re.compile(r"(\w+)\.from_pretrained\(folder")
    found = {(file.name, name) for file in root.rglob("*.py") for name in calls.findall(file.read_text(encoding="utf-8"))}
    readers = {(file, name) for file, name in found if name not in ("AutoConfig", "AutoTokenizer", "AutoModel")}  # AutoModel in a hint
    assert readers == {("surgery.py", "auto"), ("surgery.py", "cut")}
