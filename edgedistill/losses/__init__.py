"""Distillation losses: one file, one formula, one source. A loss takes the student's and the teacher's outputs and the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch belongs to the leaves: listing the losses must not import it
    from torch import Tensor

UNLABELLED = -100  # the label of a row that only the teacher has labelled; torch's cross-entropy ignores it by default


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model said about a batch of b rows: logits [b, c] over c classes."""

    logits: Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """The hard side of a batch: labels [b], `UNLABELLED` where there is none."""

    labels: Tensor
