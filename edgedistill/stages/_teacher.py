"""A teacher that reads along with the student's pieces, for losses on features."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedistill.errors import ConfigError, Fault
from edgedistill.losses import Sizes
from edgedistill.stages._terms import LiveTeacher
from edgedistill.training import features, models
from edgedistill.training.loop import accelerator

UNKNOWN = 0.01  # share of the student's pieces that the teacher may lack


def live_teacher(task: Any, folder: Path, encoder: Any, needs: Collection[str]) -> LiveTeacher:
    """The teacher of a folder, frozen, with hooks for what the losses need.

    Raises ConfigError when the student's pieces are not the teacher's: features of other pieces cannot be compared token by token.
    """
    model = models.load_model(task.AUTO_CLASS, folder).to(accelerator().device).eval().requires_grad_(False)
    table = None
    if hasattr(encoder, "get_vocab_size"):
        table = translation(encoder, models.load_encoder(task, folder)).to(accelerator().device)
    return LiveTeacher(model=model, translate=table, probe=features.Probe(model, needs))


def sizes(task: Any, student: Any, teacher: Any | None, answer: int) -> tuple[Sizes, Sizes]:
    """What learned projections must know of both. For embeddings, which are answers, a width is that of the answer."""
    ours = Sizes(width=features.width(student.config), layers=features.depth(student.config), heads=features.heads(student.config))
    if teacher is None:
        return ours, Sizes(width=answer, layers=ours.layers, heads=ours.heads)
    return ours, Sizes(width=features.width(teacher.config), layers=features.depth(teacher.config), heads=features.heads(teacher.config))


def translation(student: Any, teacher: Any) -> Tensor:
    """The teacher's number of each of the student's pieces; the few that it lacks become its unknown piece, or its first."""
    count = student.get_vocab_size()
    numbers = [teacher.token_to_id(student.id_to_token(index) or "") for index in range(count)]
    lacking = [index for index, number in enumerate(numbers) if number is None]
    if len(lacking) > UNKNOWN * count:
        what = f"losses on features need a student whose pieces the teacher knows; it lacks {len(lacking)} of {count}"
        raise ConfigError([Fault("rounds.losses", what, "use losses on answers (kl, mse), or make the student from the teacher")])
    unknown = next((found for name in ("[UNK]", "<unk>") if (found := teacher.token_to_id(name)) is not None), 0)
    return torch.tensor([unknown if number is None else number for number in numbers])
