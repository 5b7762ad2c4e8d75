"""A student of any size, from random weights: the teacher's config with some numbers changed.

`config = { hidden_size = 256, num_hidden_layers = 4, num_attention_heads = 4, intermediate_size = 1024 }`. It knows nothing yet:
random starts cost DistilBERT 3.7 points (Sanh et al. 2019, arXiv:1910.01108, table 4), so prefer `layers` where the width may stay.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from edgedistill import surgery
from edgedistill.errors import Fault, nearest
from edgedistill.spec import Student
from edgedistill.students import Made, Origin

READS = ("config",)


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """Keys that the teacher's config does not have, and a width that its heads do not divide."""
    numbers = [key for key, value in teacher.items() if isinstance(value, int) and not isinstance(value, bool) and key != "vocab_size"]
    wrong = [
        Fault(f"student.config.{key}", "no such size in the teacher's config", nearest(key, numbers)) for key in student.config if key not in numbers
    ]
    wrong += [Fault(f"student.config.{key}", f"must be above 0 (found {value})") for key, value in student.config.items() if value <= 0]
    if not student.config:
        wrong.append(Fault("student.config", "is empty", "config = { num_hidden_layers = 3, hidden_size = 256 }"))
    sizes = {**teacher, **student.config}
    width, heads = sizes.get("hidden_size", sizes.get("dim", 0)), sizes.get("num_attention_heads", sizes.get("n_heads", 1))
    if heads > 0 and width % heads:
        wrong.append(Fault("student.config", f"the width {width} is not a multiple of {heads} heads"))
    return wrong


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The student with random weights, drawn from `seed`."""
    import torch

    config = copy.deepcopy(origin.teacher.config)
    for key, value in student.config.items():
        setattr(config, key, value)
    torch.manual_seed(seed)
    return Made(model=surgery.construct(type(origin.teacher), config), tokenizer=origin.tokenizer, facts={"sizes": dict(student.config)})
