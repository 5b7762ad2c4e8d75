"""A task's model as a masked language model: its own backbone under a head over the vocabulary, and what a masked teacher says beside it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from edgedistill import plugins, surgery
from edgedistill.losses import Batch, Outputs
from edgedistill.stages._terms import translated
from edgedistill.tasks import masked_language_modeling as masked
from edgedistill.training.models import accepted

HALF = 0.5  # of the loss for each of the two where there is a teacher


class FactorisedDecoder(nn.Module):
    """The transpose of a word embedding of low rank, [b, s, d] → [b, s, v]: tied weights for a table that is a product of two."""

    def __init__(self, embedding: Any) -> None:
        super().__init__()
        self.table, self.projection = embedding[0], embedding[1]  # [v, r] and [d, r], both the embedding's own
        self.bias = nn.Parameter(torch.zeros(self.table.num_embeddings))

    def forward(self, hidden: Tensor) -> Tensor:
        """The logits over all pieces."""
        logits: Tensor = (hidden @ self.projection.weight) @ self.table.weight.T + self.bias
        return logits


def with_head(model: Any, seed: int) -> Any:
    """A masked language model around the backbone of `model`, which it shares: what it learns, `model` has learned.

    The output weights are the input embeddings (Press and Wolf 2017, arXiv:1608.05859), also where these are of low rank; the rest of the
    head is fresh. Raises ValueError where transformers has no such head for the model's family.
    """
    from transformers import AutoModelForMaskedLM

    torch.manual_seed(seed)
    config = copy.deepcopy(model.config)
    lean = surgery.plan(config)
    surgery.change(config, **dict.fromkeys(lean))  # the backbone comes whole; transformers need not know its shape
    whole = AutoModelForMaskedLM.from_config(config, attn_implementation="eager")
    setattr(whole, whole.base_model_prefix, model.base_model)
    whole.config = config
    embeddings = model.base_model.get_input_embeddings()
    if isinstance(embeddings, nn.Sequential):
        whole.set_output_embeddings(FactorisedDecoder(embeddings))
    else:
        whole.get_output_embeddings().weight = embeddings.weight
    return whole


def copy_head(student: Any, teacher: Any, table: Tensor | None) -> list[str]:
    """Copy the teacher's head where its shapes fit, rows of the vocabulary by piece. Returns the names of what was copied."""
    theirs = {name: weight for name, weight in teacher.named_parameters() if not name.startswith(f"{teacher.base_model_prefix}.")}
    inside = {id(weight) for weight in student.base_model.parameters()}
    copied = []
    with torch.no_grad():
        for name, weight in student.named_parameters():
            found = theirs.get(name)
            if found is None or id(weight) in inside or name.startswith(f"{student.base_model_prefix}."):
                continue
            if table is not None and found.ndim == 1 and len(weight) == len(table) and len(found) == teacher.config.vocab_size:
                found = found[table]
            if found.shape == weight.shape:
                weight.copy_(found)
                copied.append(name)
    return copied


class MaskedTerms:
    """Cross-entropy with the pieces that were hidden, and where there is a teacher the KL divergence from its distribution over them.

    The teacher reads the same masks; of its vocabulary only the pieces that the student has count, in the student's order.
    """

    whole = False  # no loss relates the texts of a batch to each other

    def __init__(self, teacher: Any | None, table: Tensor | None) -> None:
        self.teacher, self.table, self.extras = teacher, table, nn.ModuleDict()

    def __call__(self, task: Any, model: Any, extras: Any, batch: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
        inputs = {name.removeprefix("input "): value for name, value in batch.items() if name.startswith("input ")}
        picks = {name.removeprefix("pick "): value for name, value in batch.items() if name.startswith("pick ")}
        student = Outputs(masked.pick(masked.forward(model, accepted(model, inputs)), picks).float())  # [n, v]
        hard = Batch(batch["labels"])
        if self.teacher is None:
            return {"ce": plugins.load("losses", "ce").loss(student, student, hard)}
        with torch.no_grad():
            found = masked.pick(masked.forward(self.teacher, accepted(self.teacher, translated(inputs, self.table))), picks).float()
        teacher = Outputs(found if self.table is None else found[:, self.table])  # [n, v]
        kl = plugins.load("losses", "kl").loss(student, teacher, hard, temperature=1.0)
        return {"ce": HALF * plugins.load("losses", "ce").loss(student, student, hard), "kl": HALF * kl}
