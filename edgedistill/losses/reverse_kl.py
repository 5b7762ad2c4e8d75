"""Reverse KL divergence, from student to teacher: the student may leave out what it cannot say, but pays for what the teacher would not say.

    L = T² · Σ_c q_T(c) · (log q_T(c) − log p_T(c)),  p = softmax(teacher / T), q = softmax(student / T),  weighted mean over rows

Source: Gu, Dong, Wei, Huang 2023, arXiv:2306.08543, equation 1 (there over sequences, here over classes); T² as in arXiv:1503.02531, section 2.
Limits: equal logits → 0; T → ∞ → Σ_c (centred teacher − centred student)² / 2c, as forward KL.
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
    return mean(divergence(log_q, log_p), batch) * temperature**2
