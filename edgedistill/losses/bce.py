"""Binary cross-entropy with hard labels, for texts with several labels; a row with NaN among its labels has none and does not count.

    L = − Σ_i Σ_c (y_ic · log σ(x_ic) + (1 − y_ic) · log σ(−x_ic)) / (n · c),  x the student's logits, over the n labelled rows

Source: the negative log-likelihood of Bernoulli outputs (Goodfellow, Bengio, Courville 2016, section 6.2.2.2).
Limits: certainty in the right answers → 0; logits 0 → log 2; no labelled row → 0.
Shapes: n rows, c classes; labels [n, c] of 0 and 1.
"""

import torch.nn.functional as F
from torch import Tensor

from edgedistill.losses import Batch, Outputs

LABELS = "several"


def loss(student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
    """The mean over the labelled rows and all classes, a scalar ≥ 0."""
    labelled = ~batch.labels.isnan().any(dim=-1)  # [n]
    logits, labels = student.logits[labelled], batch.labels[labelled].to(student.logits)  # [labelled rows, c]
    total = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return total / max(logits.numel(), 1)  # a batch without labels is no fault: its loss is 0
