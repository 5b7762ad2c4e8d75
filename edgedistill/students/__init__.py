"""Ways to make a student: one file each, with `faults` (what cannot work, before anything runs) and `build` (the model and its tokenizer).

`student.method` is one of them or several in their order: `compose` lets each work on what the one before made. `READS` in a method's file
names the sizes of the recipe that it uses, so that a size which nothing reads is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from edgedistill import plugins
from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.spec import Student

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ANEW = ("checkpoint", "config")  # what they make does not have the teacher's shapes, so only they know whether the rest of a chain fits


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a student is made from: the teacher, its tokenizer, the texts that the student will see, the class names, perhaps a checkpoint.

    `own` is the checkpoint's tokenizer, None its folder's tokenizer.json. `inputs` are batches of the teacher's own inputs as tensors
    (`input_ids` and what goes with them, or `pixel_values`), for the methods that look at activations. Images have neither tokenizer nor texts.
    """

    teacher: Any
    tokenizer: Tokenizer | None
    texts: Sequence[str]
    labels: Sequence[str]
    auto_class: str
    checkpoint: Path | None = None
    own: Tokenizer | None = None
    inputs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A student before its training, its tokenizer, and what is worth knowing about how it was made."""

    model: Any
    tokenizer: Tokenizer | None
    facts: Mapping[str, Any] = field(default_factory=dict)


def chain(student: Student) -> tuple[str, ...]:
    """The methods in their order; a `vocabulary` that no method is named for is trimmed first."""
    named = (student.method,) if isinstance(student.method, str) else tuple(student.method)
    return named if student.vocabulary is None or "vocabulary" in named else ("vocabulary", *named)


def faults(student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """What cannot work, from the recipe and the teacher's config alone: unknown methods, sizes that nothing reads, each method's own."""
    methods = chain(student)
    known = plugins.names("students")
    unknown = [Fault("student.method", f"unknown student '{name}'", nearest(name, known)) for name in methods if not plugins.exists("students", name)]
    if unknown or not methods:
        return unknown or [Fault("student.method", "is empty", nearest("", known))]
    found = [*_order_faults(methods), *_unread(student, methods)]
    for name in methods:
        found += plugins.load("students", name).faults(student, teacher)
        if name in ANEW:
            break
    return found


def compose(student: Student, origin: Origin, seed: int) -> Made:
    """Each method of the chain on what the one before made.

    Raises ConfigError where a method cannot work on what it gets.
    """
    facts: dict[str, Any] = {}
    model = origin.teacher
    for name in chain(student):
        method = plugins.load("students", name)
        found = method.faults(student, model.config.to_dict())
        if found:
            raise ConfigError(found)
        made: Made = method.build(student, origin, seed)
        facts |= made.facts
        origin = _continued(origin, made)
        model = made.model
    return Made(model=model, tokenizer=origin.tokenizer, facts=facts)


def _continued(origin: Origin, made: Made) -> Origin:
    """What the next method starts from; calibration inputs follow the tokenizer."""
    from edgedistill.students._inputs import translated

    inputs = origin.inputs
    if origin.tokenizer is not None and made.tokenizer is not None and made.tokenizer is not origin.tokenizer:
        inputs = translated(inputs, origin.tokenizer, made.tokenizer, getattr(made.model.config, "pad_token_id", None) or 0)
    return replace(origin, teacher=made.model, tokenizer=made.tokenizer, inputs=inputs)


def _order_faults(methods: Sequence[str]) -> list[Fault]:
    late = [name for index, name in enumerate(methods) if name in ANEW and set(methods[:index]) - {"vocabulary"}]
    return [Fault("student.method", f"'{name}' drops what the methods before it made", f"name '{name}' first") for name in late]


def _unread(student: Student, methods: Sequence[str]) -> list[Fault]:
    """Sizes that the recipe gives and no method of the chain uses."""
    read = {name for method in methods for name in _reads(plugins.load("students", method))}
    standard = Student()
    given = [item.name for item in fields(Student) if item.name != "method" and getattr(student, item.name) != getattr(standard, item.name)]
    readers = {name: plugins.load("students", name) for name in plugins.names("students")}
    wrong = []
    for name in given:
        if name not in read:
            able = [f"'{method}'" for method, module in readers.items() if name in _reads(module)]
            what = f"no method of this student reads it (method = {list(methods)})"
            wrong.append(Fault(f"student.{name}", what, f"name {' or '.join(able)} in student.method, or leave it out"))
    return wrong


def _reads(method: ModuleType) -> tuple[str, ...]:
    return tuple(getattr(method, "READS", ()))
