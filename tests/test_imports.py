"""Imports are free: the verbs of a mobile engineer start at once and never load torch."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "transformers", "datasets", "onnx", "sklearn", "scipy", "matplotlib")

CODE = """
import json, sys
from edgedistill.cli import main
sys.argv = ["edgedistill", *json.loads(sys.argv[1])]
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([name for name in {heavy} if name in sys.modules]), file=sys.stderr)
"""


def heavy_after(words: list[str], cwd: Path) -> list[str]:
    command = [sys.executable, "-c", CODE.replace("{heavy}", repr(HEAVY)), json.dumps(words)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded: list[str] = json.loads(done.stderr.strip().splitlines()[-1])
    return loaded


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["targets"], ["targets", "show", "linux-x64"], ["losses"], ["tasks"], ["recipes"], ["cache", "ls"]]
)
def test_no_heavy_library_is_loaded_when_listing(words: list[str], tmp_path: Path) -> None:
    assert heavy_after(words, tmp_path) == []


def test_no_heavy_library_is_loaded_when_planning(project: Path, tmp_path: Path) -> None:
    """From an empty store: every step is still to do, so every step's demands are looked at."""
    assert heavy_after(["plan", "--target", "linux-x64", "--store", str(tmp_path / "empty")], project) == []


@pytest.mark.parametrize("verb", ["verify", "predict", "report"])
def test_no_torch_is_loaded_when_a_bundle_is_used(verb: str, built: dict[str, Any], project: Path) -> None:
    words = {"verify": [], "predict": ["a lovely day"], "report": ["--format", "md"]}
    assert heavy_after([verb, built["bundle"], *words[verb]], project) == []


def cpu_s(words: list[str], cwd: Path) -> float:
    """Seconds of CPU that a command takes in a fresh process, the least of five; from compiled modules, as a user has them after a first run."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "edgedistill", *words], cwd=cwd, env=environment, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return min(once() for _ in range(5))


def test_cpu_of_help_is_below_350_ms_in_the_best_of_five(tmp_path: Path) -> None:
    assert cpu_s(["--help"], tmp_path) <= 0.35


def test_cpu_of_plan_is_below_one_second_in_the_best_of_five(project: Path, tmp_path: Path) -> None:
    assert cpu_s(["plan", "--target", "linux-x64", "--store", str(tmp_path / "empty")], project) <= 1.0


def test_plan_names_a_folder_that_is_no_model_without_torch(project: Path) -> None:
    words = ["plan", "--target", "linux-x64", "--set", 'teacher.model="."']
    done = subprocess.run([sys.executable, "-m", "edgedistill", *words], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "teacher.model" in done.stderr
    assert "it has no config.json" in done.stderr


def test_public_names_are_these_when_imported() -> None:
    import edgedistill

    assert sorted(edgedistill.__all__) == ["bench", "build", "load_bundle"]
    for module in (Path(edgedistill.__file__).parent).iterdir():
        assert module.stem not in edgedistill.__all__, "a submodule of that name would take the function's place once it is imported"
    assert all(callable(getattr(edgedistill, name)) for name in edgedistill.__all__)


def test_telemetry_is_off_when_a_session_opens() -> None:
    code = "import os; from edgedistill.runtime import onnxruntime; onnxruntime(); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
