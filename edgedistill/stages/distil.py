"""distil: one round — train the student on the teacher's stored soft labels and the hard ones together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill import plugins
from edgedistill.errors import Fault
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Round
from edgedistill.stages import needs_files
from edgedistill.stages._splits import Split, class_names, read_soft_labels, read_split
from edgedistill.training import models

VERSION = 1
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
    return [fault for name, options in _options(params.round).items() for fault in _option_faults(name, options)]


def _options(training: Round) -> dict[str, dict[str, Any]]:
    return {name: {} if loss.temperature is None else {"temperature": loss.temperature} for name, loss in training.losses.items()}


def _option_faults(name: str, options: Mapping[str, Any]) -> list[Fault]:
    takes = inspect.signature(plugins.load("losses", name).loss).parameters
    return [Fault(f"rounds losses.{name}.{option}", f"the loss '{name}' has no {option}") for option in options if option not in takes]


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the trained student's model folder; the facts hold its curves."""
    from edgedistill.stages._training import Material, curves, fit

    task = plugins.load("tasks", params.task)
    prepared, start = inputs["prepare"].path, inputs["start"].path
    model = models.load_model(task.AUTO_CLASS, start)
    tokenizer = models.load_tokenizer(start)
    split, teacher = _rows(params, inputs)
    material = Material.of(task, tokenizer, split, read_split(prepared, "validation"), teacher, params.max_length)
    losses = {name: (params.round.losses[name].weight, options) for name, options in _options(params.round).items()}
    trained = fit(model, material, losses, params.round.schedule, params.seed, out, progress)
    progress.note(f"validation {task.METRIC} {trained.best:.4f} at step {trained.best_step} of {trained.steps}")
    models.name_labels(model, class_names(prepared))
    models.save(model, tokenizer, out)
    return {"curves": curves(trained)}


def ensures(out: Path) -> None:
    """A model folder."""
    needs_files(out, "config.json", "model.safetensors", "tokenizer.json")


def _rows(params: Params, inputs: Inputs) -> tuple[Split, Any]:
    prepared = inputs["prepare"].path
    train = read_split(prepared, "train")
    if params.labelled_only:
        return train, None
    transfer = read_split(prepared, "transfer")
    both = Split(texts=train.texts + transfer.texts, labels=np.concatenate([train.labels, transfer.labels]))
    parts = [part for name in ("train", "transfer") if (part := read_soft_labels(inputs["label"].path, name)) is not None]
    return both, np.concatenate(parts)
