"""A teacher whose classes have no names: which order its outputs are in, found on rows whose answer is known, and said in the recipe's own words."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import CLASSES, make_teacher
from numpy.typing import NDArray
from stage_cases import artifact, prepared

from edgedistill import plugins
from edgedistill.errors import ConfigError
from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Artifact, Inputs, Schedule
from edgedistill.stages import _orders as orders
from edgedistill.stages import teach
from edgedistill.stages._splits import Split
from edgedistill.tasks import Row


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["LABEL_0", "LABEL_1"], True),
        (["label_0", "label_1"], True),
        (["0", "1", "2"], True),
        (["class 0", "class 1"], True),
        (["LABEL_1", "LABEL_0"], False),  # a name that contradicts its place was given on purpose
        (["1", "2", "3"], False),
        (["bad", "LABEL_1"], False),
    ],
)
def test_names_are_generic_when_they_say_only_the_outputs_number(names: list[str], found: bool) -> None:
    assert orders.generic(names) is found


def seen(task: str, outputs: list[NDArray[Any]], targets: list[Any], names: list[str], rows: list[list[Row]] | None = None) -> orders.Seen:
    """A teacher's answers, one row an example unless told otherwise."""
    words = [{"words": ["a"] * len(one)} for one in outputs]
    split = Split(examples=words, targets=targets, frequency=[1.0] * len(targets))
    given = rows or [[Row(ids=[1])] for _ in targets]
    return orders.Seen(task=plugins.load("tasks", task), rows=given, split=split, outputs=[[one] for one in outputs], names=names)


def said(one: orders.Seen) -> str:
    """The note of a check that lets the build go on."""
    notes: list[str] = []
    orders.check(one, list(one.names), notes.append)
    return notes[0]


def refused(one: orders.Seen, labels: list[str] | None = None) -> str:
    """The words of a check that does not."""
    with pytest.raises(ConfigError) as error:
        orders.check(one, labels or list(one.names), lambda note: None)
    assert error.value.exit_code == 2
    return str(error.value)


def single(order: list[int], right: float, count: int = 200, seed: int = 0) -> orders.Seen:
    """A teacher whose output `order[c]` is largest for class c in a share `right` of the rows, any in the rest."""
    draw = random.Random(seed)
    targets = [draw.randrange(len(order)) for _ in range(count)]
    chosen = [order[target] if draw.random() < right else draw.randrange(len(order)) for target in targets]
    return seen("text-classification", [np.eye(len(order))[[one]] for one in chosen], targets, ["bad", "good", "so so"][: len(order)])


def test_recipes_line_is_printed_when_another_order_fits() -> None:
    """Class bad is output 1, good is 2, so so is 0; by output that is so so, bad, good."""
    found = refused(single([1, 2, 0], right=0.8))
    assert 'hint: under [data] in the recipe: names = ["so so", "bad", "good"]' in found
    assert 'in the order ["bad", "good", "so so"] its accuracy is 0.' in found


def test_readable_names_stay_with_their_numbers_when_another_order_fits() -> None:
    found = refused(single([1, 0], right=0.9), labels=["0", "1"])
    assert 'config.json: "id2label": {"0": "good", "1": "bad"}' in found
    assert 'names = ["1", "0"]' in found


@pytest.mark.parametrize("right", [1.0, 0.4])
def test_build_goes_on_when_our_order_fits(right: float) -> None:
    assert "no other order of the teacher's classes" in said(single([0, 1, 2], right))


@pytest.mark.parametrize("seed", range(10))
def test_build_goes_on_when_the_teacher_guesses(seed: int) -> None:
    """The best of all orders always looks better on the rows that it was chosen by; not on others."""
    assert "no other order" in said(single([0, 1, 2], right=0.0, seed=seed))


def test_build_goes_on_when_a_constant_answer_is_as_good() -> None:
    """A teacher that always says class 0 where four of five rows are class 1: the other order is right on 80 %, by saying nothing."""
    targets = [0 if index % 10 < 2 else 1 for index in range(200)]
    found = said(seen("text-classification", [np.array([[1.0, 0.0]])] * 200, targets, ["bad", "good"]))
    assert "surely better: 0.2000 in this one" in found


def test_few_rows_do_not_refuse_when_chance_explains_them() -> None:
    assert "no other order" in said(single([1, 0], right=1.0, count=6))


def test_several_classes_are_matched_by_f1_when_a_row_may_have_many() -> None:
    draw = random.Random(1)
    targets = [sorted({0, *draw.sample(range(3), 2)}) for _ in range(120)]  # class 0 is everywhere: counts alone would give it every output
    outputs = [np.array([[1.0 if (output + 1) % 3 in target else -1.0 for output in range(3)]]) for target in targets]
    found = refused(seen("multi-label-classification", outputs, targets, ["a", "b", "c"]))
    assert 'names = ["b", "c", "a"]' in found
    assert 'the order ["b", "c", "a"] 1.0000' in found


def test_tags_are_matched_word_by_word_when_entities_are_scored() -> None:
    draw = random.Random(2)
    names = ["B-PER", "I-PER", "O"]
    targets = [[0, 1, 2] if draw.random() < 0.5 else [2, 0, 2] for _ in range(80)]
    outputs = [np.eye(3)[[(tag + 1) % 3 for tag in target]] for target in targets]
    rows = [[Row(ids=[1] * 5, at=[1, 2, 3], words=[0, 1, 2])] for _ in targets]
    assert 'names = ["O", "B-PER", "I-PER"]' in refused(seen("token-classification", outputs, targets, names, rows))


