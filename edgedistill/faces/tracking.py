"""A listener that sends what the trainings measure to experiment trackers, through Accelerate's classes; nothing of it goes into a key.

Each training is a run of its own: `teach`, `distil`, `distil-2` for the second one of a build. Trackers that write files write them into
a folder of this build, so that two builds do not share a curve.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.progress import Event, Tell, silent

PACKAGES = {
    "aim": "aim",
    "clearml": "clearml",
    "comet_ml": "comet-ml",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}  # name, which is also the module's → the package that pip knows
OPTIONS: Mapping[str, Callable[[str, Path], dict[str, Any]]] = {
    "dvclive": lambda run, folder: {"dir": str(folder / run)},
    "mlflow": lambda run, folder: {"logging_dir": str(folder), "run_name": run},
    "swanlab": lambda run, folder: {"logdir": str(folder), "experiment_name": run},
    "trackio": lambda run, folder: {"name": run},
    "wandb": lambda run, folder: {"dir": str(folder), "name": run, "reinit": True},
}  # for those that take a project's name first: what says where their files go and which run this is


@contextmanager
def tracked(names: Sequence[str], project: str, folder: Path) -> Iterator[Tell]:
    """A listener for these trackers, closed at the end; then it is said where they wrote.

    Raises ConfigError with every name that Accelerate has no tracker for, and every package that is missing.
    """
    _check(names)
    if not names:
        yield silent
        return
    place = folder / f"{project}-{datetime.now():%Y%m%d-%H%M%S}"
    runs = _Runs(names, project, place)
    try:
        yield runs.hear
    finally:
        runs.close()
        if place.is_dir():  # nothing was trained where there is none
            print(f"curves for {', '.join(runs.names)}: {place}", file=sys.stderr)


def _check(names: Sequence[str]) -> None:
    faults = []
    for name in dict.fromkeys(names):
        if name not in PACKAGES:
            faults.append(Fault("--track", f"unknown tracker '{name}'", nearest(name, PACKAGES)))
        elif find_spec(name) is None:
            faults.append(Fault("--track", f"{name} needs the package '{PACKAGES[name]}'", f"pip install {PACKAGES[name]}"))
    if names and find_spec("accelerate") is None:
        faults.append(Fault("--track", "needs the package 'accelerate'", "pip install 'edgedistill[build]'"))
    if faults:
        raise ConfigError(faults)


class _Runs:
    """The open trackers, by training."""

    def __init__(self, names: Sequence[str], project: str, folder: Path) -> None:
        self.names, self.project, self.folder = tuple(dict.fromkeys(names)), project, folder
        self.seen: Counter[str] = Counter()  # trainings of a stage so far, those from the store included: the second round stays the second
        self.begun: set[str] = set()
        self.open: dict[str, list[Any]] = {}

    def hear(self, event: Event) -> None:
        """A begin opens a name, a measure is sent on, an end closes the run."""
        stage = event.stage
        if event.kind == "begin" or (event.kind == "end" and stage not in self.begun):
            self.seen[stage] += 1
            self.begun.add(stage)
        if event.kind == "measure":
            if stage not in self.open:
                self.open[stage] = self._start(stage)
            for tracker in self.open[stage]:
                tracker.log(dict(event.values), step=event.step)
        elif event.kind == "end":
            self.begun.discard(stage)
            _finish(self.open.pop(stage, []))

    def close(self) -> None:
        """Finish what an error left open."""
        for trackers in self.open.values():
            _finish(trackers)
        self.open.clear()

    def _start(self, stage: str) -> list[Any]:
        from accelerate.state import PartialState
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        PartialState()  # a tracker asks it whether this is the main process
        self.folder.mkdir(parents=True, exist_ok=True)
        number = self.seen[stage]
        run = stage.replace(" ", "-") + (f"-{number}" if number > 1 else "")
        trackers = [self._made(name, LOGGER_TYPE_TO_CLASS[name], run) for name in self.names]
        for tracker in trackers:
            start: Any = getattr(tracker, "start", None)
            if start is not None:  # in older versions of accelerate the constructor does it
                start()
        return trackers

    def _made(self, name: str, tracker: Any, run: str) -> Any:
        if tracker.requires_logging_directory:
            return tracker(run, str(self.folder))
        options = OPTIONS[name](run, self.folder) if name in OPTIONS else {}
        return tracker(self.project, **options)


def _finish(trackers: Sequence[Any]) -> None:
    for tracker in trackers:
        tracker.finish()
