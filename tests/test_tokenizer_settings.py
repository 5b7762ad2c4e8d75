"""What lies beside tokenizer.json: the ids are those of transformers' own AutoTokenizer, from the teacher's folder to the bundle."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import stage_cases
from conftest import CLASSES, make_teacher, write_project
from task_cases import tokenizer_of
from tokenizers import Tokenizer, pre_tokenizers, processors
from tokenizers import models as pieces
from transformers import AutoTokenizer, BertForMaskedLM

from edgedistill import config, pipeline, runtime
from edgedistill.bundle import reader
from edgedistill.cache import Store
from edgedistill.errors import ConfigError
from edgedistill.progress import Progress, silent
from edgedistill.spec import Augment, Inputs, Student
from edgedistill.stages import _usage, augment, pack, student, teach
from edgedistill.stages._substitute import Substitutes
from edgedistill.students._vocabulary import trim
from edgedistill.tasks import masked_language_modeling, question_answering, text_classification, token_classification
from edgedistill.training import models

TASK = "text-classification"
CUT = 9
TEXTS = [
    "Sunny the FILM was lovely and the day felt warm and so kind",
    "a gentle Sunny day",
    "bright Été, façade; 中文 the 7",
    "this  story is very  quite awful sunny day",
]
BERT = {"tokenizer_class": "BertTokenizer"}
ADDED = {"content": "sunny day", "special": False, "lstrip": False, "rstrip": False, "single_word": False, "normalized": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "side": {"tokenizer_config.json": {"truncation_side": "left"}},
    "side in the map": {"special_tokens_map.json": {"truncation_side": "left", "pad_token": "[PAD]"}},
    "both": {
        "tokenizer_config.json": BERT | {"truncation_side": "right", "do_lower_case": True},
        "special_tokens_map.json": {"truncation_side": "left", "do_lower_case": False},
    },
    "newer config": {
        "tokenizer_config.json": BERT | {"truncation_side": "right", "added_tokens_decoder": {"0": {"content": "[PAD]", "special": True}}},
        "special_tokens_map.json": {"truncation_side": "left"},
    },
    "case": {"tokenizer_config.json": BERT | {"do_lower_case": False}},
    "case and side": {"tokenizer_config.json": BERT | {"do_lower_case": False, "truncation_side": "left"}},
    "accents": {"tokenizer_config.json": BERT | {"strip_accents": False, "tokenize_chinese_chars": False}},
    "class without case": {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}},
    "added": {"tokenizer_config.json": BERT | {"added_tokens_decoder": {"102": ADDED}}},
    "agreeing": {"tokenizer_config.json": BERT | {"do_lower_case": True, "padding_side": "left", "model_max_length": 512}},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_teacher(tmp_path_factory.mktemp("plain") / "teacher", labels=sorted(CLASSES))


def with_files(plain: Path, folder: Path, files: dict[str, Any]) -> Path:
    """A copy of the teacher with settings beside its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in plain.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def ids(tokenizer: Any, texts: list[str] = TEXTS, **pair: str) -> list[list[int]]:
    return [list(row.ids) for (row,) in text_classification.encode(tokenizer, [{"text": text} | pair for text in texts], CUT)]


def theirs(folder: Path, texts: list[str] = TEXTS, *pair: str) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text, *pair, truncation=True, max_length=CUT)["input_ids"] for text in texts]


@pytest.mark.parametrize("name", SETTINGS)
def test_ids_are_transformers_when_settings_lie_beside_the_tokenizer(plain: Path, tmp_path: Path, name: str) -> None:
    folder = with_files(plain, tmp_path / "model", SETTINGS[name])
    tokenizer = models.load_tokenizer(folder)
    auto = AutoTokenizer.from_pretrained(folder)
    assert ids(tokenizer) == theirs(folder)
    assert ids(tokenizer, pair=TEXTS[0]) == theirs(folder, TEXTS, TEXTS[0])
    assert [tokenizer.encode(text).ids for text in TEXTS] == [auto(text)["input_ids"] for text in TEXTS], "nothing is cut between two encodings"
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert ids(text_classification.load(tmp_path)) == theirs(folder), "tokenizer.json alone says all of it"


def test_bytes_of_the_tokenizer_stay_when_settings_agree_with_it(plain: Path, tmp_path: Path) -> None:
    folder = with_files(plain, tmp_path, SETTINGS["agreeing"])
    assert models.load_tokenizer(folder).to_str() == models.load_tokenizer(plain).to_str()
    assert models.load_tokenizer(plain).truncation is None


def test_side_is_the_files_own_when_no_setting_names_one(plain: Path, tmp_path: Path) -> None:
    folder = with_files(plain, tmp_path, {})
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(12, direction="left")
    tokenizer.save(str(folder / "tokenizer.json"))
    assert ids(models.load_tokenizer(folder)) == theirs(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "right"}), encoding="utf-8")
    assert ids(models.load_tokenizer(folder)) == theirs(folder) == ids(models.load_tokenizer(plain))


