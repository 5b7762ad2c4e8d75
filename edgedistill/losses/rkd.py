"""Relational KD: the distances between texts, and the angles at which they see each other, are as the teacher has them.

    L = α · mean over (i, j) of huber(δ_S(i, j) − δ_T(i, j)) + β · mean over (i, j, k) of huber(∠_S(i, j, k) − ∠_T(i, j, k))
    δ(i, j) = ‖x_i − x_j‖ / their mean over i ≠ j;  ∠(i, j, k) = cos of the angle at j between x_i and x_k;  huber(z) = z² / 2, |z| − ½ beyond 1

Source: Park et al. 2019, arXiv:1904.05068, sections 3.2.1 and 3.2.2; the defaults have the ratio of the paper, 1 to 2. Pairs
and triples that repeat a text count as 0, as in the authors' code; weights multiply within a pair or a triple.
Limits: equal embeddings → 0, and also moved, rotated or scaled ones; the widths may differ; a text alone in its batch → 0.
Shapes: n texts, d width; the logits of an embedding model are its sentence embeddings [n, d]. Memory grows with n² · d + n³.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import weighted_mean, weights

WHOLE = True


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, alpha: float = 1.0, beta: float = 2.0) -> Tensor:
    """The weighted sum of both terms, a scalar ≥ 0."""
    one, other = student.logits, teacher.logits
    weight = weights(batch, one)  # [n]
    of_two = weight[:, None] * weight[None, :]  # [n, n]
    of_three = of_two[:, :, None] * weight  # [n, n, n]
    distances = F.smooth_l1_loss(_distances(one, of_two), _distances(other, of_two), reduction="none")  # [n, n]
    angles = F.smooth_l1_loss(_angles(one), _angles(other), reduction="none")  # [n, n, n]
    return alpha * weighted_mean(distances, of_two) + beta * weighted_mean(angles, of_three)


def _distances(points: Tensor, of_two: Tensor) -> Tensor:
    found = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")  # [n, n]; its gradient is 0 and not NaN at distance 0
    mean = weighted_mean(found, of_two - torch.diag(of_two.diagonal()))
    return found / mean.clamp(min=1e-12)


def _angles(points: Tensor) -> Tensor:
    seen_from = F.normalize(points[None, :, :] - points[:, None, :], dim=-1)  # [n, n, d], row j: where the others lie from text j
    return seen_from @ seen_from.transpose(-1, -2)  # [n, n, n]
