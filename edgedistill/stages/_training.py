"""What `teach` and `distil` share: rows into tensors, weighted losses into one step, a validation score — around the one loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgedistill import plugins
from edgedistill.cache import RESUME
from edgedistill.losses import UNLABELLED, Batch, Outputs
from edgedistill.progress import Progress
from edgedistill.runtime import by_length
from edgedistill.spec import Schedule
from edgedistill.stages._splits import NO_LABEL, Split
from edgedistill.training.loop import Plan, Trained, accelerator, train
from edgedistill.training.models import set_dropout

Losses = Mapping[str, tuple[float, Mapping[str, Any]]]  # name → (weight, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Everything that a training reads: token ids, hard labels [n], the teacher's logits [n, c] or None, and the validation rows."""

    task: Any
    rows: list[list[int]]
    labels: NDArray[np.int64]
    teacher: NDArray[np.float16] | None
    validation: list[list[int]]
    validation_labels: NDArray[np.int64]
    pad_id: int

    @classmethod
    def of(cls, task: Any, tokenizer: Any, split: Split, validation: Split, teacher: NDArray[np.float16] | None, max_length: int) -> Material:
        """Tokenise the splits."""
        return cls(
            task=task,
            rows=task.encode(tokenizer, split.texts, max_length),
            labels=np.where(split.labels == NO_LABEL, UNLABELLED, split.labels),
            teacher=teacher,
            validation=task.encode(tokenizer, validation.texts, max_length),
            validation_labels=validation.labels,
            pad_id=pad_id(tokenizer),
        )


def pad_id(tokenizer: Any) -> int:
    """The id of the padding token, 0 where the tokenizer has none (its positions are masked anyway)."""
    return next((found for name in ("[PAD]", "<pad>") if (found := tokenizer.token_to_id(name)) is not None), 0)


def fit(model: Any, material: Material, losses: Losses, schedule: Schedule, seed: int, out: Path, progress: Progress) -> Trained:
    """Train `model` in place; the resume state lies inside `out` until the step is done."""
    set_dropout(model, schedule.dropout)
    plan = Plan(
        lengths=[len(row) for row in material.rows],
        collate=lambda indices: _collate(material, indices),
        loss=lambda module, batch: _terms(material.task, losses, module, batch),
        score=lambda module: _score(material, module),
        schedule=schedule,
        seed=seed,
    )
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
    model: Any, task: Any, rows: Sequence[Sequence[int]], padding: int, batch_size: int = 128, seen: Any = lambda done: None
) -> NDArray[np.float32]:
    """A torch model's logits for every row, [n, c], in the order of the rows."""
    machine = accelerator()
    model = model.to(machine.device).eval()
    outputs: dict[int, NDArray[np.float32]] = {}
    with torch.inference_mode(), machine.autocast():
        for batch in by_length(rows, batch_size):
            inputs = {
                name: torch.from_numpy(value).to(machine.device) for name, value in task.feeds([rows[index] for index in batch], padding).items()
            }
            outputs.update(zip(batch.tolist(), model(**inputs).logits.float().cpu().numpy(), strict=True))
            seen(len(outputs))
    return np.stack([outputs[index] for index in range(len(rows))])


def _collate(material: Material, indices: Sequence[int]) -> dict[str, Tensor]:
    batch = {
        name: torch.from_numpy(value) for name, value in material.task.feeds([material.rows[index] for index in indices], material.pad_id).items()
    }
    batch["labels"] = torch.from_numpy(material.labels[list(indices)])  # [b]
    if material.teacher is not None:
        batch["teacher"] = torch.from_numpy(material.teacher[list(indices)].astype(np.float32))  # [b, c]
    return batch


def _terms(task: Any, losses: Losses, model: nn.Module, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    logits = model(**{name: batch[name] for name in task.INPUTS}).logits.float()  # [b, c]
    student, teacher = Outputs(logits), Outputs(batch.get("teacher", logits))
    hard = Batch(batch["labels"])
    return {name: weight * plugins.load("losses", name).loss(student, teacher, hard, **options) for name, (weight, options) in losses.items()}


def _score(material: Material, model: nn.Module) -> float:
    logits = predict(model, material.task, material.validation, material.pad_id)
    return float(material.task.correct(logits, material.validation_labels).mean())
