"""Mean squared error between the matrices of cosines in a batch: which texts are alike, whatever the two spaces.

    L = Σ_ij w_i w_j (cos(s_i, s_j) − cos(t_i, t_j))² / Σ_ij w_i w_j

Source: Zhang et al. 2024 (Jasper and Stella), arXiv:2412.19048, the similarity loss; the idea is Tung and Mori's, arXiv:1907.09682,
equations 2 to 4, who scale the rows of dot products where here every vector has length 1, since embeddings are compared by cosine.
Limits: equal embeddings → 0, and also rotated or longer ones; the widths may differ; a text alone in its batch → 0.
Shapes: n texts, d width; the logits of an embedding model are its sentence embeddings [n, d].
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs
from edgedistill.losses._rows import weighted_mean, weights

WHOLE = True


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over all pairs of texts, a scalar between 0 and 4."""
    one, other = _cosines(student.logits), _cosines(teacher.logits)
    weight = weights(batch, one)  # [n]
    return weighted_mean(F.mse_loss(one, other, reduction="none"), weight[:, None] * weight[None, :])


def _cosines(embeddings: Tensor) -> Tensor:
    unit = F.normalize(embeddings, dim=-1)  # [n, d]
    return torch.mm(unit, unit.T)  # [n, n]
