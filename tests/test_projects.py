"""Every task through the command line, from its rows to a bundle that answers: tiny random teachers, real torch, ONNX and ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli
from projects import PROJECTS, Project, write_project

from edgedistill import plugins


@dataclass(frozen=True, slots=True)
class Built:
    """A project, its folder, and what its build printed."""

    project: Project
    folder: Path
    document: dict[str, Any]


@pytest.fixture(scope="module", params=PROJECTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    project = PROJECTS[request.param]
    folder = write_project(tmp_path_factory.mktemp("projects") / request.param, project)
    done = run_cli("build", "--target", "loose.toml", "--no-bench", "--json", cwd=folder, check=None)
    assert done.returncode in (0, 4), done.stderr
    if done.returncode == 4:  # a random teacher may have learned nothing in three epochs, of which nothing can be kept
        assert "retention is undefined" in done.stderr or "of the teacher's score" in done.stderr
        assert done.stderr.count("\n  - ") <= 1
    return Built(project, folder, json.loads(done.stdout))


def test_list_of_projects_has_every_task_when_compared() -> None:
    assert {project.task for project in PROJECTS.values()} == {*plugins.names("tasks")}


def test_bundle_verifies_when_built(made: Built) -> None:
    assert made.document["metric"] == plugins.load("tasks", made.project.task).METRIC
    assert "ok" in run_cli("verify", made.document["bundle"], cwd=made.folder).stdout


def test_bundle_answers_when_asked(made: Built) -> None:
    found = json.loads(run_cli("predict", made.document["bundle"], made.project.asked, "--json", cwd=made.folder).stdout)
    (answer,) = found["answers"]
    assert set(answer) == {"text", *made.project.answer}
    assert run_cli("predict", made.document["bundle"], made.project.asked, cwd=made.folder).stdout.strip()


def test_eval_repeats_the_score_of_the_build_when_run_on_the_test_file(made: Built) -> None:
    """Another way to the same number: the user's file through `eval`, without torch, against `check` on the prepared split."""
    found = json.loads(run_cli("eval", made.document["bundle"], "--data", made.project.test, "--json", cwd=made.folder).stdout)
    assert found["n"] == made.document["n_test"]
    assert found["score"] == pytest.approx(made.document["bundle_score"], abs=1e-9)
    assert found["teacher"] == pytest.approx(made.document["teacher"], abs=1e-3)
