"""A word embedding in two factors: one row of `embedding` numbers per piece, and one matrix that widens them.

    min over A [V, r], B [r, d] of  Σ_v f_v · ‖E_v − A_v B‖²

f is how often the texts use a piece, plus one, so that pieces which nobody has seen yet count too. With D = diag(√f) the best B is the first r
right singular vectors of D E, and A = E Bᵀ (Eckart, Young 1936; ALBERT factorises so from the start: Lan et al. 2020, arXiv:1909.11942,
section 3.1; the weighting by frequency is GroupReduce's, Chen et al. 2018, arXiv:1806.06950). At r = d nothing is lost but rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Student
from edgedistill.students import Made, Origin
from edgedistill.students._copy import family_faults, remade
from edgedistill.students._vocabulary import usage

if TYPE_CHECKING:
    from torch import Tensor

READS = ("embedding",)


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """A rank from 1 to the table's width, of a table that is still whole."""
    unknown = family_faults("embedding", teacher)
    if unknown:
        return unknown
    if "vocab_size" not in teacher:
        return [Fault("student.embedding", f"a teacher of the family '{teacher['model_type']}' has no word embedding", "leave it out")]
    if student.embedding is None:
        return [Fault("student.embedding", "is missing: method 'embedding' needs the rank", "embedding = 128")]
    if "embedding_rank" in (teacher.get(surgery.KEY) or {}):
        return [Fault("student.embedding", "the word embedding is in two factors already", "name 'embedding' once")]
    width = teacher.get("embedding_size") or teacher[surgery.FAMILIES[teacher["model_type"]].width]
    if not 1 <= student.embedding <= min(width, teacher["vocab_size"]):
        return [Fault("student.embedding", f"rank {student.embedding} of a table that is {width} wide", f"1 … {width}")]
    return []


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The teacher with its word embedding in two factors.

    Raises ConfigError when its head reads the embeddings back: a tied table has no factors.
    """
    if student.embedding is None or origin.tokenizer is None:
        raise ConfigError("student.embedding: needs a rank and a tokenizer", hint="embedding = 128")
    if origin.teacher.get_output_embeddings() is not None:
        raise ConfigError(
            "student.embedding: the teacher's head reads its word embeddings back, so they cannot be factorised", hint="leave 'embedding' out"
        )
    table = next(name for name in origin.teacher.state_dict() if name.endswith("word_embeddings.weight"))
    rows, columns, energy = factors(origin.teacher.state_dict()[table], _frequencies(origin), student.embedding)
    config = copy.deepcopy(origin.teacher.config)
    surgery.change(config, embedding_rank=student.embedding)
    stem = table.removesuffix(".weight")
    new = {f"{stem}.0.weight": rows, f"{stem}.1.weight": columns}
    model = remade(origin.teacher, config, seed, lambda name, old: new[name] if name in new else old[name])
    return Made(model=model, tokenizer=origin.tokenizer, facts={"embedding": {"rank": student.embedding, "kept_energy": round(energy, 4)}})


def factors(table: Tensor, weights: Tensor, rank: int) -> tuple[Tensor, Tensor, float]:
    """A [V, r] and the second factor as nn.Linear has it [d, r], and the share of the weighted square norm that they keep."""
    import torch

    scaled = table.detach().double() * weights.double().sqrt()[:, None]
    values, vectors = torch.linalg.eigh(scaled.T @ scaled)  # ascending; the right singular vectors of a tall table, without its left ones
    basis = vectors[:, -rank:]  # [d, r]
    energy = float(values[-rank:].sum() / values.sum().clamp_min(1e-30))
    return (table.detach().double() @ basis).to(table.dtype), basis.to(table.dtype).contiguous(), energy


def _frequencies(origin: Origin) -> Tensor:
    import torch

    counts = torch.ones(origin.teacher.config.vocab_size)
    if origin.tokenizer is not None:
        for piece, count in usage(origin.tokenizer, origin.texts).items():
            counts[piece] += count
    return counts
