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
from edgedistill.stages._splits import EMPTY, class_names, read_soft_labels, read_sources, read_split
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
    """Each loss has the options that the recipe gives it."""
    from edgedistill.stages._terms import option_faults

    return option_faults("rounds", params.round.losses)


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the trained student's model folder; the facts hold its curves."""
    from edgedistill.stages._training import curves, fit

    task = plugins.load("tasks", params.task)
    start = inputs["start"].path
    model = models.load_model(task.AUTO_CLASS, start)
    encoder = models.load_encoder(task, start)
    material = _material(params, inputs, task, encoder)
    trained = fit(model, material, _terms(params, inputs, task, model, encoder, material), params.round.schedule, params.seed, out, progress)
    progress.note(f"validation {task.METRIC} {trained.best:.4f} at step {trained.best_step} of {trained.steps}")
    models.save(model, encoder, out, files=models.encoder_files(task, start))
    return {"curves": curves(trained), "left_out": material.left_out}


def ensures(out: Path) -> None:
    """A model folder."""
    needs_files(out, "config.json", "model.safetensors")


def _material(params: Params, inputs: Inputs, task: Any, encoder: Any) -> Any:
    from edgedistill.stages._training import Material

    prepared = inputs["prepare"].path
    names, validation = class_names(prepared), read_split(prepared, "validation")
    if params.labelled_only:
        return Material.of(task, encoder, read_split(prepared, "train"), validation, names, params.max_length)
    split = sum(read_sources(*(inputs[role].path for role in ("prepare", "augment") if role in inputs.artifacts)).values(), EMPTY)
    teacher = read_soft_labels(inputs["label"].path)
    return Material.of(task, encoder, split, validation, names, params.max_length, teacher, params.round.confidence)


def _terms(params: Params, inputs: Inputs, task: Any, model: Any, encoder: Any, material: Any) -> Any:
    import torch

    from edgedistill.stages._teacher import live_teacher, sizes
    from edgedistill.stages._terms import Terms, needs

    torch.manual_seed(params.seed)  # learned projections are drawn from it
    losses = params.round.losses
    if params.labelled_only:
        return Terms.of(losses, model)
    answer = int(material.teacher.shapes[0, 1])  # width of the teacher's answer: an embedding's
    teacher = live_teacher(task, inputs["teach"].path, encoder, needs(losses)) if needs(losses) else None
    return Terms.of(losses, model, sizes(task, model, teacher.model if teacher else None, answer), teacher)
