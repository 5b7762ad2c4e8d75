"""What transformers asks of a family's config is asked before anything runs: a padding token, lists with an entry for every layer, sizes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stage_cases
import torch
import transformers
from decoders import FAMILIES, WORDS, make_folder
from tiny import make_teacher, origin

from edgedistill import surgery
from edgedistill.errors import ConfigError, StageError
from edgedistill.progress import Progress, silent
from edgedistill.spec import Inputs, Student
from edgedistill.stages import export, student, teach
from edgedistill.students import config as sizes
from edgedistill.students import layers
from edgedistill.tasks import Row
from edgedistill.tasks import text_classification as task
from edgedistill.training import models

AUTO = task.AUTO_CLASS
DEPTHS = {
    "gpt2": "n_layer",
    "qwen2": "num_hidden_layers",
    "gpt-neo": "num_layers",
    "modernbert": "num_hidden_layers",
    "longformer": "num_hidden_layers",
}
DECODERS = ("gpt2", "qwen2", "gpt-neo")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A teacher of each family."""
    root = tmp_path_factory.mktemp("families")
    return {family: make_folder(root / family, family) for family in FAMILIES}


def asked(folder: Path, max_length: int = 24, **student_keys: Any) -> list[tuple[str, str]]:
    params = student.Params(task="text-classification", student=Student(**student_keys), trial=None, max_length=max_length, seed=0)
    places = {"teacher": str(folder)} | ({"student": str(student_keys["model"])} if "model" in student_keys else {})
    return [(fault.where, fault.what) for fault in student.requires(params, places)]


# ── padding ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("settings", [{}, {"padding_side": "left"}], ids=["plain", "left"])
@pytest.mark.parametrize("family", DECODERS)
def test_batches_are_filled_up_with_the_end_of_text_when_a_decoder_names_no_padding(
    folders: dict[str, Path], family: str, settings: dict[str, str]
) -> None:
    """The truth is transformers' own answer to each text by itself, where nothing is filled up, so that the side has no say."""
    (folders[family] / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(folders[family]).eval()
    assert plain.config.pad_token_id is None
    model = models.load_model(AUTO, folders[family])
    assert model.config.pad_token_id == 1
    encoder = models.load_tokenizer(folders[family])
    rows = task.encode(encoder, [{"text": " ".join(WORDS[:count])} for count in (7, 2, 5, 1)], 24)
    flat = [row for (row,) in rows]
    for found, row in zip(models.answers(task, model.eval(), flat, models.pad_id(model), 4), flat, strict=True):
        with torch.inference_mode():
            alone = plain(input_ids=torch.tensor([row.ids])).logits.numpy()
        np.testing.assert_allclose(found, alone, atol=2e-6)


@pytest.mark.parametrize("token", ["sunny", {"content": "sunny", "lstrip": False}])
def test_padding_is_the_tokenizers_when_it_names_one(tmp_path: Path, token: Any) -> None:
    folder = make_folder(tmp_path, "gpt2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": token, "eos_token": "<|endoftext|>"}), encoding="utf-8")
    assert models.load_model(AUTO, folder).config.pad_token_id == WORDS.index("sunny") + 2


def test_padding_is_the_tokenizers_end_of_text_when_the_config_names_one_outside_of_the_vocabulary(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "gpt2", eos_token_id=50256, bos_token_id=None)
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}), encoding="utf-8")
    assert models.load_model(AUTO, folder).config.pad_token_id == 1


@pytest.mark.parametrize("family", ["gpt2", "qwen2"])
def test_line_to_add_is_named_when_a_decoder_has_neither_padding_nor_end(tmp_path: Path, family: str) -> None:
    folder = make_folder(tmp_path, family, eos_token_id=None, bos_token_id=None)
    params = teach.Params(task="text-classification", schedule=None, max_length=24, seed=0)
    (fault,) = teach.requires(params, {"teacher": str(folder)})
    assert fault.where == "teacher.model"
    assert fault.what == f"{folder} has no padding token, and no end of text to take its place"
    assert fault.hint == f'add "pad_token_id" with the id of a token that no text holds to {folder / "config.json"}'
    assert asked(folder, method="checkpoint", model=str(folder)) == [("student.model", fault.what)]
    with pytest.raises(ConfigError, match="no padding token"):
        models.load_model(AUTO, folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": 1}), encoding="utf-8")
    assert teach.requires(params, {"teacher": str(folder)}) == []
    assert models.load_model(AUTO, folder).config.pad_token_id == 1


def test_checkpoint_gets_its_padding_when_it_is_a_decoder(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "gpt2", "gpt2")
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "sunny"}), encoding="utf-8")
    inputs = stage_cases.material(tmp_path)
    wanted = Student(method="checkpoint", model="x")
    params = student.Params(task="text-classification", student=wanted, trial=None, max_length=24, seed=0)
    student.run(params, Inputs(artifacts=inputs.artifacts, places={"student": str(folder)}), tmp_path, Progress(silent, "student"))
    made = models.load_model(AUTO, tmp_path)
    assert models.load_tokenizer(tmp_path).id_to_token(made.config.pad_token_id) == "sunny"


def test_padding_stays_when_the_config_names_one() -> None:
    assert models.pad_id(make_teacher("bert")) == 1  # tiny's


