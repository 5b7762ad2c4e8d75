"""Mean squared error with hard real-valued labels: regression; a NaN is a value that nobody knows, and does not count.

    L = Σ_ic (student_ic − y_ic)² / m,  over the m known values

Source: the negative log-likelihood of a Gaussian of fixed variance, but for constants (Goodfellow, Bengio, Courville 2016, section 5.5.1).
Limits: the right values → 0; no known value → 0.
Shapes: n rows, c values; labels [n, c], or [n] where c = 1.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs

LABELS = "numbers"


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over the known values, a scalar ≥ 0."""
    labels = batch.labels.view_as(student.logits).to(student.logits)  # [n, c]
    known = ~labels.isnan()  # [n, c]
    total = F.mse_loss(student.logits[known], labels[known], reduction="sum")
    return total / known.sum().clamp(min=1)  # a batch without labels is no fault: its loss is 0
