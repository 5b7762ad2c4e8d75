"""A round's losses as one callable: weights by the share of the training, features of both models where a loss asks for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgedistill import plugins
from edgedistill.errors import ConfigError, Fault
from edgedistill.losses import Batch, Outputs, Sizes
from edgedistill.spec import Loss
from edgedistill.training import features
from edgedistill.training.loop import accelerator
from edgedistill.training.models import accepted

OPTIONS = ("temperature", "layers", "heads", "alpha", "beta")


def options(loss: Loss) -> dict[str, Any]:
    """What the recipe gives a loss besides its weight."""
    return {name: value for name in OPTIONS if (value := getattr(loss, name)) is not None}


def option_faults(where: str, losses: Mapping[str, Loss]) -> list[Fault]:
    """Options that a loss does not have."""
    return [
        Fault(f"{where}.losses.{name}.{option}", f"the loss '{name}' has no {option}")
        for name, loss in losses.items()
        for option in options(loss)
        if option not in inspect.signature(plugins.load("losses", name).loss).parameters
    ]


def suit_faults(where: str, losses: Mapping[str, Loss], task: Any, confidence: float) -> list[Fault]:
    """Losses that read other labels than the task's, or a distribution where its answers are none."""
    kind = plugins.load("losses", task.TRAINING_LOSS).LABELS
    found = []
    for name in losses:
        loss = plugins.load("losses", name)
        if getattr(loss, "LABELS", kind) != kind:
            found.append(
                Fault(f"{where}.losses.{name}", f"reads labels that a task scored by {task.METRIC} does not have", f"use {task.TRAINING_LOSS}")
            )
        elif getattr(loss, "DISTRIBUTION", False) and kind != "classes":
            found.append(Fault(f"{where}.losses.{name}", "compares distributions over classes, which this task's answers are not", "use mse"))
        elif getattr(loss, "ANSWERS", "") == "embeddings" and kind != "pairs":
            found.append(Fault(f"{where}.losses.{name}", "compares sentence embeddings, which this task's answers are not", "use mse"))
    if confidence and kind != "classes":
        found.append(Fault(f"{where}.confidence", "is about distributions over classes, which this task's answers are not", "leave it out"))
    return found


def needs(losses: Mapping[str, Loss]) -> frozenset[str]:
    """What the losses want of both models besides the answers."""
    return frozenset().union(*(getattr(plugins.load("losses", name), "NEEDS", frozenset()) for name in losses))


def are_whole(losses: Mapping[str, Loss]) -> bool:
    """Whether a loss relates the examples of a batch to each other, so that the batch may not be cut."""
    return any(getattr(plugins.load("losses", name), "WHOLE", False) for name in losses)


def weight_at(weight: float | tuple[tuple[float, float], ...], share: float) -> float:
    """A constant weight, or the straight line between the points around `share` of the training."""
    if isinstance(weight, int | float):
        return float(weight)
    import numpy as np

    return float(np.interp(share, [at for at, _ in weight], [value for _, value in weight]))


@dataclass(slots=True)
class LiveTeacher:
    """A teacher that reads along, for losses on features: its model, and the teacher's id of each of the student's pieces."""

    model: Any
    translate: Tensor | None
    probe: features.Probe


@dataclass(slots=True)
class Terms:
    """The weighted terms of a batch. `extras` are the learned projections, by the name of their loss."""

    losses: Mapping[str, Loss]
    extras: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    probe: features.Probe | None = None
    teacher: LiveTeacher | None = None

    @classmethod
    def of(cls, losses: Mapping[str, Loss], student: Any, sizes: tuple[Sizes, Sizes] | None = None, teacher: LiveTeacher | None = None) -> Terms:
        """The losses with their projections for these (student's, teacher's) sizes, and hooks on the student."""
        wanted = needs(losses)
        extras = nn.ModuleDict()
        for name, loss in losses.items():
            make = getattr(plugins.load("losses", name), "module", None)
            if make is not None:
                if sizes is None:
                    raise ConfigError([Fault(f"rounds.losses.{name}", "follows a teacher, and this training has none")])
                takes = inspect.signature(make).parameters
                extras[name] = make(*sizes, **{key: value for key, value in options(loss).items() if key in takes})
        return cls(losses=losses, extras=extras, probe=features.Probe(student, wanted) if wanted else None, teacher=teacher)

    @property
    def whole(self) -> bool:
        """Whether a batch may not be cut into parts."""
        return are_whole(self.losses)

    def __call__(self, task: Any, model: nn.Module, extras: Any, batch: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        inputs = {name.removeprefix("input "): value for name, value in batch.items() if name.startswith("input ")}
        picks = {name.removeprefix("pick "): value for name, value in batch.items() if name.startswith("pick ")}
        if self.probe:
            self.probe.start()
        logits = task.pick(task.forward(model, accepted(model, inputs)).float(), picks)  # [n, c]
        student = self._outputs(logits, model, self.probe)
        teacher = self._teacher(batch.get("teacher", logits), task, inputs)
        hard = Batch(batch["labels"], mask=inputs.get("attention_mask"), weights=batch.get("weights"))
        return {name: weight_at(loss.weight, share) * self._term(name, loss, extras, student, teacher, hard) for name, loss in self.losses.items()}

    def _term(self, name: str, loss: Loss, extras: Any, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        learned = {"module": extras[name]} if name in extras else {}
        try:
            found: Tensor = plugins.load("losses", name).loss(student, teacher, batch, **options(loss), **learned)
        except ValueError as error:  # how a loss says that these two models do not suit it
            raise ConfigError([Fault(f"rounds.losses.{name}", str(error))]) from error
        return found

    def _outputs(self, logits: Tensor, model: Any, probe: features.Probe | None) -> Outputs:
        return Outputs(logits, **probe.read(), heads=features.heads(model.config)) if probe else Outputs(logits)

    def _teacher(self, logits: Tensor, task: Any, inputs: Mapping[str, Tensor]) -> Outputs:
        """The stored answers, and the features of the teacher that reads the student's pieces."""
        if self.teacher is None:
            return Outputs(logits)
        live = self.teacher
        live.probe.start()
        with torch.no_grad(), accelerator().autocast():
            task.forward(live.model, accepted(live.model, translated(inputs, live.translate)))
        return self._outputs(logits, live.model, live.probe)


def translated(inputs: Mapping[str, Tensor], table: Tensor | None) -> dict[str, Tensor]:
    """The student's piece numbers as the teacher's; what is no text stays."""
    return {name: table[value] if table is not None and name == "input_ids" else value for name, value in inputs.items()}
