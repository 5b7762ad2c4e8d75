"""Ways to make a student: one file each, with `faults` (what cannot work, before anything runs) and `build` (the model and its tokenizer)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a student is made from: the teacher, its tokenizer, the texts that the student will see, the class names, perhaps a checkpoint."""

    teacher: Any
    tokenizer: Tokenizer
    texts: Sequence[str]
    labels: Sequence[str]
    auto_class: str
    checkpoint: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A student before its training, its tokenizer, and what is worth knowing about how it was made."""

    model: Any
    tokenizer: Tokenizer
    facts: Mapping[str, Any] = field(default_factory=dict)
