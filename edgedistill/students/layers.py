"""A student of the teacher's own width: some of its layers, copied with everything around them.

Which layers: `layers = [0, 1, 2]` names them, `layers = 3` takes the bottom three, and with `depth` the name of a map does: `bottom`, `last`,
or `uniform` (evenly spaced from the first to the last, DistilBERT's 0 2 4 7 9 11 of 12). Sanh et al. 2019, arXiv:1910.01108, section 3, start
a student this way; that the lower layers are the better start for a task is measured in "How to Distill your BERT" (Wang et al. 2023,
arXiv:2305.15032) and, on the default recipe, in benchmarks/LOG.md; Sajjad et al. 2020, arXiv:2004.03844, compare the maps.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Student
from edgedistill.students import Made, Origin
from edgedistill.students._copy import family_faults, family_of, remade
from edgedistill.surgery import FAMILIES

READS = ("layers", "depth")
MAPS = ("bottom", "uniform", "last", "auto")


def maps(depth: int, teacher_layers: int) -> dict[str, tuple[int, ...]]:
    """Every named way to choose `depth` of the teacher's layers."""
    gaps = max(1, depth - 1)
    return {
        "bottom": tuple(range(depth)),
        "uniform": tuple((2 * index * (teacher_layers - 1) + gaps) // (2 * gaps) for index in range(depth)),
        "last": tuple(range(teacher_layers - depth, teacher_layers)),
    }


def chosen(student: Student, teacher_layers: int) -> tuple[int, ...]:
    """The teacher's layers to copy, from the bottom up.

    Raises ConfigError for `auto`, which whoever can train must have resolved.
    """
    if isinstance(student.layers, int):
        return tuple(range(student.layers))
    if isinstance(student.layers, tuple):
        return student.layers
    if student.layers == "auto" or student.depth is None:
        raise ConfigError(f"student.layers: '{student.layers}' names no layers yet", hint="choose one of students.layers.maps(depth, teacher_layers)")
    return maps(student.depth, teacher_layers)[student.layers]


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """What cannot work, from the teacher's config alone."""
    unknown = family_faults("layers", teacher)
    if unknown:
        return unknown
    depth = int(teacher[FAMILIES[teacher["model_type"]].depth])
    if isinstance(student.layers, str):
        return _map_faults(student, depth)
    layers = chosen(student, depth)
    if student.depth is not None and student.depth != len(layers):
        return [Fault("student.depth", f"{student.depth}, but student.layers gives {len(layers)} layers", "depth goes with the name of a map")]
    if not layers:
        return [Fault("student.layers", "at least one layer is needed")]
    if isinstance(student.layers, int) and student.layers > depth:
        return [Fault("student.layers", f"{student.layers} layers of a teacher that has {depth}", f"at most {depth}")]
    outside = [layer for layer in layers if not 0 <= layer < depth]
    return [Fault("student.layers", f"no layer {layer} in a teacher of {depth}", f"0 … {depth - 1}") for layer in outside]


def _map_faults(student: Student, depth: int) -> list[Fault]:
    if student.layers not in MAPS:
        return [Fault("student.layers", f"unknown map '{student.layers}'", nearest(str(student.layers), MAPS))]
    if student.depth is None:
        return [Fault("student.depth", f"is missing: layers = '{student.layers}' does not say how many", f"depth = 1 … {depth}")]
    if not 1 <= student.depth <= depth:
        return [Fault("student.depth", f"{student.depth} layers of a teacher that has {depth}", f"1 … {depth}")]
    return []


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The student, with the teacher's weights in the chosen layers and everything around them."""
    teacher = origin.teacher
    found = faults(student, teacher.config.to_dict())
    if found:
        raise ConfigError(found)
    family = family_of(teacher)
    layers = chosen(student, getattr(teacher.config, family.depth))
    config = copy.deepcopy(teacher.config)
    surgery.keep_layers(config, layers)

    def take(name: str, old: Mapping[str, Any]) -> Any:
        match = family.inside.fullmatch(name)
        return old[f"{match[1]}{layers[int(match[2])]}{match[3]}" if match else name]

    return Made(model=remade(teacher, config, seed, take), tokenizer=origin.tokenizer, facts={"teacher_layers": list(layers)})
