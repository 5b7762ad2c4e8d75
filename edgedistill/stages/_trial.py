"""Which of the teacher's layers a student should start from, tried out: the first steps of the first round, once for each map.

No map is best for every task and depth (Sajjad et al. 2020, arXiv:2004.03844, tables 1 and 2; Wang et al. 2023, arXiv:2305.15032), and a
short training on the same rows with the same seed tells them apart at a small part of the price of a round. The scores are of the
validation rows, on which the build chooses anyway; the test rows have no say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedistill import students
from edgedistill.cache import RESUME
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Round, Schedule, Student
from edgedistill.stages import _round
from edgedistill.students.layers import maps

TRIAL_STEPS = 200  # of the first round, for each map


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a map was worth: the teacher's layers that it takes, and the validation score after the steps of the trial."""

    name: str
    layers: tuple[int, ...]
    score: float


def try_maps(
    student: Student, origin: Any, task: Any, inputs: Inputs, training: Round, max_length: int, seed: int, out: Path, progress: Progress
) -> list[Trial]:
    """Train a student of each map for a few steps. A killed run goes on with the map that it was at."""
    from edgedistill.stages._training import fit

    found: list[Trial] = []
    material = None
    for name, layers in distinct(student, origin.teacher.config).items():
        made = students.compose(replace(student, layers=layers, depth=None), origin, seed)
        encoder = made.tokenizer or task.load(inputs["teach"].path)
        material = material or _round.material(inputs, task, encoder, training, max_length)
        terms = _round.terms(inputs, task, made.model, encoder, training, material, seed)
        schedule = cut(training.schedule, sum(material.frequency))
        trained = fit(made.model, material, terms, schedule, seed, out / RESUME / name, progress.part(name))
        found.append(Trial(name=name, layers=layers, score=trained.best))
        progress.part(name).end(f"{task.METRIC} {trained.best:.4f} after {trained.steps} steps")
    return found


def distinct(student: Student, config: Any) -> Mapping[str, tuple[int, ...]]:
    """The named maps that take different layers; of equal ones the first."""
    from edgedistill.surgery import FAMILIES

    wanted = maps(student.depth or 1, int(getattr(config, FAMILIES[config.model_type].depth)))
    return {name: layers for name, layers in wanted.items() if layers not in [wanted[other] for other in list(wanted)[: list(wanted).index(name)]]}


def cut(schedule: Schedule, rows: float) -> Schedule:
    """The schedule at the length of a trial, or at its own where that is shorter; it warms up and anneals as the whole one does."""
    steps_per_epoch = -(-max(1, round(rows)) // schedule.batch_size)
    return replace(schedule, epochs=min(schedule.epochs, TRIAL_STEPS / steps_per_epoch), evaluations=1)


def best(trials: list[Trial], *, higher: bool) -> Trial:
    """The one with the best score; of equal ones the first, which is the bottom map."""
    return max(trials, key=lambda trial: trial.score if higher else -trial.score)


def sentence(trials: list[Trial]) -> str:
    """What was seen, on one line."""
    return " · ".join(f"{trial.name} {','.join(map(str, trial.layers))}: {trial.score:.4f}" for trial in trials)