@pytest.mark.parametrize(
    ("theirs", "order"),
    [(["b", "a", "A"], [2, 1, 0]), (["B", "A", "a"], None), (["b", "a", "c"], None)],
)
def test_names_decide_when_each_class_has_its_own(theirs: list[str], order: list[int] | None) -> None:
    """Labels that differ in capitals alone are two classes, and two outputs."""
    if order is None:
        with pytest.raises(ConfigError, match="calls its classes"):
            teach._order(theirs, ["A", "a", "b"], ["A", "a", "b"])
    else:
        assert teach._order(theirs, ["A", "a", "b"], ["A", "a", "b"]) == order


# ── the step itself, on a teacher that has learned ───────────────────────────────────────────────────────────────────

NAMES = sorted(CLASSES)  # negative, neutral, positive
PARAMS = {"task": "text-classification", "max_length": 24, "seed": 1}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The splits, and a teacher that tells the classes apart in the place `teacher`."""
    place = tmp_path_factory.mktemp("orders")
    rows, fresh = prepared(place / "prepare", train=240, validation=60), make_teacher(place / "fresh")
    inputs = Inputs(artifacts={"prepare": rows}, places={"teacher": str(fresh)})
    (place / "learned").mkdir()
    schedule = Schedule(epochs=6, batch_size=16, learning_rate=2e-3)
    teach.run(teach.Params(schedule=schedule, **PARAMS), inputs, place / "learned", Progress(silent, "teach"))
    return Inputs(artifacts=inputs.artifacts, places={"teacher": str(place / "learned")})


def unnamed(source: str, folder: Path, order: list[int]) -> str:
    """The teacher with class `order[i]` as its output i, and without a name for it."""
    import torch
    from transformers import AutoModelForSequenceClassification

    shutil.copytree(source, folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        model.classifier.weight.copy_(model.classifier.weight[order].clone())
        model.classifier.bias.copy_(model.classifier.bias[order].clone())
    model.config.id2label = {index: f"LABEL_{index}" for index in range(len(order))}
    model.config.label2id = {f"LABEL_{index}": index for index in range(len(order))}
    model.save_pretrained(folder, safe_serialization=True)
    return str(folder)


def adopted(learned: Inputs, place: str, out: Path, prepare: Artifact | None = None) -> list[str]:
    """The step's notes."""
    heard: list[Event] = []
    out.mkdir()
    inputs = Inputs(artifacts={**learned.artifacts, **({"prepare": prepare} if prepare else {})}, places={"teacher": place})
    teach.run(teach.Params(schedule=None, **PARAMS), inputs, out, Progress(heard.append, "teach"))
    return [event.text for event in heard if event.kind == "note"]


def weights(folder: str | Path) -> NDArray[Any]:
    from safetensors.numpy import load_file

    found: NDArray[Any] = load_file(Path(folder) / "model.safetensors")["classifier.weight"]
    return found


def test_classes_are_told_when_a_teachers_names_are_generic(learned: Inputs, tmp_path: Path) -> None:
    notes = adopted(learned, unnamed(learned.places["teacher"], tmp_path / "teacher", [0, 1, 2]), tmp_path / "out")
    assert "LABEL_0 is taken for 'negative', LABEL_1 is taken for 'neutral', LABEL_2 is taken for 'positive'" in notes[0]
    assert "no other order of the teacher's classes fits better" in notes[1]
    assert np.array_equal(weights(tmp_path / "out"), weights(learned.places["teacher"]))


def test_teacher_is_right_when_the_printed_line_is_in_the_recipe(learned: Inputs, tmp_path: Path) -> None:
    place = unnamed(learned.places["teacher"], tmp_path / "teacher", [2, 0, 1])
    with pytest.raises(ConfigError) as error:
        adopted(learned, place, tmp_path / "refused")
    assert error.value.exit_code == 2
    line = error.value.hint.removeprefix("under [data] in the recipe: names = ")
    assert json.loads(line) == ["positive", "negative", "neutral"]
    prepared = Path(shutil.copytree(learned["prepare"].path, tmp_path / "prepare"))
    (prepared / "labels.json").write_text(line, encoding="utf-8")  # what `prepare` does with it
    for name in ("train", "validation", "test"):
        renumber(prepared, name, [1, 2, 0])
    notes = adopted(learned, place, tmp_path / "out", artifact("prepare", prepared))
    assert "LABEL_0 is taken for 'positive'" in notes[0]
    assert "no other order of the teacher's classes fits better" in notes[1]


def renumber(folder: Path, name: str, numbers: list[int]) -> None:
    from edgedistill.stages._splits import read_split, write_split

    split = read_split(folder, name)
    write_split(folder, name, split.examples, [numbers[target] for target in split.targets])


def test_nothing_is_said_when_the_names_match(learned: Inputs, tmp_path: Path) -> None:
    assert adopted(learned, learned.places["teacher"], tmp_path / "out") == []


def test_names_are_asked_for_when_the_data_has_numbers(learned: Inputs, tmp_path: Path) -> None:
    prepared = Path(shutil.copytree(learned["prepare"].path, tmp_path / "prepare"))
    (prepared / "labels.json").write_text('["0", "1", "2"]', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"what 0, 1, 2 mean, in that order, like names = \[\"negative\", \"neutral\", \"positive\"\]"):
        adopted(learned, learned.places["teacher"], tmp_path / "out", artifact("prepare", prepared))
