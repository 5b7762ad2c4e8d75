"""Cross-entropy with the hard labels; rows that have none do not count.

    L = − Σ_i log softmax(student_i)[y_i] / n,  over the n labelled rows

Source: the negative log-likelihood of a categorical distribution (Goodfellow, Bengio, Courville 2016, section 6.2.1.1).
Limits: certainty in the right class → 0; uniform logits → log c; no labelled row → 0.
Shapes: n rows, c classes.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import UNLABELLED, Batch, Outputs

LABELS = "classes"


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over the labelled rows, a scalar ≥ 0."""
    total = F.cross_entropy(student.logits, batch.labels, ignore_index=UNLABELLED, reduction="sum")
    return total / (batch.labels != UNLABELLED).sum().clamp(min=1)  # a batch without labels is no fault: its loss is 0
