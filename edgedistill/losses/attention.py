"""Mean squared error between attention scores before their softmax, head by head.

    L = mean over layer pairs, heads, and pairs (i, j) of tokens of one text, of (A_S − A_T)²_ij,  A = Q Kᵀ / √e

Source: Jiao et al. 2019, arXiv:1909.10351, equation 7 ("unnormalized": A before the softmax). The paper sums the layer pairs; the mean leaves
a recipe's weight as it is when it names more of them.
Limits: equal scores → 0; the scores' scale counts, unlike that of attention after the softmax.
Shapes: b texts, s positions, h heads of width e; `layers` are (student's, teacher's) numbers from 1, last with last where there are none.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import weighted_mean
from edgedistill.losses._states import Layers, pairs, split, token_weights

NEEDS = frozenset({"queries", "keys"})


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, layers: Layers | None = None) -> Tensor:
    """The mean over layers, heads and pairs of tokens, a scalar ≥ 0.

    Raises ValueError where student and teacher have not as many heads.
    """
    if student.heads != teacher.heads:
        what = f"the loss 'attention' compares head with head, but the student has {student.heads} and the teacher {teacher.heads}"
        raise ValueError(f"{what}: give the student {teacher.heads} heads, or use the loss 'relation', which does not mind")
    queries = pairs(student.queries, teacher.queries, batch, layers, first=1)
    keys = pairs(student.keys, teacher.keys, batch, layers, first=1)
    return torch.stack([_error(query, key, batch, student.heads) for query, key in zip(queries, keys, strict=True)]).mean()


def _error(queries: tuple[Tensor, Tensor], keys: tuple[Tensor, Tensor], batch: Batch, heads: int) -> Tensor:
    one, other = (_scores(split(query, heads), split(key, heads)) for query, key in zip(queries, keys, strict=True))
    error = F.mse_loss(one, other, reduction="none").mean(dim=1)  # [b, s, s]
    weights = token_weights(batch, queries[0])  # [b, s]
    return weighted_mean(error, weights[:, :, None] * (weights[:, None, :] > 0))


def _scores(queries: Tensor, keys: Tensor) -> Tensor:
    return queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])  # [b, h, s, s]
