"""What the stages share that train: examples into tensors, weighted losses into one step, a validation score — around the one loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgedistill import ragged, runtime
from edgedistill.cache import RESUME
from edgedistill.memory import give_back
from edgedistill.progress import Progress
from edgedistill.spec import Schedule
from edgedistill.stages import _quality as quality
from edgedistill.stages._splits import Split
from edgedistill.stages._terms import Terms
from edgedistill.training.fake_quantization import fake_quantized
from edgedistill.training.loop import Plan, Trained, accelerator, train
from edgedistill.training.models import accepted, attend, pad_id, set_dropout

LABELLED_TOKENS = 16_384  # that go through a model at once where no gradient is kept: 128 texts of 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that a training reads: the rows of each example, their hard labels, what the teacher said, row weights, the validation split."""

    task: Any
    rows: list[list[Any]]
    labels: list[NDArray[Any]]
    frequency: list[float]
    teacher: ragged.Ragged | None
    places: NDArray[np.int64]  # of each example in `teacher`
    weights: NDArray[np.float32] | None
    validation: Validation
    left_out: int

    @classmethod
    def of(
        cls,
        task: Any,
        encoder: Any,
        split: Split,
        validation: Split,
        names: Sequence[str],
        max_length: int,
        teacher: ragged.Ragged | None = None,
        confidence: float = 0.0,
    ) -> Material:
        """Encode the splits. Examples whose answers are not those that the teacher gave (other windows of a long text) are left out."""
        rows = task.encode(encoder, split.examples, max_length)
        kept = [index for index, one in enumerate(rows) if _answers(task, one) and (teacher is None or _fits(task, one, teacher, index))]
        weights = None if teacher is None or not confidence else _confidence(teacher, kept, confidence)
        return cls(
            task=task,
            rows=[rows[index] for index in kept],
            labels=[task.labels(rows[index], split.targets[index], names) for index in kept],
            frequency=[split.frequency[index] for index in kept],
            teacher=teacher,
            places=np.array(kept, np.int64),
            weights=weights,
            validation=Validation.of(task, encoder, validation, names, max_length),
            left_out=len(rows) - len(kept),
        )

    def collate(self, padding: int, indices: Sequence[int]) -> dict[str, Tensor]:
        """A batch of examples: the model's inputs, filled up with `padding`, where the answers are, labels, and the teacher's answers."""
        rows = [row for index in indices for row in self.rows[index]]
        batch = {f"input {name}": torch.from_numpy(value) for name, value in self.task.feeds(rows, padding).items()}
        batch |= {f"pick {name}": torch.from_numpy(value) for name, value in self.task.picks(rows).items()}
        batch["labels"] = torch.from_numpy(np.concatenate([self.labels[index] for index in indices]))
        if self.teacher is not None:
            said = ragged.joined([self.teacher[int(self.places[index])] for index in indices])
            batch["teacher"] = torch.from_numpy(said.astype(np.float32))  # [n, c]
        if self.weights is not None:
            batch["weights"] = torch.from_numpy(np.repeat(self.weights[list(indices)], [len(self.labels[index]) for index in indices]))
        return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The validation split, encoded."""

    task: Any
    split: Split
    rows: list[list[Any]]
    names: Sequence[str]

    @classmethod
    def of(cls, task: Any, encoder: Any, split: Split, names: Sequence[str], max_length: int) -> Validation:
        """Encode it."""
        return cls(task=task, split=split, rows=task.encode(encoder, split.examples, max_length), names=names)

    def score(self, model: Any) -> float:
        """The task's metric of a torch model."""
        found = []
        for part in quality.parts(len(self.rows)):
            outputs = predict(model, self.task, self.rows[part])
            found.append(self.task.evidence(outputs, self.rows[part], self.split.examples[part], self.split.targets[part], self.names))
        return float(self.task.total(np.concatenate(found)))


