"""What the recipe says of labels: readable names for numbers, an order of classes, and spellings that mean the same."""

from __future__ import annotations

import json
import tomllib
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from conftest import RECIPE, write_rows

from edgedistill import config, pipeline, plugins
from edgedistill.bundle.reader import Bundle
from edgedistill.bundle.use import _labelled
from edgedistill.data._twins import missing, remedy, same_as, twins
from edgedistill.errors import ConfigError, DataError
from edgedistill.init import look, recipe_text
from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Data, Inputs
from edgedistill.stages import prepare
from edgedistill.stages._splits import class_names, read_split
from edgedistill.tasks._classes import natural


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


# ── one class under several spellings ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "1.0"),
        ("1", "01"),
        ("-2", "-2.00"),
        ("100", "1e2"),
        ("0", "-0.0"),
        ("True", "true"),
        ("pos", '["pos"]'),
        ("pos", "['pos']"),
        ("pos", "('pos',)"),
        ("pos", '"pos"'),
        ("not spam", "Not_Spam"),
        ("caf\u00e9", "cafe\u0301"),  # one letter, or a letter and its accent
        ("\uff11", "1"),  # a digit of East Asian width
        ("nan", "NaN"),
        ("None", "none"),
    ],
)
def test_labels_are_twins_when_they_are_written_differently(one: str, other: str) -> None:
    assert twins({one: 310, other: 12, "else": 5}) == f"{one!r} (310 rows) and {other!r} (12 rows) may be one class"
    line = remedy({one: 310, other: 12, "else": 5})
    assert tomllib.loads(line) == {"merge": {other: one}}
    assert same_as(other, ["else", one], {}) == f"if it means {one!r}, under [data] in the recipe: {line}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "10"),
        ("1", "-1"),
        ("1", "one"),
        ("+", "-"),
        ("-", "_"),
        ("C", "C++"),
        ("1", "1.5"),
        ("1" * 29 + "1", "1" * 29 + "2"),
    ],
)
def test_labels_are_no_twins_when_they_mean_two_things(one: str, other: str) -> None:
    assert (twins({one: 3, other: 3}), remedy({one: 3, other: 3}), same_as(one, [other], {})) == ("", "", "")


def test_more_sets_are_counted_when_there_are_many() -> None:
    counts = {f"{number}{end}": 1 for number in range(7) for end in ("", ".0")}
    assert twins(counts).endswith("'4' (1 row) and '4.0' (1 row) may be one class; and 2 more such")
    assert len(tomllib.loads(remedy(counts))["merge"]) == 7


@pytest.mark.parametrize(("label", "said"), [("nan", True), ("None", True), ("<NA>", True), ("none", False), ("neutral", False)])
def test_label_is_doubted_when_programs_write_it_for_nothing(label: str, said: bool) -> None:
    assert missing({label: 12, "good": 300}) == (f"{label!r} (12 rows) may stand for no label" if said else "")


def test_classes_have_one_order_when_one_is_no_number() -> None:
    """As a number nan is neither before nor behind any: the order of the rows would decide."""
    wanted = ["-1", "1", "1.0", "10", "NaN", "good", "nan"]
    task = plugins.load("tasks", "text-classification")
    assert all(task.names(order) == wanted for order in permutations(wanted))
    assert all(sorted(order, key=natural) == wanted for order in permutations(wanted))


MIXED = ["1", "0", "1", "1.0", "0", "1"]  # of 240 rows 120 are 1, 80 are 0, 40 are 1.0


def test_counts_and_the_recipes_line_are_told_when_one_class_has_two_spellings(tmp_path: Path) -> None:
    out, _, warnings = prepared(tmp_path, [*MIXED, "nan"])
    assert class_names(out) == ["0", "1", "1.0", "nan"]
    assert warnings == [
        "'1' (120 rows) and '1.0' (40 rows) may be one class; to make them one, under [data] in the recipe: merge = { \"1.0\" = \"1\" }",
        "'nan' (40 rows) may stand for no label; if so, empty those cells of the file: rows without a label are left out",
    ]


