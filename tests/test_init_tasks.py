"""`init` for every task: the file is recognised, the recipe loads, and one of each task builds."""

from __future__ import annotations

import json
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import make_teacher, run_cli
from init_samples import SAMPLES, rows_of, single, texts

from edgedistill import config, data, plugins
from edgedistill.errors import ConfigError
from edgedistill.init import look, recipe_text, write_recipe
from edgedistill.stages.prepare import roles, unlabelled_roles

OPEN_DATA = Path(os.environ.get("EDGEDISTILL_DATA") or Path(__file__).parents[2] / "shared" / "data")
open_data = pytest.mark.skipif(not (OPEN_DATA / "banking77").is_dir(), reason=f"the open data sets are not in {OPEN_DATA}")
BUILT = {sample.task: name for name, sample in reversed(SAMPLES.items())}  # the first of each task


def initial(name: str, folder: Path) -> tuple[Path, dict[str, Any], str]:
    """The recipe that `init` writes for a sample, as a file, as a document and as text."""
    sample = SAMPLES[name]
    recipe = write_recipe(sample.write(folder), folder / "recipe.toml", sample.named)
    text = recipe.read_text(encoding="utf-8")
    return recipe, tomllib.loads(text), text


def test_samples_and_builds_cover_every_task() -> None:
    assert set(BUILT) == set(plugins.names("tasks"))
    assert len(SAMPLES) >= 16


@pytest.mark.parametrize("name", SAMPLES)
def test_task_and_columns_are_guessed_when_file_is_of_it(name: str, tmp_path: Path) -> None:
    sample = SAMPLES[name]
    _, document, text = initial(name, tmp_path)
    assert document["task"] == sample.task
    found = {key: value for key, value in document["data"].items() if key in ("columns", "text", "pair", "image", "label")}
    assert found == {key: value for key, value in sample.data.items() if key != "max_length"}
    assert tuple(document["rounds"][0]["losses"]) == sample.losses
    assert document["data"].get("max_length") == sample.data.get("max_length", None if "image" in found else 32)
    head = text.partition("\ntask =")[0]
    assert all(task in head for task in sample.also)
    assert ("--task" in head) == bool(sample.also)


@pytest.mark.parametrize("name", SAMPLES)
def test_recipe_loads_and_its_rows_are_examples_when_unedited(name: str, tmp_path: Path) -> None:
    file, _, _ = initial(name, tmp_path)
    recipe, base = config.load_recipe(str(file))
    task = plugins.load("tasks", recipe.task)

    def make(line: int, values: Any) -> list[Any]:
        example = task.example(values)
        return [task.target(values.get("label", ""), example, recipe.data)]

    located = data.locate(recipe.data.source, base)
    targets = list(data.made(located, recipe.data, roles(task, recipe.data), make, [], task.OPTIONAL, task.RAW))
    assert len(targets) >= 40
    assert recipe.gates.retention > 0.5


@pytest.mark.parametrize("name", SAMPLES)
def test_every_setting_has_its_remark(name: str, tmp_path: Path) -> None:
    _, _, text = initial(name, tmp_path)
    bare = [line for line in text.splitlines() if " = " in line and "#" not in line]
    assert {line.partition(" = ")[0] for line in bare} <= {"task", "learning_rate", "batch_size", "dropout"}
    assert len(text.partition("\n")[0]) > 40


