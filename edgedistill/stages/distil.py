"""distil: one round — train the student on the teacher's stored soft labels and the hard ones together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import plugins
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Round
from edgedistill.stages import needs_files
from edgedistill.training import models

VERSION = 2  # 2: every task, losses on features
TOOLS = ("torch", "transformers", "tokenizers", "accelerate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The student is the input `start`. `labelled_only` leaves the transfer texts and the teacher out: the control."""

    task: str
    round: Round
    labelled_only: bool
    max_length: int
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """Nothing of a round alone: its losses are held against task, student and teacher together."""
    return []


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the trained student's model folder; the facts hold its curves."""
    from edgedistill.stages import _round
    from edgedistill.stages._training import curves, fit

    task = plugins.load("tasks", params.task)
    start = inputs["start"].path
    model = models.load_model(task.AUTO_CLASS, start)
    encoder = models.load_encoder(task, start)
    if params.labelled_only:
        material, terms = _round.labelled(inputs, task, encoder, params.max_length), _round.hard_terms(params.round.losses, model)
    else:
        material = _round.material(inputs, task, encoder, params.round, params.max_length)
        terms = _round.terms(inputs, task, model, encoder, params.round, material, params.seed)
    aware = params.round.quantization_aware
    trained = fit(model, material, terms, params.round.schedule, params.seed, out, progress, quantization_aware=aware)
    progress.note(f"validation {task.METRIC} {trained.best:.4f} at step {trained.best_step} of {trained.steps}")
    models.save(model, encoder, out, files=models.encoder_files(task, start))
    return {"curves": curves(trained), "left_out": material.left_out}


def ensures(out: Path) -> None:
    """A model folder."""
    needs_files(out, "config.json", "model.safetensors")
