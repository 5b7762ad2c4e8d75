"""How the tokens of a text relate, query to query, key to key, value to value: heads and widths of student and teacher may differ.

    L = Σ over Q, K, V of the mean over layer pairs, relation heads a and tokens t of KL(R_T[a, t] ‖ R_S[a, t]),  R = softmax(A Aᵀ / √d_r)
    A: the queries (keys, values) of all heads side by side, cut anew into `heads` relation heads of width d_r

Source: Wang et al. 2020 (MiniLMv2), arXiv:2012.15828, equations 3 to 5, α = 1 for Q-Q, K-K and V-V. The paper takes 48 relation heads for
teachers of base size and 64 for large ones; by default it is the largest part of the teacher's heads that divides both widths.
Limits: equal states → 0; rotating A within each head changes nothing.
Shapes: b texts, s positions, r relation heads; `layers` are (student's, teacher's) numbers from 1, last with last where there are none.
"""

import math

import torch
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import divergence, weighted_mean
from edgedistill.losses._states import Layers, pairs, split, token_weights

NEEDS = frozenset({"queries", "keys", "values"})


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, layers: Layers | None = None, heads: int | None = None) -> Tensor:
    """The sum over Q, K and V of a mean over layers, heads and tokens, a scalar ≥ 0.

    Raises ValueError where `heads` does not divide both widths.
    """
    kinds = ((student.queries, teacher.queries), (student.keys, teacher.keys), (student.values, teacher.values))
    compared = [pair for one, other in kinds for pair in pairs(one, other, batch, layers, first=1)]
    widths = [states.shape[-1] for states in compared[0]]
    heads = heads or math.gcd(teacher.heads, *widths)
    if any(width % heads for width in widths):
        raise ValueError(f"{heads} relation heads do not divide the widths {widths[0]} and {widths[1]}: take a divisor of {math.gcd(*widths)}")
    return torch.stack([_distance(one, other, batch, heads) for one, other in compared]).mean() * len(kinds)


def _distance(student: Tensor, teacher: Tensor, batch: Batch, heads: int) -> Tensor:
    weights = token_weights(batch, student)  # [b, s]
    per_token = divergence(_log_relation(teacher, heads, weights), _log_relation(student, heads, weights)).mean(dim=1)  # [b, s]
    return weighted_mean(per_token, weights)


def _log_relation(states: Tensor, heads: int, weights: Tensor) -> Tensor:
    vectors = split(states, heads)  # [b, r, s, d_r]
    scores = vectors @ vectors.transpose(-1, -2) / math.sqrt(vectors.shape[-1])  # [b, r, s, s]
    lowest = torch.finfo(scores.dtype).min  # finite, so that 0 · (log 0 − log 0) at padding is 0 and not NaN
    return scores.masked_fill(weights[:, None, None, :] == 0, lowest).log_softmax(dim=-1)
