"""Forward KL divergence from teacher to student at a temperature.

    L = T² · Σ_c p_T(c) · (log p_T(c) − log q_T(c)),  p = softmax(teacher / T), q = softmax(student / T),  weighted mean over rows

Source: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, section 2; T² keeps the gradient's size when T changes.
Limits: equal logits → 0; T → ∞ → Σ_c (centred teacher − centred student)² / 2c.
Shapes: n rows, c classes.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import divergence, mean

DISTRIBUTION = True


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, temperature: float = 2.0) -> Tensor:
    """The mean over the batch, a scalar ≥ 0."""
    log_q = F.log_softmax(student.logits / temperature, dim=-1)  # [n, c]
    log_p = F.log_softmax(teacher.logits / temperature, dim=-1)  # [n, c]
    return mean(divergence(log_p, log_q), batch) * temperature**2
