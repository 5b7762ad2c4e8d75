"""A smaller vocabulary: the tokenizer keeps `vocabulary` pieces, the embedding table their rows, and so does a head that reads it back.

A text that uses only kept pieces gets the same answer, to the bit; which pieces stay is the work of `_vocabulary`. Abdaoui, Pradel, Sigel
2020, arXiv:2010.05609, section 3: a multilingual model loses half of its size and next to nothing of its quality.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Student
from edgedistill.students import Made, Origin
from edgedistill.students._copy import remade
from edgedistill.students._vocabulary import moved, trim

READS = ("vocabulary",)
IDS = ("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "mask_token_id", "unk_token_id", "decoder_start_token_id")
AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")  # positions are counted from the padding's id
FIXED_PADDING = ("mpnet",)  # its code says 1


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """A size, and a teacher that reads pieces."""
    if student.vocabulary is None:
        return [Fault("student.vocabulary", "is missing: method 'vocabulary' trims to that many pieces", "vocabulary = 8000")]
    if student.vocabulary < 1:
        return [Fault("student.vocabulary", f"must be above 0 (found {student.vocabulary})")]
    if "vocab_size" not in teacher:
        kind = teacher.get("model_type", "")
        return [Fault("student.vocabulary", f"a teacher of the family '{kind}' has no vocabulary", "leave it out")]
    return []


def build(student: Student, origin: Origin, seed: int) -> Made:
    """The teacher with the rows of the pieces that stay.

    Raises ConfigError when the vocabulary cannot be trimmed to that size.
    """
    if origin.tokenizer is None or student.vocabulary is None:
        raise ConfigError("student.vocabulary: needs a size and a tokenizer to trim", hint="leave it out for a teacher of images")
    old = origin.teacher.config
    smaller = trim(origin.tokenizer, origin.texts, student.vocabulary)
    config = copy.deepcopy(old)
    config.vocab_size = len(smaller.kept)
    for key in IDS:
        before = getattr(old, key, None)
        if isinstance(before, int):
            setattr(config, key, moved(before, origin.tokenizer, smaller.tokenizer))
        elif isinstance(before, list):
            setattr(config, key, [moved(one, origin.tokenizer, smaller.tokenizer) for one in before])
    shift = _shift(old, config)

    def take(name: str, weights: Mapping[str, Any]) -> Any:
        weight = weights[name]
        if name.endswith("position_embeddings.weight") and shift:
            return weight.roll(-shift, 0)  # the rows that come round are before the new padding's or past the longest text
        return weight[list(smaller.kept)] if _by_piece(name) else weight

    model = remade(origin.teacher, config, seed, take)
    return Made(model=model, tokenizer=smaller.tokenizer, facts={"vocabulary": {"pieces": len(smaller.kept), "of": old.vocab_size}})


def _shift(old: Any, config: Any) -> int:
    """By how many rows the positions move with the padding's id. Raises ConfigError where they cannot."""
    if old.pad_token_id == config.pad_token_id or old.pad_token_id is None:
        return 0
    if config.model_type in FIXED_PADDING:
        what = f"{config.model_type} takes piece 1 for the padding, whatever its config says, and trimming would move it"
        raise ConfigError(f"student.vocabulary: {what}", hint="leave student.vocabulary out")
    return int(old.pad_token_id - config.pad_token_id) if config.model_type in AFTER_PADDING else 0


HEADS = ("lm_head", "decoder", "cls.predictions", "generator_lm_head", "vocab_projector")  # parents of a weight or bias with one row per piece


def _by_piece(name: str) -> bool:
    """Whether a weight has one row per piece: the embeddings (also at low rank), and what a language model's head reads them back with."""
    parent, _, leaf = name.rpartition(".")
    if leaf == "weight":
        return parent.endswith(("word_embeddings", "word_embeddings.0", "decoder", "generator_lm_head", "vocab_projector"))
    return leaf == "bias" and parent.endswith(HEADS)
