"""Mean squared error between hidden states, the student's mapped to the teacher's width by a matrix that is learned along.

    L = mean over layer pairs and tokens of Σ_k (H_S W − H_T)²_k / d_T

Source: Jiao et al. 2019, arXiv:1909.10351, equation 8, and 9 for layer 0, the embeddings (the paper sums the pairs; the mean leaves a recipe's
weight as it is when it names more of them).
Limits: H_S W = H_T → 0; W is the identity to begin with where the widths are equal, so that equal states → 0.
Shapes: b texts, s positions, d width; `layers` are (student's, teacher's) numbers, 0 the embeddings, last with last where there are none.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.losses import Batch, Outputs, Sizes
from edgedistill.losses._rows import weighted_mean
from edgedistill.losses._states import Layers, pairs, projection, token_weights

NEEDS = frozenset({"hidden"})


def module(student: Sizes, teacher: Sizes, *, layers: Layers | None = None) -> nn.ModuleList:
    """One W [d_S, d_T] for each pair of layers."""
    return nn.ModuleList([projection(student.width, teacher.width) for _ in layers or ("last",)])


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, module: nn.ModuleList, layers: Layers | None = None) -> Tensor:
    """The mean over pairs, tokens and the teacher's width, a scalar ≥ 0."""
    matched = zip(module, pairs(student.hidden, teacher.hidden, batch, layers, first=0), strict=True)
    errors = [F.mse_loss(mapped(one), other, reduction="none").mean(dim=-1) for mapped, (one, other) in matched]  # pairs of [b, s]
    return torch.stack([weighted_mean(error, token_weights(batch, error)) for error in errors]).mean()
