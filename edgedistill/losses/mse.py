"""Mean squared error between the logits.

    L = Σ_i w_i Σ_c (student_ic − teacher_ic)² / (c · Σ_i w_i)

Source: Ba, Caruana 2014, arXiv:1312.6184, equation 1 (regression on logits); Kim et al. 2021, arXiv:2105.08919, compare it with KL.
Limits: equal logits → 0; unlike KL it also asks for the teacher's offset.
Shapes: n rows, c classes.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import mean


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over rows and classes, a scalar ≥ 0."""
    return mean(F.mse_loss(student.logits, teacher.logits, reduction="none").mean(dim=-1), batch)
