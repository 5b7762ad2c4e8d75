"""What the losses over logits share: the divergence of a row, and the mean over rows that may weigh differently.

Shapes: n rows, c classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) of every row [n], in nats, from two log-distributions [n, c]."""
    return F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(dim=-1)


def mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean of one value per row, Σ w_i v_i / Σ w_i with the batch's weights; 0 where no row weighs anything."""
    weights = torch.ones_like(values) if batch.weights is None else batch.weights.to(values)  # [n]
    return (weights * values).sum() / weights.sum().clamp(min=torch.finfo(values.dtype).tiny)
