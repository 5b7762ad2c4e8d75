"""Cosine distance between sentence embeddings, the student's mapped to the teacher's width where that differs.

    L = Σ_i w_i (1 − cos(s_i W, t_i)) / Σ_i w_i

Source: Zhang et al. 2024 (Jasper and Stella), arXiv:2412.19048, the cosine loss. W is thrown away after training, and with it what it knows;
a student of the teacher's width has none.
Limits: one direction → 0, whatever the lengths; opposite → 2.
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
    """The mean over texts, a scalar between 0 and 2."""
    return mean(1 - F.cosine_similarity(module(student.logits), teacher.logits, dim=-1), batch)
