"""Pretraining a student: what it learns is in the model that goes on, and nothing else about that model changes."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import CLASSES, make_teacher
from stage_cases import artifact, material

from edgedistill import students, surgery
from edgedistill.errors import ConfigError
from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Inputs, Pretrain, Schedule, Student
from edgedistill.stages import _masked, pretrain
from edgedistill.stages._teacher import translation
from edgedistill.training import models

AUTO = "AutoModelForSequenceClassification"
SCHEDULE = Schedule(epochs=6, batch_size=16, learning_rate=3e-3, evaluations=2)


def params(task: str = "text-classification", *, teacher: bool = False) -> pretrain.Params:
    return pretrain.Params(task=task, pretrain=Pretrain(schedule=SCHEDULE, teacher=teacher), max_length=24, seed=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The student has two layers of the teacher and a smaller vocabulary."""
    folder = tmp_path_factory.mktemp("pretrain")
    found = material(folder)
    return replace(found, artifacts={**found.artifacts, "start": student(found, folder / "start", Student(layers=2, vocabulary=100))})


def student(inputs: Inputs, folder: Path, wanted: Student) -> object:
    teacher = inputs["teach"].path
    origin = students.Origin(
        teacher=models.load_model(AUTO, teacher),
        tokenizer=models.load_tokenizer(teacher),
        texts=["the film was lovely"],
        labels=sorted(CLASSES),
        auto_class=AUTO,
    )
    made = students.compose(wanted, origin, 0)
    folder.mkdir()
    models.save(made.model, made.tokenizer, folder)
    return artifact("student", folder)


def test_perplexity_falls_and_only_the_backbone_changes_when_pretrained(inputs: Inputs, tmp_path: Path) -> None:
    heard: list[Event] = []
    facts = pretrain.run(params(), inputs, tmp_path, Progress(heard.append, "pretrain"))
    pretrain.ensures(tmp_path)
    pieces = models.load_tokenizer(tmp_path).get_vocab_size()
    assert facts["perplexity"]["before"] == pytest.approx(pieces, rel=0.2), "a fresh head knows nothing: one in as many as there are pieces"
    assert facts["perplexity"]["after"] < 0.6 * facts["perplexity"]["before"]
    assert facts["curves"]["score"][-1][1] == pytest.approx(facts["curves"]["best"])
    assert any("perplexity" in event.text for event in heard)
    old, new = (models.load_model(AUTO, folder) for folder in (inputs["start"].path, tmp_path))
    before, after = old.state_dict(), new.state_dict()
    assert before.keys() == after.keys()
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight"} <= same
    assert not any(".attention." in name and name.endswith("weight") for name in same)
    assert "bert.embeddings.word_embeddings.weight" not in same
    configs = [{name: value for name, value in model.config.to_dict().items() if name != "_name_or_path"} for model in (old, new)]
    assert configs[0] == configs[1], "dropout of the pretraining does not stay"
    assert (tmp_path / "tokenizer.json").read_text() == (inputs["start"].path / "tokenizer.json").read_text()


def masked_teacher(folder: Path) -> Path:
    """The tiny teacher, saved with a head for masks."""
    from transformers import BertForMaskedLM

    make_teacher(folder)
    torch.manual_seed(3)
    BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    return folder


def test_teacher_adds_its_distribution_and_its_head_when_it_has_one(inputs: Inputs, tmp_path: Path) -> None:
    helped = replace(inputs, places={"teacher": str(masked_teacher(tmp_path / "teacher"))})
    out = tmp_path / "out"
    out.mkdir()
    heard: list[Event] = []
    facts = pretrain.run(params(teacher=True), helped, out, Progress(heard.append, "pretrain"))
    assert {"cls.predictions.bias", "cls.predictions.transform.dense.weight"} <= set(facts["head"])
    measured = [event.values for event in heard if event.kind == "measure" and "loss" in event.values]
    assert {"loss/ce", "loss/kl"} <= measured[0].keys()
    assert all(0 <= values["loss/kl"] < math.inf for values in measured)


