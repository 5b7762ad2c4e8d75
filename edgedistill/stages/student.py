"""student: make the student that the first round starts from, and say what its smaller vocabulary does to the texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import plugins, students
from edgedistill.errors import Fault, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Inputs, Student
from edgedistill.stages import needs_files
from edgedistill.stages._splits import class_names, read_split
from edgedistill.training import models

VERSION = 2  # 2: a vocabulary is filled up to its size
TOOLS = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """The teacher is the input `teach`; a checkpoint is in the place `student`."""

    task: str
    student: Student
    seed: int


def requires(params: Params, places: Mapping[str, str]) -> list[Fault]:
    """What the student's method asks of the teacher's config, and of its own checkpoint."""
    place = places["teacher"]
    unreadable = place.startswith("hub:") or models.folder_faults("", Path(place))
    faults: list[Fault] = [] if unreadable else students.faults(params.student, models.full_config(Path(place)))
    own = places.get("student", "hub:")
    return faults + ([] if own.startswith("hub:") else models.folder_faults("student.model", Path(own)))


def run(params: Params, inputs: Inputs, out: Path, progress: Progress) -> dict[str, Any]:
    """Write the student's model folder."""
    from edgedistill.students import Origin
    from edgedistill.students._vocabulary import unknown_rate

    prepared, teacher = inputs["prepare"].path, inputs["teach"].path
    task = plugins.load("tasks", params.task)
    labels = class_names(prepared)
    texts = read_split(prepared, "train").texts + read_split(prepared, "transfer").texts
    tokenizer = models.load_tokenizer(teacher)
    place = inputs.places.get("student")
    origin = Origin(
        teacher=models.load_model(task.AUTO_CLASS, teacher),
        tokenizer=tokenizer,
        texts=texts,
        labels=labels,
        auto_class=task.AUTO_CLASS,
        checkpoint=models.resolve(place) if place else None,
    )
    made = students.compose(params.student, origin, params.seed)
    assert made.tokenizer is not None  # a student of texts keeps one
    models.name_labels(made.model, labels)
    models.save(made.model, made.tokenizer, out)
    unknown = {"teacher": unknown_rate(tokenizer, texts), "student": unknown_rate(made.tokenizer, texts)}
    pieces = made.tokenizer.get_vocab_size()
    rates = f"unknown tokens {unknown['student']:.4%} (teacher {unknown['teacher']:.4%})"
    progress.note(f"{made.model.num_parameters() / 1e6:.2f} M parameters, {pieces} pieces, {rates}")
    return {"parameters": made.model.num_parameters(), "pieces": pieces, "unknown_rate": unknown, **made.facts}


def ensures(out: Path) -> None:
    """A model folder whose tokenizer fits its embedding table."""
    needs_files(out, "config.json", "model.safetensors", "tokenizer.json")
    size = json.loads((out / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    pieces = models.load_tokenizer(out).get_vocab_size()
    if pieces > size:
        raise StageError(f"the student's tokenizer has {pieces} pieces, its embedding table {size} rows")
