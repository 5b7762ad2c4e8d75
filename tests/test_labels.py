"""What the recipe says of labels: readable names for numbers, an order of classes, and spellings that mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, write_rows

from edgedistill import config, pipeline, plugins
from edgedistill.bundle.reader import Bundle
from edgedistill.bundle.use import _labelled
from edgedistill.errors import ConfigError, DataError
from edgedistill.progress import Event, Progress
from edgedistill.spec import Data, Inputs
from edgedistill.stages import prepare
from edgedistill.stages._splits import class_names, read_split


def prepared(folder: Path, labels: list[str], task: str = "text-classification", **data: Any) -> tuple[Path, dict[str, Any], list[str]]:
    """The step's folder, facts and warnings for rows that have these labels in turns."""
    file, out = folder / "rows.jsonl", folder / "out"
    role = plugins.load("tasks", task).COLUMNS["label"]
    rows = [{"text": f"line number {index}", "words": ["line", str(index)], role: labels[index % len(labels)]} for index in range(40 * len(labels))]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    out.mkdir()
    heard: list[Event] = []
    params = prepare.Params(task=task, data=Data(source=file.name, test=0.2, validation=0.1, **data), transfers=(), seed=0)
    facts = prepare.run(params, Inputs(artifacts={}, places={"data": str(file)}), out, Progress(heard.append, "prepare"))
    return out, facts, [event.text for event in heard if event.kind == "warn"]


def told(out: Path, names: list[str]) -> set[tuple[str, str]]:
    """Which label of the file each class's examples had: the numbers in their texts are in the file's order."""
    split = read_split(out, "train")
    return {
        (names[int(one["text"].rsplit(" ", 1)[1]) % len(names)], class_names(out)[number])
        for one, number in zip(split.examples, split.targets, strict=True)
    }


def test_numbers_have_readable_names_when_the_recipe_gives_them(tmp_path: Path) -> None:
    out, facts, _ = prepared(tmp_path, ["1", "0"], names=("negative", "positive"))
    assert class_names(out) == ["negative", "positive"]
    assert told(out, ["1", "0"]) == {("1", "positive"), ("0", "negative")}
    assert facts["classes"]["test"] == {"negative": 8, "positive": 8}
    assert facts["spellings"] == {"0": "negative", "1": "positive"}
    assert facts["labels"] == ["0", "1"]


def test_names_go_by_number_when_there_are_more_than_ten(tmp_path: Path) -> None:
    """10 is after 9, not after 1."""
    numbers = [str(number) for number in range(11)]
    out, _, _ = prepared(tmp_path, numbers, names=tuple(f"class {chr(97 + number)}" for number in range(11)))
    assert told(out, numbers) == {(str(number), f"class {chr(97 + number)}") for number in range(11)}


@pytest.mark.parametrize(("labels", "names"), [(["good", "bad"], ("good", "bad")), (["0", "1"], ("1", "0")), (["1", "2", "3"], ("2", "1", "3"))])
def test_names_are_the_order_when_they_are_the_datas_labels(tmp_path: Path, labels: list[str], names: tuple[str, ...]) -> None:
    out, facts, _ = prepared(tmp_path, labels, names=names)
    assert class_names(out) == list(names)
    assert told(out, labels) == {(label, label) for label in labels}
    assert "spellings" not in facts


def test_tags_of_numbers_have_names_when_words_are_tagged(tmp_path: Path) -> None:
    out, _, _ = prepared(tmp_path, [[0, 1], [2, 0]], task="token-classification", text="words", names=("O", "B-PER", "I-PER"))  # type: ignore[list-item]
    assert class_names(out) == ["O", "B-PER", "I-PER"]
    assert {tuple(target) for target in read_split(out, "train").targets} == {(0, 1), (2, 0)}


