"""What the losses over logits share: the divergence of a row, and the mean over rows that may weigh differently.

Shapes: n rows, c classes.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p‖q) of every row [n], in nats, from two log-distributions [n, c]."""
    return F.kl_div(log_q, log_p, log_target=True, reduction="none").sum(dim=-1)


def weights(batch: Batch, rows: Tensor) -> Tensor:
    """The weight of every row [n], of the type of `rows`; 1 where the batch says nothing."""
    return rows.new_ones(len(rows)) if batch.weights is None else batch.weights.to(rows)


def mean(values: Tensor, batch: Batch) -> Tensor:
    """The mean of one value per row, weighted as the batch says."""
    return weighted_mean(values, weights(batch, values))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Σ w v / Σ w over all entries, values and weights of one shape; 0 where nothing weighs."""
    total = weights.sum()
    return (weights * values).sum() / total.masked_fill(total == 0, 1.0)
