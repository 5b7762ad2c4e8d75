"""Chains of methods on every family: order, sizes that nothing reads, folders that come back to the bit, and an ONNX file that agrees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from tiny import MORE, SMALLER, make_any, origin_of

from edgedistill import plugins, surgery
from edgedistill.errors import ConfigError
from edgedistill.exporters import torchscript
from edgedistill.spec import Student
from edgedistill.students import Origin, chain, compose, faults
from edgedistill.tasks import text_classification
from edgedistill.training import models

FACES = [name for name in plugins.names("students") if name not in ("checkpoint", "config")]
ASKED: dict[str, dict[str, Any]] = {
    "vocabulary": {"vocabulary": SMALLER},
    "layers": {"layers": "uniform", "depth": 2},
    "width": {"width": 8},
    "prune": {"heads": 1, "intermediate": 10},
    "embedding": {"embedding": 4},
}
TEXT_ONLY = ("vocabulary", "embedding")
assert set(FACES) == ASKED.keys()


def answer(model: Any, origin: Origin) -> torch.Tensor:
    with torch.inference_mode():
        return torch.cat([model.eval()(**batch)[0] for batch in origin.inputs])


@pytest.fixture(params=[*MORE, "vit", "deit"])
def origin(request: pytest.FixtureRequest) -> Origin:
    return origin_of(make_any(request.param))


@pytest.fixture(params=FACES)
def student(request: pytest.FixtureRequest, origin: Origin) -> Student:
    if origin.tokenizer is None and request.param in TEXT_ONLY:
        pytest.skip("images have no pieces")
    return Student(method=request.param, **ASKED[request.param])


def test_student_is_smaller_finite_and_the_same_when_saved_and_loaded(origin: Origin, student: Student, tmp_path: Path) -> None:
    assert faults(student, origin.teacher.config.to_dict()) == []
    made = compose(student, origin, seed=0)
    assert made.model.num_parameters() < origin.teacher.num_parameters() or student.method == "embedding"  # 16 rows: too few to gain
    fed = origin if made.tokenizer is origin.tokenizer else origin_of(made.model, made.tokenizer)
    assert torch.isfinite(answer(made.model, fed)).all()
    json.dumps(made.facts)
    models.save(made.model, made.tokenizer, tmp_path)
    if made.tokenizer is None:
        (tmp_path / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    again = models.load_model(origin.auto_class, tmp_path)
    assert type(again) is type(made.model)
    assert torch.equal(answer(again, fed), answer(made.model, fed))
    assert {name: weight.shape for name, weight in again.state_dict().items()} == {name: w.shape for name, w in made.model.state_dict().items()}


def test_every_method_follows_another_when_chained(origin: Origin, tmp_path: Path) -> None:
    methods = ("layers", "prune", "width") if origin.tokenizer is None else ("layers", "prune", "embedding", "width")
    sizes = {"width": 12, "layers": "last", "depth": 2, "heads": 1, "intermediate": 10}
    if origin.tokenizer is not None:
        sizes |= {"embedding": 4, "vocabulary": SMALLER}
    made = compose(Student(method=methods, **sizes), origin, seed=0)
    family = surgery.FAMILIES[made.model.config.model_type]
    assert len(surgery.layers(made.model)) == 2
    assert [getattr(made.model.config, key) for key in (family.width, family.intermediate)] == [12, 10]
    assert surgery.heads(made.model.config) == (1, 8)
    models.save(made.model, made.tokenizer, tmp_path)
    fed = origin if made.tokenizer is None else origin_of(made.model, made.tokenizer)
    assert torch.equal(answer(surgery.load(type(made.model), tmp_path, attn_implementation="eager"), fed), answer(made.model, fed))


def test_mpnets_shared_bias_survives_when_layers_and_heads_go() -> None:
    teacher = make_any("mpnet")
    bias = "mpnet.encoder.relative_attention_bias.weight"
    layers = compose(Student(layers=(1, 3)), origin_of(teacher), seed=0).model
    assert torch.equal(layers.state_dict()[bias], teacher.state_dict()[bias])
    pruned = compose(Student(method="prune", heads=1), origin_of(teacher), seed=0).model.state_dict()[bias]
    assert any(torch.equal(pruned[:, 0], teacher.state_dict()[bias][:, head]) for head in range(2))


# ── chain and faults ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("student", "expected"),
    [
        (Student(), ("layers",)),
        (Student(vocabulary=9), ("vocabulary", "layers")),
        (Student(method=("layers", "vocabulary"), vocabulary=9), ("layers", "vocabulary")),
        (Student(method=("prune", "embedding")), ("prune", "embedding")),
    ],
)
def test_chain_has_the_vocabulary_first_when_it_is_not_named(student: Student, expected: tuple[str, ...]) -> None:
    assert chain(student) == expected


@pytest.mark.parametrize(
    ("student", "where", "words"),
    [
        (Student(width=8), "student.width", "no method of this student reads it"),
        (Student(embedding=8), "student.embedding", "no method of this student reads it"),
        (Student(method="embedding", embedding=4, heads=1), "student.heads", "no method of this student reads it"),
        (Student(method="embedding", embedding=4, layers=2), "student.layers", "no method of this student reads it"),
        (Student(method="wdith"), "student.method", "unknown student 'wdith'"),
        (Student(method=()), "student.method", "is empty"),
        (Student(method=("layers", "config"), config={"hidden_size": 8}), "student.method", "'config' drops what the methods before it made"),
        (Student(layers="auto"), "student.depth", "is missing"),
        (Student(layers="botom", depth=2), "student.layers", "unknown map 'botom'"),
        (Student(layers="last", depth=9), "student.depth", "9 layers of a teacher that has 4"),
        (Student(layers=3, depth=2), "student.depth", "student.layers gives 3 layers"),
        (Student(method="width"), "student.width", "is missing"),
        (Student(method="width", width=17), "student.width", "17 of a teacher that is 16 wide"),
        (Student(method="prune"), "student.heads", "nothing to do"),
        (Student(method="prune", heads=3), "student.heads", "3 of a teacher that has 2"),
        (Student(method="prune", intermediate=0, heads=1), "student.intermediate", "0 of a teacher that has 24"),
        (Student(method="embedding"), "student.embedding", "is missing"),
        (Student(method="embedding", embedding=17), "student.embedding", "rank 17 of a table that is 16 wide"),
        (Student(method="vocabulary"), "student.vocabulary", "is missing"),
    ],
)
def test_student_has_one_fault_with_a_place_when_it_cannot_work(student: Student, where: str, words: str) -> None:
    found = faults(student, make_any("bert").config.to_dict())
    assert [fault.where for fault in found] == [where]
    assert words in found[0].what
    assert found[0].hint or "at least" in found[0].what


def test_size_that_nothing_reads_names_the_methods_that_would() -> None:
    found = faults(Student(heads=1), make_any("bert").config.to_dict())
    assert found[0].hint == "name 'prune' or 'width' in student.method, or leave it out"


@pytest.mark.parametrize("name", FACES)
def test_family_is_a_fault_with_the_known_ones_when_it_is_unknown(name: str) -> None:
    found = faults(Student(method=name, **ASKED[name]), {"model_type": "mamba", "vocab_size": 9})
    assert name == "vocabulary" or ("does not know the family 'mamba'" in found[0].what and "mpnet" in found[0].hint)


def test_images_have_no_pieces_when_a_vocabulary_is_asked_for() -> None:
    found = faults(Student(layers=2, vocabulary=5), make_any("vit").config.to_dict())
    assert [fault.what for fault in found] == ["a teacher of the family 'vit' has no vocabulary"]


@pytest.mark.parametrize("name", ["width", "prune"])
def test_method_that_measures_is_a_fault_when_there_are_no_inputs(name: str) -> None:
    teacher = make_any("bert")
    bare = Origin(teacher=teacher, tokenizer=None, texts=(), labels=(), auto_class="AutoModel")
    with pytest.raises(ConfigError, match="calibration inputs"):
        compose(Student(method=name, **ASKED[name]), bare, seed=0)


def test_model_with_other_numbered_weights_is_a_fault_when_sliced() -> None:
    teacher = make_any("bert")
    teacher.adapters = torch.nn.ModuleList([torch.nn.Linear(2, 2)])
    with pytest.raises(ConfigError, match=r"adapters\.0\.weight is numbered, but in no layer"):
        compose(Student(layers=2), origin_of(teacher), seed=0)


# ── folders and files ────────────────────────────────────────────────────────────────────────────────────────────────


def test_loaded_model_gets_a_fresh_head_when_its_classes_differ(tmp_path: Path) -> None:
    made = compose(Student(method=("prune", "embedding"), heads=1, embedding=4), origin_of(make_any("bert")), seed=0)
    models.save(made.model, made.tokenizer, tmp_path)
    five = models.load_model("AutoModelForSequenceClassification", tmp_path, fresh_head=True, num_labels=5, ignore_mismatched_sizes=True)
    assert five.classifier.out_features == 5
    saved = made.model.state_dict()
    assert all(torch.equal(weight, saved[name]) for name, weight in five.state_dict().items() if not name.startswith("classifier"))
    with pytest.raises(ConfigError, match="has no weights for"):
        models.load_model("AutoModelForTokenClassification", _without_head(tmp_path))


def _without_head(folder: Path) -> Path:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if not name.startswith("classifier")}, file, {"format": "pt"})
    return folder


def test_checkpoint_of_our_own_shapes_is_a_student_when_it_is_a_folder(tmp_path: Path) -> None:
    first = origin_of(make_any("bert"))
    made = compose(Student(method="prune", heads=1), first, seed=0)
    models.save(made.model, made.tokenizer, tmp_path)
    again = compose(Student(method="checkpoint", model="folder"), Origin(**_fields(first) | {"checkpoint": tmp_path}), seed=0)
    assert torch.equal(answer(again.model, first), answer(made.model, first))


def _fields(origin: Origin) -> dict[str, Any]:
    return {name: getattr(origin, name) for name in Origin.__dataclass_fields__}


def test_folder_of_a_model_for_images_has_no_fault_when_it_has_a_processor(tmp_path: Path) -> None:
    make_any("vit").save_pretrained(tmp_path)
    assert "preprocessor_config.json" in models.folder_faults("teacher", tmp_path)[0].what
    (tmp_path / "preprocessor_config.json").write_text("{}", encoding="utf-8")
    assert models.folder_faults("teacher", tmp_path) == []


@pytest.mark.parametrize("heads", [3, 2])
@pytest.mark.parametrize("family", MORE)
def test_onnx_files_agree_when_the_model_is_pruned_and_factorised(family: str, heads: int, tmp_path: Path) -> None:
    wide = (
        {"dim": 32, "n_heads": 4, "n_layers": 1} if family == "distilbert" else {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 1}
    )
    origin = origin_of(make_any(family, **wide))
    model = compose(Student(method=("prune", "embedding"), heads=heads, intermediate=10, embedding=4), origin, seed=0).model.eval()
    sample = {name: value.numpy() for name, value in origin.inputs[0].items()}
    torchscript.export(model, text_classification.forward, sample, tmp_path, opset=17, ir_version=10)
    for file in ("model.onnx", "fused.onnx"):
        session = onnxruntime.InferenceSession(str(tmp_path / file), providers=["CPUExecutionProvider"])
        for batch in origin.inputs:
            found = session.run(None, {name: value.numpy() for name, value in batch.items()})[0]
            with torch.inference_mode():
                expected = model(**batch).logits.numpy()
            assert np.abs(expected).max() > 0.01
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
