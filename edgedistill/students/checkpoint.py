"""A student that exists: a model folder with its own tokenizer, a fresh head where its classes are not the data's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgedistill import surgery
from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Student
from edgedistill.students import Made, Origin, chain

READS = ("model",)


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """A checkpoint needs a place, and keeps its own vocabulary."""
    wrong = [] if student.model else [Fault("student.model", "is missing: method 'checkpoint' starts from a model folder")]
    if chain(student)[0] == "vocabulary":
        wrong.append(Fault("student.vocabulary", "a checkpoint keeps its own vocabulary", 'method = ["checkpoint", "vocabulary"] trims it'))
    return wrong


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The checkpoint with one output per class. Raises ConfigError when the folder cannot be loaded."""
    import torch
    import transformers
    from tokenizers import Tokenizer

    if origin.checkpoint is None:
        raise ConfigError("student.model: the checkpoint's folder is missing")
    torch.manual_seed(seed)  # a fresh head is drawn from it
    auto = getattr(transformers, origin.auto_class)
    options: dict[str, Any] = {
        "num_labels": len(origin.labels) or origin.teacher.config.num_labels,
        "ignore_mismatched_sizes": True,
        "use_safetensors": True,
        "attn_implementation": "eager",
    }
    try:
        model = surgery.load(auto, origin.checkpoint, **options)
        tokenizer = None if origin.tokenizer is None else origin.own or Tokenizer.from_file(str(origin.checkpoint / "tokenizer.json"))
    except ConfigError as error:
        raise ConfigError([Fault("student.model", fault.what, fault.hint) for fault in error.faults]) from error
    except Exception as error:  # transformers raises OSError, ValueError and safetensors' own, tokenizers bare Exception
        raise ConfigError(f"student.model: {origin.checkpoint} cannot be loaded: {error}") from error
    return Made(model=model, tokenizer=tokenizer)
