"""Watching a build: what a tracker gets of each training, and what is said when one cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import RECIPE, run_cli, write_project

from edgedistill.errors import ConfigError
from edgedistill.faces import tracking
from edgedistill.progress import Event

QUICK = RECIPE.replace("epochs = 12", "epochs = 3").replace("epochs = 8", "epochs = 3")
WORDS = ("build", "--target", "linux-x64", "--no-bench", "--set", "gates.retention=0.01")


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_project(tmp_path_factory.mktemp("quick"))
    (folder / "recipe.toml").write_text(QUICK, encoding="utf-8")
    return folder


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar of the event files of a run, read back by TensorBoard's own reader."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_event_files_hold_the_curves_of_the_receipts_when_tracked_with_tensorboard(quick: Path) -> None:
    pytest.importorskip("tensorboard")
    plain = json.loads(run_cli("plan", "--target", "linux-x64", "--json", cwd=quick).stdout)
    done = run_cli(*WORDS, "--track", "tensorboard", cwd=quick)
    assert [step["key"] for step in json.loads(run_cli("plan", "--target", "linux-x64", "--json", cwd=quick).stdout)["steps"]] == [
        step["key"] for step in plain["steps"]
    ], "who watches has no say in a key"
    runs = {run.name: run for run in next((quick / ".edgedistill" / "tracking").glob("recipe-*")).iterdir()}
    assert set(runs) == {"teach", "distil"}
    assert f"curves for tensorboard: {runs['teach'].parent.relative_to(quick)}" in done.stderr
    for stage, terms in {"teach": {"ce"}, "distil": {"kl", "ce"}}.items():
        receipt = json.loads(next((quick / ".edgedistill" / stage).glob("*/receipt.json")).read_text())["facts"]["curves"]
        found = curves(runs[stage])
        assert set(found) == {"loss", "validation", "rows per second", *(f"loss/{term}" for term in terms)}
        assert [step for step, _ in found["loss"]] == [step for step, _ in receipt["loss"]]
        assert [value for _, value in found["loss"]] == pytest.approx([value for _, value in receipt["loss"]], abs=1e-5)
        assert [step for step, _ in found["validation"]] == [step for step, _ in receipt["score"]]
        assert [value for _, value in found["validation"]] == pytest.approx([value for _, value in receipt["score"]])
        summed = [sum(found[f"loss/{term}"][at][1] for term in terms) for at in range(len(found["loss"]))]
        assert summed == pytest.approx([value for _, value in found["loss"]], abs=1e-5)


def test_exit_is_2_with_the_command_when_a_tracker_is_missing(quick: Path) -> None:
    missing = [name for name in tracking.PACKAGES if tracking.find_spec(name) is None]
    if not missing:
        pytest.skip("every tracker is installed here")
    done = run_cli(*WORDS, "--track", missing[0], "--track", "tensorbord", cwd=quick, check=2)
    assert f"pip install {tracking.PACKAGES[missing[0]]}" in done.stderr
    assert "did you mean 'tensorboard'?" in done.stderr


class Recorder:
    """A tracker that keeps what it is told."""

    requires_logging_directory = False
    made: list[Recorder] = []  # noqa: RUF012  a test empties it

    def __init__(self, project: str, *, name: str, **options: object) -> None:
        self.project, self.name, self.rows, self.finished = project, name, [], False
        Recorder.made.append(self)

    def log(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def finish(self) -> None:
        self.finished = True


def test_second_round_is_a_run_of_its_own_when_the_first_came_from_the_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate.tracking")
    monkeypatch.setitem(accelerate.LOGGER_TYPE_TO_CLASS, "wandb", Recorder)
    monkeypatch.setattr(tracking, "find_spec", lambda name: object())
    Recorder.made.clear()
    with tracking.tracked(["wandb", "wandb"], "project", tmp_path / "here") as tell:
        for kind, step in (("end", 0), ("begin", 0), ("measure", 10), ("measure", 20), ("end", 0), ("begin", 0), ("measure", 10)):
            tell(Event(kind=kind, stage="distil", step=step, values={"loss": 1.0} if step else {}))
    assert [(run.project, run.name, [step for step, _ in run.rows]) for run in Recorder.made] == [
        ("project", "distil-2", [10, 20]),
        ("project", "distil-3", [10]),
    ]
    assert all(run.finished for run in Recorder.made)


def test_every_unknown_name_is_a_fault_when_there_are_several(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as found, tracking.tracked(["nothing", "nobody"], "project", tmp_path):
        pass
    assert [fault.where for fault in found.value.faults] == ["--track", "--track"]


def test_names_are_those_that_accelerate_knows() -> None:
    accelerate = pytest.importorskip("accelerate.tracking")
    assert set(tracking.PACKAGES) <= set(accelerate.LOGGER_TYPE_TO_CLASS)
    assert set(tracking.OPTIONS) <= set(tracking.PACKAGES)
