"""What a round of distillation trains on, and its losses: for `distil`, and for `student` where it tries layer maps with the first round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgedistill.spec import Inputs, Loss, Round
from edgedistill.stages._splits import EMPTY, class_names, read_soft_labels, read_sources, read_split


def labelled(inputs: Inputs, task: Any, encoder: Any, max_length: int) -> Any:
    """The training rows with their hard labels, and nothing of the teacher."""
    from edgedistill.stages._training import Material

    prepared = inputs["prepare"].path
    return Material.of(task, encoder, read_split(prepared, "train"), read_split(prepared, "validation"), class_names(prepared), max_length)


def material(inputs: Inputs, task: Any, encoder: Any, training: Round, max_length: int) -> Any:
    """The training, transfer and augmented examples with what the teacher said of them."""
    from edgedistill.stages._training import Material

    prepared = inputs["prepare"].path
    split = sum(read_sources(*(inputs[role].path for role in ("prepare", "augment") if role in inputs.artifacts)).values(), EMPTY)
    validation, teacher = read_split(prepared, "validation"), read_soft_labels(inputs["label"].path)
    return Material.of(task, encoder, split, validation, class_names(prepared), max_length, teacher, training.confidence)


def hard_terms(losses: Mapping[str, Loss], model: Any) -> Any:
    """Losses on hard labels alone."""
    from edgedistill.stages._terms import Terms

    return Terms.of(losses, model)


def terms(inputs: Inputs, task: Any, model: Any, encoder: Any, training: Round, material: Any, seed: int) -> Any:
    """A round's losses, with the teacher reading along where one of them wants its features."""
    import torch

    from edgedistill.stages._teacher import live_teacher, sizes
    from edgedistill.stages._terms import Terms, needs
    from edgedistill.training.models import attend

    torch.manual_seed(seed)  # learned projections are drawn from it
    losses = training.losses
    answer = int(material.teacher.shapes[0, 1])  # width of the teacher's answer: an embedding's
    teacher = live_teacher(task, inputs["teach"].path, encoder, needs(losses)) if needs(losses) else None
    if teacher:
        attend(teacher.model, max(len(row) for rows in material.rows for row in rows))
    return Terms.of(losses, model, sizes(task, model, teacher.model if teacher else None, answer), teacher)
