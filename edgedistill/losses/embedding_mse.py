"""Mean squared error between sentence embeddings, the student's mapped to the teacher's width where that differs.

    L = Σ_i w_i Σ_k (s_i W − t_i)²_k / (d_T · Σ_i w_i)

Source: Reimers, Gurevych 2020, arXiv:2004.09813, section 2 (the term of the teacher's own language; the mean over dimensions as in
sentence-transformers). W is thrown away after training, and with it what it knows; a student of the teacher's width has none.
Limits: equal embeddings → 0.
Shapes: n texts, d width; the logits of an embedding model are its sentence embeddings [n, d].
"""

import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.losses import Batch, Outputs, Sizes
from edgedistill.losses._rows import mean
from edgedistill.losses._states import projection

ANSWERS = "embeddings"


def module(student: Sizes, teacher: Sizes) -> nn.Module:
    """W [d_S, d_T], or nothing to learn where the widths are equal."""
    return nn.Identity() if student.width == teacher.width else projection(student.width, teacher.width)


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, module: nn.Module) -> Tensor:
    """The mean over texts and dimensions, a scalar ≥ 0."""
    return mean(F.mse_loss(module(student.logits), teacher.logits, reduction="none").mean(dim=-1), batch)
