"""Squared error between the cosine of a pair's two embeddings and a person's score of their likeness, scaled to 0 … 1.

    L = Σ_p (cos(e_p, e_p') − y_p)² / P,  over the P labelled pairs

Source: Reimers, Gurevych 2019, arXiv:1908.10084, section 3, the regression objective.
Limits: a cosine that is its score → 0; no labelled pair → 0. A pair's two embeddings stand one behind the other, its score at the first.
Shapes: n texts, d the width of an embedding.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs

LABELS = "pairs"


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over the labelled pairs, a scalar ≥ 0; labels [n, 1] are NaN but at a pair's first text."""
    first = (~batch.labels[:, 0].isnan()).nonzero()[:, 0]  # [p]
    cosines = F.cosine_similarity(student.logits[first], student.logits[first + 1], dim=-1)  # [p]
    scores = batch.labels[first, 0].to(cosines.dtype)  # [p]
    return ((cosines - scores) ** 2).sum() / max(len(first), 1)
