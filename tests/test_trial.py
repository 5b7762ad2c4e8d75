"""`layers = "auto"`: each map is tried on the first round's first steps, the best is taken, and the student stays untrained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage_cases import artifact, material

from edgedistill.progress import Event, Progress, silent
from edgedistill.spec import Inputs, Loss, Round, Schedule, Student
from edgedistill.stages import _trial, label, student
from edgedistill.training import models

AUTO = "AutoModelForSequenceClassification"
FIRST = Round(losses={"kl": Loss(weight=0.9), "ce": Loss(weight=0.1)}, schedule=Schedule(epochs=9, batch_size=16, learning_rate=2e-3))
CALLED = Student(layers="auto", depth=2, vocabulary=100)


def params(wanted: Student, trial: Round | None) -> student.Params:
    return student.Params(task="text-classification", student=wanted, trial=trial, max_length=24, seed=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("trial")
    found = material(folder)
    (folder / "label").mkdir()
    label.run(label.Params(task="text-classification", max_length=24), found, folder / "label", Progress(silent, "label"))
    return replace(found, artifacts={**found.artifacts, "label": artifact("label", folder / "label")})


def test_best_map_is_taken_untrained_and_all_are_told_when_layers_are_auto(inputs: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trial, "TRIAL_STEPS", 12)
    out, plain = tmp_path / "out", tmp_path / "plain"
    out.mkdir(), plain.mkdir()
    heard: list[Event] = []
    facts = student.run(params(CALLED, FIRST), inputs, out, Progress(heard.append, "student"))
    trial = facts["trial"]
    scores = {one["name"]: one["score"] for one in trial["maps"]}
    assert [(one["name"], list(one["layers"])) for one in trial["maps"]] == [("bottom", [0, 1]), ("uniform", [0, 3]), ("last", [2, 3])]
    assert all(0 <= score <= 1 for score in scores.values())
    assert scores[trial["chosen"]] == max(scores.values())
    layers = next(one["layers"] for one in trial["maps"] if one["name"] == trial["chosen"])
    assert facts["teacher_layers"] == list(layers)
    told = next(event.text for event in heard if event.kind == "note" and "is taken" in event.text)
    assert (
        told
        == " · ".join(f"{name} {layers}: {scores[name]:.4f}" for name, layers in {"bottom": "0,1", "uniform": "0,3", "last": "2,3"}.items())
        + f"; {trial['chosen']} is taken"
    )
    assert {event.stage for event in heard if event.kind == "measure"} == {"student bottom", "student uniform", "student last"}
    assert max(event.step for event in heard if event.kind == "measure") == 12
    student.run(params(replace(CALLED, layers=tuple(layers), depth=None), None), inputs, plain, Progress(silent, "student"))
    ours, named = (models.load_model(AUTO, folder).state_dict() for folder in (out, plain))
    assert all(torch.equal(ours[name], named[name]) for name in named), "as if the layers had been named: nothing of the trial is left in it"
    steps = sorted(place.name for place in (out / "resume").glob("*/resume/step-*"))
    assert steps == ["step-00000012"] * 3
    before = [event for event in heard if event.kind == "measure"]
    again: list[Event] = []
    assert student.run(params(CALLED, FIRST), inputs, out, Progress(again.append, "student"))["trial"] == trial
    assert len(before) > 0
    assert not [event for event in again if event.kind == "measure"], "a killed run does not train again what it had trained"


def test_ties_go_to_the_bottom_and_less_is_better_where_the_metric_says_so() -> None:
    trials = [_trial.Trial(name=name, layers=(0,), score=score) for name, score in (("bottom", 0.8), ("uniform", 0.9), ("last", 0.9))]
    assert _trial.best(trials, higher=True).name == "uniform"
    assert _trial.best(trials, higher=False).name == "bottom"
    assert _trial.best([replace(one, score=0.5) for one in trials], higher=True).name == "bottom"


def test_maps_that_take_the_same_layers_are_tried_once(inputs: Inputs) -> None:
    config = models.load_model(AUTO, inputs["teach"].path).config
    assert list(_trial.distinct(Student(layers="auto", depth=4), config)) == ["bottom"]
    assert dict(_trial.distinct(Student(layers="auto", depth=1), config)) == {"bottom": (0,), "last": (3,)}


@pytest.mark.parametrize(("epochs", "rows", "steps"), [(9, 160, 90), (9, 1600, 200), (0.5, 16000, 200), (0.1, 16000, 100)])  # batches of 16
def test_trial_has_its_number_of_steps_or_those_of_the_round(epochs: float, rows: int, steps: int) -> None:
    from edgedistill.training.batches import bucketed

    schedule = _trial.cut(replace(FIRST.schedule, epochs=epochs), rows)
    assert len(bucketed([5] * rows, 16, schedule.epochs, 0)) == steps
    assert schedule.evaluations == 1
    assert schedule.warmup == FIRST.schedule.warmup
