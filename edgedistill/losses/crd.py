"""Contrastive representation distillation: tell which student's and which teacher's representation come from one text.

    L = − mean over texts i of ( log h(T_i, S_i) + Σ_{j ≠ i} log (1 − h(T_i, S_j)) )
    h(T, S) = e^{g(T)·g(S) / τ} / (e^{g(T)·g(S) / τ} + N / M),  g: a learned linear map to 128 dimensions, then length 1

Source: Tian, Krishnan, Isola 2019, arXiv:1910.10699, equations 17 to 19. T and S are means over the tokens of the last hidden states.
The paper draws N (16 384) negatives from a memory of all M texts, as they were when last seen, and of other classes where there are labels.
Here the negatives are the rest of the batch: N = n − 1, M = n, all fresh and with a gradient, of any class; nothing is kept between steps,
and a batch's size is part of the loss. The authors' code divides e^{…} by a constant estimated on its first batch; equation 19 does not.
Limits: τ → 0 with cosines above 0 in pairs and below 0 elsewhere → 0; cosines of 0 → log (1 + N / M) + N · log (1 + M / N).
Shapes: n texts, s positions, d width.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.losses import Batch, Outputs, Sizes
from edgedistill.losses._rows import weighted_mean
from edgedistill.losses._states import pairs, text_weights, tokens

NEEDS = frozenset({"hidden"})
WHOLE = True
DIMENSIONS = 128  # as in the authors' code, and so is the default temperature


def module(student: Sizes, teacher: Sizes) -> nn.ModuleList:
    """The student's and the teacher's g."""
    return nn.ModuleList([nn.Linear(student.width, DIMENSIONS), nn.Linear(teacher.width, DIMENSIONS)])


def loss(student: Outputs, teacher: Outputs, batch: Batch, *, module: nn.ModuleList, temperature: float = 0.07) -> Tensor:
    """The mean over texts, a scalar ≥ 0; 0 where a text is alone in its batch."""
    ((one, other),) = pairs(student.hidden, teacher.hidden, batch, None, first=0)
    of_student, of_teacher = (F.normalize(g(_pooled(states, batch)), dim=-1) for g, states in zip(module, (one, other), strict=True))  # [n, 128]
    texts = len(one)
    ratio = of_teacher.new_tensor((texts - 1) / texts)  # N / M
    odds = of_teacher @ of_student.T / temperature - ratio.log()  # [n, n], h = sigmoid(odds)
    same = torch.eye(texts, dtype=torch.bool, device=odds.device)
    surprise = -F.logsigmoid(torch.where(same, odds, -odds)).sum(dim=-1)  # [n]
    return weighted_mean(surprise, text_weights(batch, surprise))


def _pooled(states: Tensor, batch: Batch) -> Tensor:
    real = tokens(batch, states)[:, :, None]  # [n, s, 1]
    return (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)  # [n, d]