def fit(
    model: Any, material: Material, terms: Terms, schedule: Schedule, seed: int, out: Path, progress: Progress, *, quantization_aware: bool = False
) -> Trained:
    """Train `model` in place; the resume state lies inside `out` until the step is done.

    A training that is `quantization_aware` computes its losses and its validation scores on what int8 leaves of the model's numbers.
    """
    set_dropout(model, schedule.dropout)
    attend(model, max(len(row) for rows in material.rows for row in rows))
    plan = Plan(
        lengths=[sum(len(row) for row in rows) for rows in material.rows],
        frequency=material.frequency,
        collate=partial(material.collate, pad_id(model)),
        loss=lambda module, extras, batch, share: terms(material.task, module, extras, batch, share),
        score=material.validation.score,
        higher=material.task.HIGHER,
        schedule=schedule,
        seed=seed,
        extras=terms.extras,
        whole=terms.whole,
    )
    with fake_quantized(model) if quantization_aware else nullcontext():
        trained = train(model, plan, out / RESUME, progress)
    model.to("cpu").float()
    return trained


def curves(trained: Trained) -> dict[str, Any]:
    """The record of a training, for its receipt and the report."""
    return {
        "loss": trained.losses,
        "score": trained.scores,
        "best": trained.best,
        "best_step": trained.best_step,
        "steps": trained.steps,
        "rows": trained.rows,
        "seconds": trained.seconds,
    }


def predict(
    model: Any, task: Any, examples: Sequence[Sequence[Any]], batch_size: int = 128, seen: Callable[[int], None] = lambda done: None
) -> list[list[NDArray[np.float32]]]:
    """A torch model's answers to every row of every example; one whose weights are narrower than float32 computes in their type throughout."""
    machine = accelerator()
    model = model.to(machine.device).eval()
    kind = next(model.parameters()).dtype
    rows = [row for one in examples for row in one]
    attend(model, max(map(len, rows), default=0))
    found: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode(), machine.autocast() if kind == torch.float32 else nullcontext():
        for batch in runtime.by_length(rows, batch_size, LABELLED_TOKENS):
            some = [rows[index] for index in batch]
            inputs = {name: torch.from_numpy(value).to(machine.device) for name, value in task.feeds(some, pad_id(model)).items()}
            inputs = {name: value.to(kind) if value.is_floating_point() else value for name, value in accepted(model, inputs).items()}
            raw = task.forward(model, inputs).float().cpu().numpy()
            found.update(zip(batch.tolist(), ragged.cut(task, raw, some), strict=True))
            seen(len(found))
    give_back()
    return runtime.regrouped([found[index] for index in range(len(rows))], examples)


def _answers(task: Any, rows: Sequence[Any]) -> int:
    return sum(task.shape(row)[0] for row in rows)


def _fits(task: Any, rows: Sequence[Any], teacher: ragged.Ragged, index: int) -> bool:
    """Whether the teacher's answers are to the same questions: as many of them, and over as many classes where a row has its own."""
    if _answers(task, rows) != teacher.shapes[index, 0]:
        return False
    ours = [classes for count, classes in map(task.shape, rows) for _ in range(count)]
    if all(classes is None for classes in ours):
        return True
    said: list[int] = (teacher[index] > ragged.CLOSED / 2).sum(axis=1).tolist()
    return ours == said


def _confidence(teacher: ragged.Ragged, kept: Sequence[int], power: float) -> NDArray[np.float32]:
    """(1 − entropy of the teacher's classes ÷ its maximum) to a power, the mean over an example's answers."""
    return np.array([_sureness(teacher[index]) ** power for index in kept], np.float32)


def _sureness(logits: NDArray[Any]) -> float:
    wide = logits.astype(np.float64)
    shares = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    entropy = -(shares * np.log(shares.clip(1e-12))).sum(axis=1)
    return max(0.0, float(np.mean(1 - entropy / np.log(max(shares.shape[1], 2)))))