def test_labels_are_one_class_when_the_recipe_merges_them(tmp_path: Path) -> None:
    """The same rows, with the printed line and with names for the numbers: the labels of before keep their rows."""
    out, facts, warnings = prepared(tmp_path, MIXED, merge={"1.0": "1"}, names=("bad", "good"))
    assert (class_names(out), warnings) == (["bad", "good"], [])
    assert facts["classes"]["test"] == {"bad": 16, "good": 32}
    assert facts["spellings"] == {"0": "bad", "1": "good", "1.0": "good"}
    assert told(out, MIXED) == {("0", "bad"), ("1", "good"), ("1.0", "good")}


def test_printed_line_keeps_what_is_merged_already(tmp_path: Path) -> None:
    _, _, (warning,) = prepared(tmp_path, [*MIXED, "true", "True", "yes"], merge={"yes": "True"})
    assert tomllib.loads(warning[warning.index("merge =") :]) == {"merge": {"1.0": "1", "true": "True", "yes": "True"}}


def test_sets_and_tags_are_merged_when_rows_have_several_labels(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "tags").mkdir()
    out, _, warnings = prepared(tmp_path / "sets", ["a,b", "A", "b,A,a"], task="multi-label-classification", merge={"A": "a"})
    assert (class_names(out), warnings) == (["a", "b"], [])
    assert {tuple(target) for target in read_split(out, "train").targets} == {(0, 1), (0,)}
    tags: Any = [["O", "per"], ["PER", "PER"]]
    out, _, warnings = prepared(tmp_path / "tags", tags, task="token-classification", text="words", merge={"per": "PER"})
    assert class_names(out) == ["O", "PER"]
    assert {tuple(target) for target in read_split(out, "train").targets} == {(0, 1), (1, 1)}


def test_merge_is_a_fault_when_no_row_has_the_label(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.merge\.1\.O: no row has the label '1\.O'") as error:
        prepared(tmp_path, MIXED, merge={"1.O": "1", "1.0": "1"})
    assert "did you mean '1.0'?" in error.value.hint


def test_merge_is_proposed_when_names_are_too_few_or_a_class_too_rare(tmp_path: Path) -> None:
    (tmp_path / "names").mkdir()
    (tmp_path / "rare").mkdir()
    with pytest.raises(DataError) as error:
        prepared(tmp_path / "names", MIXED, names=("bad", "good"))
    assert error.value.hint == 'if some are one class: merge = { "1.0" = "1" }'
    file = tmp_path / "rare" / "rows.csv"
    file.write_text("text,label\n" + "".join(f"line {index},{index % 2}\n" for index in range(60)) + "one more,1.0\n", encoding="utf-8")
    params = prepare.Params(task="text-classification", data=Data(source="rows.csv"), transfers=(), seed=0)
    with pytest.raises(DataError, match=r"1 row\(s\) in class '1\.0'") as error:
        prepare.run(params, Inputs(artifacts={}, places={"data": str(file)}), tmp_path, Progress(silent, "prepare"))
    assert error.value.hint == 'if it means \'1\', under [data] in the recipe: merge = { "1.0" = "1" }'


@pytest.mark.parametrize(("first", "second"), [("1", "1.0"), ("pos", '["pos"]')])
def test_first_recipe_names_spellings_and_the_line_for_them(tmp_path: Path, first: str, second: str) -> None:
    labels = [first, "0", first, second, "nan"]
    rows = [{"text": f"this is the review number {index} of a film", "label": labels[index % 5]} for index in range(100)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    text = recipe_text(look(tmp_path), tmp_path)
    (line,) = [line for line in text.splitlines() if line.startswith("# merge = ")]
    assert f"# {first!r} (40 rows) and {second!r} (20 rows) may be one class; to make them one, take the # away:\n{line}\n" in text
    assert "# 'nan' (20 rows) may stand for no label; if so, empty" in text
    assert tomllib.loads(text.replace(line, line.removeprefix("# ")))["data"]["merge"] == {second: first}


def test_first_recipe_names_spellings_of_tags(tmp_path: Path) -> None:
    rows = [{"words": ["review", str(index)], "tags": ["O", "per" if index % 3 else "PER"]} for index in range(60)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert '# merge = { "PER" = "per" }' in recipe_text(look(tmp_path), tmp_path)