@pytest.mark.parametrize("name", ["RobertaTokenizer", "GPT2Tokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("blank", [True, False])
def test_first_word_begins_as_transformers_has_it_when_a_setting_adds_a_blank(tmp_path: Path, name: str, blank: bool) -> None:
    marks = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    ids_of = {piece: index for index, piece in enumerate([*marks, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa", "ab"])}
    tokenizer = Tokenizer(pieces.BPE(vocab=ids_of, merges=[("Ġ", "a"), ("a", "b")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    tokenizer.add_special_tokens(marks)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    kind = "gpt2" if name == "GPT2Tokenizer" else "roberta"
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name, "add_prefix_space": blank}), encoding="utf-8")
    texts = ["ab a b", " a ab", "b"]
    assert ids(models.load_tokenizer(tmp_path), texts) == theirs(tmp_path, texts)


# ── on the way to the bundle ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def left(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose texts keep their end, and their case."""
    return with_files(plain, tmp_path_factory.mktemp("left") / "teacher", SETTINGS["case and side"])


def test_student_reads_the_end_of_a_text_when_its_teacher_does(left: Path, tmp_path: Path) -> None:
    prepared = stage_cases.prepared(tmp_path / "prepare", train=24)
    taught, made = tmp_path / "teach", tmp_path / "student"
    for out in (taught, made):
        out.mkdir()
    params = teach.Params(task=TASK, schedule=None, max_length=CUT, seed=0)
    teach.run(params, Inputs(artifacts={"prepare": prepared}, places={"teacher": str(left)}), taught, Progress(silent, "teach"))
    assert not (taught / "tokenizer_config.json").exists()
    assert ids(models.load_tokenizer(taught)) == theirs(left)
    wanted = student.Params(task=TASK, student=Student(layers=2, vocabulary=100), trial=None, max_length=CUT, seed=0)
    inputs = Inputs(artifacts={"prepare": prepared, "teach": stage_cases.artifact("teach", taught)}, places={"teacher": str(left)})
    student.run(wanted, inputs, made, Progress(silent, "student"))
    smaller = models.load_tokenizer(made)
    texts = ["the film was very lovely and the day felt warm", "a story"]
    assert [[smaller.id_to_token(one) for one in row] for row in ids(smaller, texts)] == [
        AutoTokenizer.from_pretrained(left).convert_ids_to_tokens(row) for row in theirs(left, texts)
    ]


def test_checkpoint_reads_as_its_own_folder_says(left: Path, tmp_path: Path) -> None:
    inputs = stage_cases.material(tmp_path)
    params = student.Params(task=TASK, student=Student(method="checkpoint", model="x"), trial=None, max_length=CUT, seed=0)
    student.run(params, Inputs(artifacts=inputs.artifacts, places={"student": str(left)}), tmp_path, Progress(silent, "student"))
    assert ids(models.load_tokenizer(tmp_path)) == theirs(left)


def test_bundle_reads_the_end_of_a_text_and_says_so(left: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params: Any = SimpleNamespace(max_length=CUT)
    found = {}
    for name, folder in (("left", left), ("right", plain)):
        out = tmp_path / name
        out.mkdir()
        models.load_tokenizer(folder).save(str(out / "tokenizer.json"))
        found[name] = pack._encoder(params, text_classification, stage_cases.artifact("export", out, pad_id=0))
    assert found["left"] == found["right"] | {"truncation_side": "left"}
    assert "truncation_side" not in found["right"]
    assert _usage.side(token_classification, tmp_path / "left") == _usage.side(question_answering, tmp_path / "left") == "right", "windows"
    monkeypatch.setattr(runtime, "open_session", lambda *arguments, **options: None)
    monkeypatch.setattr(runtime, "run_examples", lambda *arguments, **options: [])
    bundle = reader.Bundle(path=tmp_path / "left", manifest={"schema": "edgedistill.bundle/2", "task": TASK, "encoder": found["left"]})
    assert [list(row.ids) for (row,) in reader.say(bundle, [{"text": text} for text in TEXTS]).rows] == theirs(left)


def test_windows_stay_the_same_when_texts_keep_their_end() -> None:
    """What is read in windows loses nothing, whichever side."""
    tags = [{"words": [*TEXTS[0].split(), "unforgettable" * 4]}]
    asked = [{"question": TEXTS[1] * 3, "context": " ".join(TEXTS)}]
    tokenizer = tokenizer_of("wordpiece")
    for task, examples in ((token_classification, tags), (question_answering, asked)):
        rows = []
        for side in ("right", "left"):
            runtime.leave_whole(tokenizer, side)
            rows.append(task.encode(tokenizer, examples, 16))
            assert runtime.side(tokenizer) == side
        assert rows[0] == rows[1]
        assert len(rows[0][0]) > 1


def test_masks_at_the_end_are_read_when_texts_keep_their_end() -> None:
    tokenizer = tokenizer_of("wordpiece")
    text = " ".join(["river"] * 20) + " [MASK]"
    with pytest.raises(ValueError, match="beyond the 8 pieces"):
        masked_language_modeling.check(tokenizer, {"text": text}, 8)
    runtime.leave_whole(tokenizer, "left")
    masked_language_modeling.check(tokenizer, {"text": text}, 8)
    ((row,),) = masked_language_modeling.encode(tokenizer, [{"text": text}], 8)
    assert list(row.at) == [6], "the last before [SEP]"


def test_words_at_the_end_are_substituted_when_the_masked_model_keeps_the_end(tmp_path: Path) -> None:
    folder = make_teacher(tmp_path)
    BertForMaskedLM.from_pretrained(folder).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"truncation_side": "left"}), encoding="utf-8")
    assert runtime.side(Substitutes(folder, CUT).tokenizer) == "left"


def test_side_is_kept_when_a_vocabulary_is_trimmed() -> None:
    tokenizer = tokenizer_of("wordpiece")
    runtime.leave_whole(tokenizer, "left")
    assert runtime.side(trim(tokenizer, TEXTS, 120).tokenizer) == "left"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def longest(folder: Path, length: Any) -> Path:
    (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": length}), encoding="utf-8")
    return folder


def said(folder: Path, whose: str) -> str:
    return f"24 tokens, but {whose}'s tokenizer reads 16 (model_max_length in {folder / 'tokenizer_config.json'})"


def test_length_is_refused_before_anything_runs_when_the_tokenizer_reads_less(tmp_path: Path) -> None:
    folder = write_project(tmp_path)
    longest(folder / "teacher", 16)

    def plan(deep: bool, *settings: str) -> None:
        recipe, base = config.load_recipe(str(folder / "recipe.toml"), settings)
        steps = pipeline.plan(recipe, config.load_target("linux-x64"), base)
        pipeline.require(recipe, [steps], Store(tmp_path / "store"), deep=deep)

    for deep in (False, True):
        with pytest.raises(ConfigError) as refused:
            plan(deep)
        (fault,) = refused.value.faults
        assert (fault.where, fault.what) == ("data.max_length", said(folder / "teacher", "the teacher"))
        assert fault.hint.startswith("max_length = 16")
        plan(deep, "data.max_length=16")


def test_length_is_refused_when_a_students_or_the_masked_models_tokenizer_reads_less(plain: Path, tmp_path: Path) -> None:
    folder = longest(with_files(plain, tmp_path, {}), 16)
    asked = student.Params(task=TASK, student=Student(method="checkpoint", model="x"), trial=None, max_length=24, seed=0)
    found = student.requires(asked, {"teacher": str(plain), "student": str(folder)})
    assert [(fault.where, fault.what) for fault in found] == [("data.max_length", said(folder, "the student"))]
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | {"architectures": []}), encoding="utf-8")
    wanted = augment.Params(task=TASK, augment=Augment(substitute=0.5, model="x"), max_length=24, seed=0)
    found = augment.requires(wanted, {"augmenter": str(folder)})
    assert [(fault.where, fault.what) for fault in found] == [("data.max_length", said(folder, "augment.model"))]


@pytest.mark.parametrize("length", [24, 512, 1e30, None, "many"])
def test_length_is_no_fault_when_the_tokenizer_reads_as_much_or_names_none(plain: Path, tmp_path: Path, length: Any) -> None:
    assert models.text_faults(text_classification, longest(with_files(plain, tmp_path, {}), length), 24) == []


def test_file_is_named_when_a_side_is_none(plain: Path, tmp_path: Path) -> None:
    folder = with_files(plain, tmp_path, {"tokenizer_config.json": {"truncation_side": "middle"}})
    (fault,) = models.text_faults(text_classification, folder, 24)
    assert str(fault) == f"{folder / 'tokenizer_config.json'}: truncation_side is 'middle'\n    hint: left or right"
    with pytest.raises(ConfigError, match="truncation_side is 'middle'"):
        models.load_tokenizer(folder)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
@pytest.mark.parametrize("content", ["no json", "[]", "[" * 100_000])
def test_file_is_named_when_it_is_no_json_object(plain: Path, tmp_path: Path, name: str, content: str) -> None:
    folder = with_files(plain, tmp_path, {})
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=name):
        models.text_faults(text_classification, folder, 24)


def test_setting_is_named_when_transformers_cannot_say_what_it_means(plain: Path, tmp_path: Path) -> None:
    folder = with_files(plain, tmp_path, {"tokenizer_config.json": {"do_lower_case": False, "added_tokens_decoder": {"102": "bare"}}})
    with pytest.raises(ConfigError, match=r"tokenizer_config.json sets do_lower_case, which .*tokenizer.json does not") as refused:
        models.load_tokenizer(folder)
    assert "take do_lower_case, added_tokens_decoder out" in refused.value.faults[0].hint