# ── lists with an entry for every layer ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", FAMILIES)
def test_student_is_made_saved_and_read_when_the_config_has_fewer_layers(folders: dict[str, Path], tmp_path: Path, family: str) -> None:
    assert asked(folders[family], method="config", config={DEPTHS[family]: 2}) == []
    teacher = models.load_model(AUTO, folders[family])
    before = copy.deepcopy(teacher.config.to_dict())
    made = sizes.build(Student(method="config", config={DEPTHS[family]: 2}), origin(teacher, models.load_tokenizer(folders[family])), 0)
    models.save(made.model, made.tokenizer, tmp_path)
    again = models.load_model(AUTO, tmp_path)
    assert getattr(again.config, DEPTHS[family]) == 2
    for key in ("layer_types", "attention_window", "attention_layers"):
        if key in before:
            assert getattr(again.config, key) == before[key][:2]
    assert teacher.config.to_dict() == before
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 1, 1]])
    with torch.inference_mode():
        assert again(input_ids=ids, attention_mask=(ids != 1).long()).logits.shape == (2, 3)


def test_entries_are_those_of_the_layers_that_are_copied() -> None:
    teacher = make_teacher("bert", windows=[7, 8, 9, 10], names=["a", "b"], architectures=["w", "x", "y", "z"])
    made = layers.build(Student(method="layers", layers=(0, 3)), origin(teacher), 0)
    assert (made.model.config.windows, made.model.config.names) == ([7, 10], ["a", "b"])
    assert len(teacher.config.windows) == 4


def test_lists_are_left_alone_when_there_are_more_layers_than_entries() -> None:
    config = transformers.BertConfig(num_hidden_layers=4, windows=[7, 8, 9, 10])
    surgery.keep_layers(config, range(6))
    assert (config.num_hidden_layers, config.windows) == (6, [7, 8, 9, 10])


# ── what transformers refuses ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("family", "config", "where", "words"),
    [
        ("gpt2", {"n_head": 3}, "student.config.n_head", "`embed_dim` must be divisible by num_heads"),
        ("modernbert", {"num_hidden_layers": 6}, "student.config.num_hidden_layers", "must be equal to the number of `layer_types` (4)"),
        ("longformer", {"num_hidden_layers": 6}, "student.config.num_hidden_layers", "Expected 6, given 4"),
        ("gpt-neo", {"num_layers": 6, "hidden_size": 32}, "student.config.num_layers", "`config.num_layers = 6`"),
        ("qwen2", {"num_key_value_heads": 3}, "student.config.num_key_value_heads", "must match the size"),
    ],
)
def test_key_is_named_when_transformers_makes_no_such_model(
    folders: dict[str, Path], family: str, config: dict[str, int], where: str, words: str
) -> None:
    ((found, what),) = asked(folders[family], method="config", config=config)
    assert found == where
    assert words in what
    teacher = models.load_model(AUTO, folders[family])
    with pytest.raises(ConfigError) as refused:
        sizes.build(Student(method="config", config=config), origin(teacher, models.load_tokenizer(folders[family])), 0)
    assert [fault.where for fault in refused.value.faults] == [where]


@pytest.mark.parametrize(("family", "key"), [("gpt2", "n_positions"), ("qwen2", "max_position_embeddings")])
def test_room_is_named_when_texts_may_be_longer_than_the_students_positions(folders: dict[str, Path], family: str, key: str) -> None:
    wanted = [("data.max_length", "24 tokens, but the student has positions for 16")]
    assert asked(folders[family], method="config", config={key: 16}) == wanted
    assert asked(folders[family], 16, method="config", config={key: 16}) == []


def test_room_is_named_when_texts_may_be_longer_than_a_checkpoints_positions(folders: dict[str, Path]) -> None:
    assert asked(folders["gpt2"], 65, method="checkpoint", model=str(folders["gpt2"])) == [
        ("data.max_length", "65 tokens, but the student has positions for 64")
    ]


# ── export ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def exported(folder: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "out").mkdir()
    inputs = Inputs(artifacts={"prepare": stage_cases.prepared(tmp_path / "prepare"), "model": stage_cases.artifact("distil", folder)}, places={})
    params = export.Params(task="text-classification", exporter="torchscript", opset=17, ir_version=8, max_length=24, plain=False)
    return export.run(params, inputs, tmp_path / "out", Progress(silent, "export"))


def test_graph_answers_as_torch_does_when_it_is_a_decoders(folders: dict[str, Path], tmp_path: Path) -> None:
    facts = exported(folders["gpt2"], tmp_path)
    assert facts["pad_id"] == 1
    assert facts["parity"]["max_abs"] < 1e-5


def test_family_is_named_when_its_graph_runs_at_one_length_only(folders: dict[str, Path]) -> None:
    """What onnxruntime says of a Longformer whose texts fill another number of windows than the traced one."""

    def run(*arguments: Any) -> Any:
        raise RuntimeError("Shape mismatch attempting to re-use buffer. {2} != {3}")

    session = SimpleNamespace(get_inputs=lambda: [], run=run)
    model = models.load_model(AUTO, folders["longformer"])
    with pytest.raises(StageError, match=r"the graph of this longformer does not run for other lengths .*\{2\} != \{3\}"):
        export._parity(model, session, task, [Row(ids=[5])], 0)
