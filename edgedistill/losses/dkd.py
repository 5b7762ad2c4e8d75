"""Decoupled KD: how sure the teacher is of the target class, and how it ranks the others, each with a weight of its own.

    L = T² · (α · KL(b_p ‖ b_q) + β · KL(p̂ ‖ q̂)),  weighted mean over rows;  p = softmax(teacher / T), q = softmax(student / T)
    b_p = (p_t, 1 − p_t): target t or not;  p̂_c = p_c / (1 − p_t), c ≠ t: the others among themselves;  likewise b_q and q̂

The target t is the hard label, and the teacher's most likely class where a row is UNLABELLED.
Source: Zhao et al. 2022, arXiv:2203.08679, section 3, equation 7 (1 · KL(b) + (1 − p_t) · KL(p̂) would be KL); the defaults are the authors'
for CIFAR-100.
Limits: equal logits → 0; two classes → the second term is 0 and L = α · KL.
Shapes: n rows, c ≥ 2 classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import UNLABELLED, Batch, Outputs
from edgedistill.losses._rows import divergence, mean

LABELS = "classes"
DISTRIBUTION = True


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0) -> Tensor:
    """The mean over the batch, a scalar ≥ 0."""
    target = torch.where(batch.labels == UNLABELLED, teacher.logits.argmax(dim=-1), batch.labels)  # [n]
    binary_q, others_q = _decoupled(student.logits / temperature, target)
    binary_p, others_p = _decoupled(teacher.logits / temperature, target)
    rows = alpha * divergence(binary_p, binary_q) + beta * divergence(others_p, others_q)  # [n]
    return mean(rows, batch) * temperature**2


def _decoupled(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """log b [n, 2] and log p̂ [n, c − 1], without 1 − p_t, which loses its digits where the target is certain."""
    is_target = F.one_hot(target, logits.shape[-1]).bool()  # [n, c]
    others = logits[~is_target].view(len(logits), -1)  # [n, c − 1]
    binary = torch.stack([logits[is_target], others.logsumexp(dim=-1)], dim=-1)  # [n, 2]
    return F.log_softmax(binary, dim=-1), F.log_softmax(others, dim=-1)
