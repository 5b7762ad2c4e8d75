"""A student of the teacher's own width: some of its layers, copied with everything around them.

Which layers: `layers = [0, 1, 2]` names them, `layers = 3` takes the bottom three. Sanh et al. 2019, arXiv:1910.01108, section 2,
start a student this way; that the lower layers are the better start for a task is measured by Turc-like comparisons in "How to
Distill your BERT" (Wang et al. 2023, arXiv:2305.15032) and, on the default recipe, in benchmarks/LOG.md.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Student
from edgedistill.students import Made, Origin
from edgedistill.students._vocabulary import moved, trim


@dataclass(frozen=True, slots=True)
class Family:
    """Where a model family keeps its depth in the config, and its layers in the names of the weights."""

    depth: str
    layer: re.Pattern[str]
    embedding: str = "word_embeddings.weight"


FAMILIES = {
    "bert": Family("num_hidden_layers", re.compile(r"(.*encoder\.layer\.)(\d+)(\..*)")),
    "roberta": Family("num_hidden_layers", re.compile(r"(.*encoder\.layer\.)(\d+)(\..*)")),
    "electra": Family("num_hidden_layers", re.compile(r"(.*encoder\.layer\.)(\d+)(\..*)")),
    "mpnet": Family("num_hidden_layers", re.compile(r"(.*encoder\.layer\.)(\d+)(\..*)")),
    "distilbert": Family("n_layers", re.compile(r"(.*transformer\.layer\.)(\d+)(\..*)")),
}


def chosen(student: Student) -> tuple[int, ...]:
    """The teacher's layers to copy, from the bottom up."""
    return tuple(range(student.layers)) if isinstance(student.layers, int) else student.layers


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """What cannot work, from the teacher's config alone."""
    kind = teacher.get("model_type", "")
    if kind not in FAMILIES:
        return [Fault("student.method", f"'layers' does not know the family '{kind}'", nearest(kind, FAMILIES))]
    depth = int(teacher[FAMILIES[kind].depth])
    layers = chosen(student)
    if not layers:
        return [Fault("student.layers", "at least one layer is needed")]
    if isinstance(student.layers, int) and student.layers > depth:
        return [Fault("student.layers", f"{student.layers} layers of a teacher that has {depth}", f"at most {depth}")]
    outside = [layer for layer in layers if not 0 <= layer < depth]
    return [Fault("student.layers", f"no layer {layer} in a teacher of {depth}", f"0 … {depth - 1}") for layer in outside]


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The student, with the teacher's weights in the chosen layers, the embeddings (trimmed with the vocabulary) and the head."""
    import torch

    teacher = origin.teacher
    found = faults(student, teacher.config.to_dict())
    if found:
        raise ConfigError(found)
    family = FAMILIES[teacher.config.model_type]
    layers = chosen(student)
    smaller = trim(origin.tokenizer, origin.texts, student.vocabulary) if student.vocabulary else None
    config = copy.deepcopy(teacher.config)
    setattr(config, family.depth, len(layers))
    if smaller:
        config.vocab_size = len(smaller.kept)
        config.pad_token_id = moved(config.pad_token_id, origin.tokenizer, smaller.tokenizer)
    torch.manual_seed(seed)
    model = type(teacher)._from_config(config, attn_implementation="eager")
    model.load_state_dict(_weights(teacher.state_dict(), model.state_dict(), family, layers, smaller.kept if smaller else None))
    return Made(model=model, tokenizer=smaller.tokenizer if smaller else origin.tokenizer, facts={"teacher_layers": list(layers)})


def _weights(
    teacher: Mapping[str, Any], student: Mapping[str, Any], family: Family, layers: Sequence[int], kept: Sequence[int] | None
) -> dict[str, Any]:
    weights = {}
    for name in student:
        match = family.layer.fullmatch(name)
        source = f"{match[1]}{layers[int(match[2])]}{match[3]}" if match else name
        weight = teacher[source]
        weights[name] = weight[list(kept)] if kept is not None and name.endswith(family.embedding) else weight
    return weights
