"""A student of any size, from random weights: the teacher's config with some numbers changed.

`config = { hidden_size = 256, num_hidden_layers = 4, num_attention_heads = 4, intermediate_size = 1024 }`. It knows nothing yet:
random starts cost DistilBERT 3.7 points (Sanh et al. 2019, arXiv:1910.01108, table 4), so prefer `layers` where the width may stay.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Student
from edgedistill.students import Made, Origin

READS = ("config",)
ROWS, POSITIONS = 2, 8  # of a batch that is tried


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


def changed(student: Student, teacher: Any) -> Any:
    """The teacher's config with the student's numbers; lists with an entry for every layer keep those of the layers from the bottom."""
    config = copy.deepcopy(teacher)
    depth = surgery.depth_key(config)
    if depth in student.config:
        surgery.keep_layers(config, range(student.config[depth]))
    for key, value in student.config.items():
        setattr(config, key, value)
    return config


def refusals(student: Student, teacher: Any, make: Callable[[Any], Any]) -> list[Fault]:
    """What transformers says against the changed config: it is read as if from a file, and `make` makes a model of it that has no weights.

    What it says against the teacher's own as well is none of the student's: whoever loads the teacher will hear it.
    """
    mine, theirs = _said(changed(student, teacher), make), _said(teacher, make)
    said = next((ours for ours, other in zip(mine, theirs, strict=True) if ours and not other), "")
    if not said:
        return []
    keys = [key for key in student.config if key in said] or list(student.config)
    where = f"student.config.{keys[0]}" if len(keys) == 1 else "student.config"
    own = ", ".join(f"{key} {getattr(teacher, key)}" for key in student.config)
    return [Fault(where, f"transformers makes no {teacher.model_type} of these sizes: {said}", f"the teacher has {own}")]


def _said(config: Any, make: Callable[[Any], Any]) -> tuple[str, str]:
    """What transformers says when such a model is made, and when it is given a batch; on the device `meta` neither costs anything."""
    import torch

    try:
        with torch.device("meta"):
            model = make(type(config).from_dict(config.to_dict())).eval()
    except Exception as error:  # each family raises its own kind: AssertionError, ValueError, RuntimeError, its validators' errors
        return _line(error), ""
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = 0  # whoever loads weights finds the tokenizer's
    try:
        with torch.device("meta"), torch.inference_mode():
            model(**_batch(config))
    except Exception as error:  # the same; NotImplementedError where the code reads values, which are not there
        return "", _line(error)
    return "", ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _batch(config: Any) -> dict[str, Any]:
    import torch

    if hasattr(config, "vocab_size"):
        return {name: torch.ones(ROWS, POSITIONS, dtype=torch.long) for name in ("input_ids", "attention_mask")}
    size = config.image_size
    return {"pixel_values": torch.ones(ROWS, config.num_channels, *((size, size) if isinstance(size, int) else size))}


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The student with random weights, drawn from `seed`. Raises ConfigError where transformers has no model of these sizes."""
    import torch

    found = refusals(student, origin.teacher.config, partial(surgery.construct, type(origin.teacher)))
    if found:
        raise ConfigError(found)
    torch.manual_seed(seed)
    model = surgery.construct(type(origin.teacher), changed(student, origin.teacher.config))
    return Made(model=model, tokenizer=origin.tokenizer, facts={"sizes": dict(student.config)})