def make_seer(folder: Path) -> Path:
    """A vision transformer of four narrow layers for grey images of 8 × 8."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64}
    ViTForImageClassification(ViTConfig(image_size=8, patch_size=4, num_channels=1, num_labels=2, **sizes)).save_pretrained(folder)
    spec = {"size": {"height": 8, "width": 8}, "image_mean": [0.5], "image_std": [0.5], "resample": 2, "rescale_factor": 1 / 255}
    (folder / "preprocessor_config.json").write_text(json.dumps(spec))
    return folder


def settings(recipe: config.Recipe) -> list[str]:
    """What makes a first recipe small enough for a test: a tiny teacher, few epochs, low gates."""
    changed = {"teacher.model": "teacher", "gates.retention": 0.01, "data.calibration": 16}
    changed |= {"rounds.0.schedule.epochs": 2, "rounds.0.schedule.learning_rate": 2e-3, "rounds.0.schedule.batch_size": 16}
    if recipe.teach:
        changed |= {"teach.epochs": 2, "teach.learning_rate": 2e-3, "teach.batch_size": 16}
    if recipe.student.vocabulary:
        changed["student.vocabulary"] = 100
    if recipe.data.max_length > 64:
        changed["data.max_length"] = 64  # the tiny teacher has no more positions
    return [word for key, value in changed.items() for word in ("--set", f"{key}={value}")]


@pytest.mark.parametrize("task", plugins.names("tasks"))
def test_first_recipe_builds_for_every_task(task: str, tmp_path: Path) -> None:
    sample = SAMPLES[BUILT[task]]
    place = sample.write(tmp_path)
    named = ["--task", sample.named] if sample.named else []
    run_cli("init", place.name, *named, cwd=tmp_path)
    (make_seer if task == "image-classification" else make_teacher)(tmp_path / "teacher")
    recipe, _ = config.load_recipe(str(tmp_path / "recipe.toml"))
    done = run_cli("build", "--target", "linux-x64", "--no-bench", "--json", *settings(recipe), cwd=tmp_path, check=None)
    assert done.returncode in (0, 4), done.stderr  # 4: a teacher of a second's training may leave nothing to hold a gate against
    document = json.loads(done.stdout)
    assert document["n_test"] >= 8
    run_cli("verify", document["bundle"], cwd=tmp_path)


def test_task_is_refused_when_file_does_not_suit_or_nobody_knows_it(tmp_path: Path) -> None:
    file = single(tmp_path)
    with pytest.raises(ConfigError, match="do not suit text-regression") as caught:
        look(file, "text-regression")
    assert "text-classification" in caught.value.hint
    with pytest.raises(ConfigError, match="unknown task 'text-clasification'") as caught:
        look(file, "text-clasification")
    assert "text-classification" in caught.value.hint


def test_any_task_that_suits_is_written_when_it_is_named(tmp_path: Path) -> None:
    file = SAMPLES["scored"].write(tmp_path)
    for index, task in enumerate((SAMPLES["scored"].task, *SAMPLES["scored"].also)):
        written = write_recipe(file, tmp_path / f"{index}.toml", task)
        assert config.load_recipe(str(written))[0].task == task


@pytest.mark.parametrize(
    ("first", "columns"),
    [
        (["review", "verdict"], None),
        (["Wie gefiel es?", "Urteil"], None),
        (["", "name"], None),
        (["a film that I liked very much", "neutral"], ["text", "label"]),
    ],
)
def test_first_line_is_a_row_only_when_its_label_comes_again(first: list[str], columns: list[str] | None, tmp_path: Path) -> None:
    file = rows_of(tmp_path / "films.csv", [first, *([text, name] for _, text, name in texts())])
    found = look(file).guess
    assert list(found.columns) == (columns or [])
    assert found.rows == 120 + bool(columns)


def test_commas_in_class_names_make_no_sets(tmp_path: Path) -> None:
    names = {"positive": "good, very", "negative": "bad, rather", "neutral": "so, so so"}
    file = rows_of(tmp_path / "films.csv", [["text", "label"], *([text, names[name]] for _, text, name in texts())])
    assert look(file).guess.task == "text-classification"


def test_separator_is_written_when_it_is_no_comma(tmp_path: Path) -> None:
    rows = [[text, "a;b" if index % 3 == 0 else "ab"[index % 2]] for index, text, _ in texts()]
    recipe, _ = config.load_recipe(str(write_recipe(rows_of(tmp_path / "sets.csv", [["text", "tags"], *rows]), tmp_path / "recipe.toml")))
    assert (recipe.task, recipe.data.separator) == ("multi-label-classification", ";")


def test_held_out_companions_are_found_beside_every_kind(tmp_path: Path) -> None:
    for name, parts in {"opened": ("train.txt", "test.txt"), "idx": ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")}.items():
        (tmp_path / name).mkdir()
        SAMPLES[name].write(tmp_path / name)
        for file in list((tmp_path / name).iterdir()):
            other = file.name.replace("train", parts[1].partition("-")[0].removesuffix(".txt"))
            (tmp_path / name / other).write_bytes(file.read_bytes())
        found = look(tmp_path / name)
        assert (found.guess.path.name, found.test and found.test.name) == parts


def test_folder_of_splits_is_read_by_its_training_folder(tmp_path: Path) -> None:
    photos = SAMPLES["folders"].write(tmp_path)
    for split in ("train", "test"):
        (tmp_path / "all" / split).parent.mkdir(exist_ok=True)
        (photos if split == "test" else SAMPLES["folders"].write(tmp_path / "more")).rename(tmp_path / "all" / split)
    recipe, base = config.load_recipe(str(write_recipe(tmp_path / "all")))
    assert (recipe.data.source, recipe.data.test, base.name) == ("train", "test", "all")


def test_recipe_is_not_written_into_a_folder_that_is_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = SAMPLES["folders"].write(tmp_path)
    monkeypatch.chdir(photos)
    with pytest.raises(ConfigError, match="would lie inside the data") as caught:
        write_recipe(Path("."))
    assert "edgedistill init photos" in caught.value.hint
    monkeypatch.chdir(tmp_path)
    assert write_recipe(Path("photos")) == Path("recipe.toml")


def test_bare_text_is_taken_only_when_nothing_has_labels(tmp_path: Path) -> None:
    SAMPLES["corpus"].write(tmp_path)
    assert look(tmp_path).guess.task == "masked-language-modeling"
    single(tmp_path)
    assert look(tmp_path).guess.task == "text-classification"


def test_table_with_header_is_told_apart_when_it_is_called_txt(tmp_path: Path) -> None:
    rows_of(tmp_path / "films.txt", [["text", "label"], *([text, name] for _, text, name in texts())], "\t")
    with pytest.raises(ConfigError, match="a table with a header") as caught:
        look(tmp_path / "films.txt")
    assert "films.tsv" in caught.value.hint


@open_data
@pytest.mark.data
@pytest.mark.parametrize(
    ("place", "named", "task", "columns", "held_out"),
    [
        ("sst2", None, "text-classification", {"text": "text", "label": "label"}, True),
        ("cad_nli", None, "text-classification", {"text": "sentence1", "pair": "sentence2", "label": "gold_label"}, True),
        ("goemotions/dev.tsv.gz", None, "multi-label-classification", {"text": "text", "label": "labels"}, False),
        ("stsb_en", None, "text-regression", {"text": "sentence1", "pair": "sentence2", "label": "score"}, True),
        ("stsb_en", "sentence-embedding", "sentence-embedding", {"text": "sentence1", "pair": "sentence2", "label": "score"}, True),
        ("ud_ewt/en_ewt-ud-dev.conllu.gz", None, "token-classification", {"text": "form", "label": "upos"}, False),
        ("uner_ewt", None, "token-classification", {"text": "words", "label": "tags"}, False),
        ("snips/validate.jsonl.gz", "token-classification", "token-classification", {"text": "text", "label": "slots"}, False),
        ("squadshifts/amazon_reviews_v1.0.json.gz", None, "question-answering", {"text": "context", "pair": "question", "label": "answers"}, False),
        ("lm_tinyshakespeare", None, "masked-language-modeling", {"text": "text"}, False),
    ],
)
def test_open_data_is_guessed_for_its_task(place: str, named: str | None, task: str, columns: dict[str, str], held_out: bool, tmp_path: Path) -> None:
    found = look(OPEN_DATA / place, named)
    assert (found.guess.task, found.guess.roles) == (task, columns)
    assert bool(found.test and found.validation) == held_out
    (tmp_path / "recipe.toml").write_text(recipe_text(found, tmp_path), encoding="utf-8")
    assert config.load_recipe(str(tmp_path / "recipe.toml"))[0].task == task


def test_transfer_of_images_needs_no_text(tmp_path: Path) -> None:
    file, _, text = initial("folders", tmp_path)
    lines = [line.removeprefix("# ") if line.startswith(("# [transfer", "# source", "# rows")) else line for line in text.splitlines()]
    file.write_text("\n".join(lines), encoding="utf-8")
    recipe, _ = config.load_recipe(str(file))
    assert recipe.transfers[0].source == "unlabelled"
    assert unlabelled_roles(plugins.load("tasks", recipe.task), recipe.transfers[0], recipe.data) == {"image": "image"}