@pytest.mark.parametrize(
    ("labels", "names", "words"),
    [
        (["0", "1"], ("a", "b", "c"), ["3 names, but the data has 2 classes: 0, 1", 'names = ["0", "1"]']),
        (["good", "bad"], ("good", "awful"), ["'awful' is no label of the data", "known: bad, good"]),
        (["1", "2"], ("one", "two"), ["2 faults", "'one' is no label", "'two' is no label"]),
    ],
)
def test_names_are_a_fault_when_they_do_not_fit_the_data(tmp_path: Path, labels: list[str], names: tuple[str, ...], words: list[str]) -> None:
    with pytest.raises(DataError) as error:
        prepared(tmp_path, labels, names=names)
    assert [word for word in words if word not in str(error.value)] == []


# ── the recipe ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("labels")
    write_rows(place / "rows.csv", 60)
    (place / "more.txt").write_text("some text\n", encoding="utf-8")
    (place / "teacher").mkdir()
    (place / "teacher" / "config.json").write_text("{}", encoding="utf-8")
    (place / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    return place


def test_keys_are_what_they_were_when_a_recipe_has_none_of_it(project: Path) -> None:
    """What was asked before there were names and spellings is asked in the same words."""
    recipe, base = config.load_recipe(str(project / "recipe.toml"))
    (step,) = [one for one in pipeline.plan(recipe, config.load_target("linux-x64"), base) if one.stage == "prepare"]
    assert not {"names", "merge"} & step.asked["params"]["data"].keys()


@pytest.mark.parametrize("setting", ['data.names=["negative", "positive", "neutral"]', 'data.merge={ "source" = "neutral" }'])
def test_everything_is_made_anew_when_classes_change(project: Path, setting: str) -> None:
    keys = []
    for settings in ((), (setting,)):
        recipe, base = config.load_recipe(str(project / "recipe.toml"), settings)
        keys.append({step.key for step in pipeline.plan(recipe, config.load_target("linux-x64"), base)})
    assert not keys[0] & keys[1]


@pytest.mark.parametrize(
    ("settings", "where", "what"),
    [
        (["data.names=['one']"], "data.names", "at least two classes"),
        (["data.names=['a', 'b', 'a']"], "data.names", "both be called 'a'"),
        (["data.names=['a', ' ']"], "data.names", "a name is empty"),
        (["task=text-regression", "data.names=['a', 'b']"], "data.names", "the labels of text-regression are no classes"),
        (["task=question-answering", "data.merge={ a = 'b' }"], "data.merge", "the labels of question-answering are no classes"),
        (["data.merge={ a = '' }"], "data.merge.a", "means no label"),
        (["data.merge={ a = 'b', b = 'c' }"], "data.merge.a", "means 'b', which is itself merged"),
        (["data.merge={ a = 'a' }"], "data.merge.a", "itself merged"),
    ],
)
def test_recipe_is_refused_when_its_classes_cannot_be(project: Path, settings: list[str], where: str, what: str) -> None:
    with pytest.raises(ConfigError) as error:
        config.load_recipe(str(project / "recipe.toml"), settings)
    assert [(fault.where.endswith(f": {where}"), what in fault.what) for fault in error.value.faults] == [(True, True)]


def test_default_recipe_has_readable_classes() -> None:
    recipe, _ = config.load_recipe("default")
    assert recipe.data.names == ("negative", "positive")


# ── a bundle reads what its recipe read ──────────────────────────────────────────────────────────────────────────────


def test_rows_are_scored_when_the_file_has_the_numbers_or_the_names(tmp_path: Path) -> None:
    """`eval` knows the data's labels and the classes' names."""
    manifest = {
        "schema": "edgedistill.bundle/2",
        "task": "text-classification",
        "columns": {"text": "text", "label": "label"},
        "separator": ",",
        "labels": ["negative", "positive"],
        "spellings": {"0": "negative", "1": "positive", "1.0": "positive"},
    }
    file = tmp_path / "rows.csv"
    file.write_text("text,label\none,0\ntwo,1\nthree,1.0\nfour,negative\n", encoding="utf-8")
    _, targets = _labelled(Bundle(path=tmp_path, manifest=manifest), Data(source=str(file)), [])
    assert targets == [0, 1, 1, 0]
    old = {name: value for name, value in manifest.items() if name != "spellings"}
    with pytest.raises(DataError, match="label '0' is no class of the bundle"):
        _labelled(Bundle(path=tmp_path, manifest=old), Data(source=str(file)), [])
