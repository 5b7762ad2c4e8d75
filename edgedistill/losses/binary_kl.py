"""KL divergence between the teacher's and the student's yes or no for every class by itself, where a text may have several labels.

    L = T² / c · Σ_c KL(Bernoulli(p_c) ‖ Bernoulli(q_c)),  p = sigmoid(teacher / T), q = sigmoid(student / T),  weighted mean over rows

Source: Yang et al. 2023, arXiv:2308.06453, the loss of "Multi-Label Logits Distillation" (summed over classes there); T² as in
arXiv:1503.02531, section 2.
Limits: equal logits → 0; T → ∞ → Σ_c (teacher − student)² / 8c.
Shapes: n rows, c classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import divergence, mean


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, temperature: float = 2.0) -> Tensor:
    """The mean over rows and classes, a scalar ≥ 0."""
    per_class = divergence(_bernoulli(teacher.logits / temperature), _bernoulli(student.logits / temperature))  # [n, c]
    return mean(per_class.mean(dim=-1), batch) * temperature**2


def _bernoulli(logits: Tensor) -> Tensor:
    """log (p, 1 − p) of every class, [n, c, 2]; the log of 1 − p is that of sigmoid(−x), which keeps its digits when p is near 1."""
    return torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=-1)
