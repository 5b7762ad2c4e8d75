"""Cosine distance between hidden states, the student's mapped to the teacher's width by a matrix that is learned along.

    L = mean over layer pairs and tokens of 1 − cos(H_S W, H_T)

Source: Sanh et al. 2019, arXiv:1910.01108, section 2, L_cos (there the widths are equal and W is not needed); W as in arXiv:1909.10351,
equation 8.
Limits: one direction → 0, whatever the lengths; opposite → 2; W is the identity to begin with where the widths are equal.
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
    """The mean over pairs and tokens, a scalar between 0 and 2."""
    matched = zip(module, pairs(student.hidden, teacher.hidden, batch, layers, first=0), strict=True)
    distances = [1 - F.cosine_similarity(mapped(one), other, dim=-1) for mapped, (one, other) in matched]  # pairs of [b, s]
    return torch.stack([weighted_mean(distance, token_weights(batch, distance)) for distance in distances]).mean()
