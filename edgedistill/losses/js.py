"""Jensen–Shannon divergence at a temperature: symmetric, and bounded however far apart the two are.

    L = T² · ½ · (KL(p ‖ m) + KL(q ‖ m)),  m = (p + q) / 2,  p = softmax(teacher / T), q = softmax(student / T),  weighted mean over rows

Source: Agarwal et al. 2023, arXiv:2306.13649, section 2, the generalised divergence at β = ½ (Lin 1991 named it); T² as in
arXiv:1503.02531, section 2.
Limits: equal logits → 0; disjoint certainties → T² · ln 2; T → ∞ → Σ_c (centred teacher − centred student)² / 8c.
Shapes: n rows, c classes.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import divergence, mean

DISTRIBUTION = True


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, temperature: float = 2.0) -> Tensor:
    """The mean over the batch, a scalar between 0 and T² · ln 2."""
    log_q = F.log_softmax(student.logits / temperature, dim=-1)  # [n, c]
    log_p = F.log_softmax(teacher.logits / temperature, dim=-1)  # [n, c]
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)  # [n, c]
    return mean(divergence(log_p, log_m) + divergence(log_q, log_m), batch) * temperature**2 / 2
