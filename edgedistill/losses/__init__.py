"""Distillation losses: one file, one formula, one source. A loss takes the student's and the teacher's outputs and the batch.

A loss file has `loss(student, teacher, batch, *, …options) -> Tensor`, a scalar. Beyond that, where it needs it: `NEEDS`, the names of the
fields of `Outputs` that must be filled besides the logits (they cost a teacher in memory); `module(student, teacher, …options)`, which makes
what is learned along with the student and thrown away after the training (it comes back to `loss` as the keyword `module`).

`LABELS` names the kind of hard label that a loss reads (classes, several, numbers, pairs), `DISTRIBUTION` says that it takes the logits for one
distribution over classes, `ANSWERS = "embeddings"` that it takes them for the vectors of an embedding model: a recipe that gives it to a task
of another kind is refused. `WHOLE` says that it relates the examples of a batch to each other, so that a batch of many
tokens is not cut into parts. A ValueError of `module` or `loss` says how two models do not suit it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # torch belongs to the leaves: listing the losses must not import it
    from torch import Tensor

UNLABELLED = -100  # the class number of a row that only the teacher has labelled; real-valued targets say it with NaN


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a learned projection must know of a model: `width` d, `layers` L, attention `heads` h."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a model said about a batch of b rows of s tokens: n answers over c classes (a tagger gives one for each word), L layers of width d.

    logits [n, c]; hidden: L + 1 of [b, s, d], the embeddings first; queries, keys, values: L of [b, s, h · e], e the width of a head.
    """

    logits: Tensor
    hidden: tuple[Tensor, ...] = ()
    queries: tuple[Tensor, ...] = ()
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()
    heads: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """The hard side of a batch: labels [n], `UNLABELLED` where there is none, or real values [n, c] with NaN; mask [b, s], 1 at tokens;
    weights [n] of the rows in the losses that follow the teacher, None where all count alike."""

    labels: Tensor
    mask: Tensor | None = None
    weights: Tensor | None = None