def test_divergence_is_zero_when_student_and_teacher_are_one_model_with_other_numbers(tmp_path: Path) -> None:
    """The student is the teacher with its pieces renumbered backwards: translated and restricted, they say the same."""
    from tokenizers import Tokenizer

    folder = masked_teacher(tmp_path / "teacher")
    teacher = models.load_model("AutoModelForMaskedLM", folder).eval()
    theirs = models.load_tokenizer(folder)
    spec = json.loads(theirs.to_str())
    size = len(spec["model"]["vocab"])
    spec["model"]["vocab"] = {piece: size - 1 - number for piece, number in spec["model"]["vocab"].items()}
    for token in spec["added_tokens"]:
        token["id"] = size - 1 - token["id"]
    table = translation(Tokenizer.from_str(json.dumps(spec)), theirs)
    assert table.tolist() == list(range(size - 1, -1, -1))
    student = models.load_model("AutoModelForMaskedLM", folder).eval()
    with torch.no_grad():
        student.bert.embeddings.word_embeddings.weight.copy_(teacher.bert.embeddings.word_embeddings.weight[table])
        student.cls.predictions.bias.copy_(teacher.cls.predictions.bias[table])
    batch = {
        "input input_ids": torch.tensor([[9, 20, 31, 12]]),
        "input attention_mask": torch.ones(1, 4, dtype=torch.int64),
        "pick row": torch.tensor([0, 0]),
        "pick at": torch.tensor([1, 2]),
        "labels": torch.tensor([20, 30]),
    }
    terms = _masked.MaskedTerms(teacher, table)(None, student, None, batch, 0.0)
    assert float(terms["kl"]) == pytest.approx(0, abs=1e-6)
    assert float(terms["ce"]) == pytest.approx(0.5 * math.log(size), rel=0.05)


def test_output_weights_are_the_embeddings_when_their_rank_is_low(inputs: Inputs, tmp_path: Path) -> None:
    lean = student(inputs, tmp_path / "lean", Student(method=("layers", "embedding"), layers=2, embedding=8))
    out = tmp_path / "out"
    out.mkdir()
    start = models.load_model(AUTO, tmp_path / "lean")
    table, projection = start.base_model.get_input_embeddings()
    hidden = torch.randn(2, 3, 32)
    decoder = _masked.FactorisedDecoder(start.base_model.get_input_embeddings())
    assert torch.allclose(decoder(hidden), hidden @ (table.weight @ projection.weight.T).T, atol=1e-5)
    facts = pretrain.run(params(), replace(inputs, artifacts={**inputs.artifacts, "start": lean}), out, Progress(silent, "pretrain"))
    assert facts["perplexity"]["after"] < 0.7 * facts["perplexity"]["before"]
    trained = models.load_model(AUTO, out)
    assert surgery.plan(trained.config) == surgery.plan(start.config) == {"embedding_rank": 8}
    assert not torch.equal(trained.base_model.get_input_embeddings()[1].weight, projection.weight)


def test_heads_stay_narrow_when_some_were_pruned(inputs: Inputs, tmp_path: Path) -> None:
    config = models.load_model(AUTO, inputs["start"].path).config
    surgery.change(config, heads=1, head_size=16)
    from transformers import BertForSequenceClassification

    model = surgery.construct(BertForSequenceClassification, config)
    whole = _masked.with_head(model, 0)
    assert whole.base_model is model.base_model
    assert whole.base_model.encoder.layer[0].attention.self.query.out_features == 16
    assert whole(torch.tensor([[1, 2, 3]])).logits.shape == (1, 3, config.vocab_size)
    assert surgery.plan(model.config) == {"heads": 1, "head_size": 16}, "the model that is saved keeps its plan"


@pytest.mark.parametrize("task", ["image-classification", "masked-language-modeling"])
def test_fault_is_clear_when_a_task_cannot_be_pretrained(task: str) -> None:
    assert [fault.where for fault in pretrain.requires(params(task), {})] == ["pretrain"]


def test_fault_names_the_teacher_when_it_has_no_head_for_masks(inputs: Inputs, tmp_path: Path) -> None:
    faults = pretrain.requires(params(teacher=True), inputs.places)
    assert [fault.where for fault in faults] == ["pretrain.teacher"]
    assert pretrain.requires(params(), inputs.places) == []
    folder = make_teacher(tmp_path / "claims")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    with pytest.raises(ConfigError, match=r"pretrain\.teacher"):  # the config says so, the weights do not
        pretrain.run(params(teacher=True), replace(inputs, places={"teacher": str(folder)}), tmp_path, Progress(silent, "pretrain"))
