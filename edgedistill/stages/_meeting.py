"""Whether a round's losses suit teacher and student, from what their configs say, before anything is trained.

Every loss on features is taken once on made-up ones of the models' sizes: what it refuses then, it would refuse in the training.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from edgedistill import plugins, students, surgery
from edgedistill.errors import ConfigError, Fault
from edgedistill.spec import Loss, Student
from edgedistill.stages._terms import options

ROWS, POSITIONS, CLASSES = 2, 4, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A transformer's sizes: its layers, the width of its stream, heads and the width of each."""

    layers: int
    width: int
    heads: int
    head_size: int


def faults(where: str, losses: Mapping[str, Loss], student: Student, teacher: Mapping[str, Any]) -> list[Fault]:
    """The losses on features that cannot be taken of this student and a teacher with this config."""
    wanting = {name: loss for name, loss in losses.items() if getattr(plugins.load("losses", name), "NEEDS", None)}
    family = str(teacher.get("model_type"))
    if family not in surgery.FAMILIES:
        what = f"reads the layers of a transformer, and none are known of the family '{family}'"
        return [Fault(f"{where}.losses.{name}", what, "use losses on answers: kl, mse, js …") for name in wanting]
    theirs = _teachers(teacher)
    ours = _students(student, theirs)
    return [Fault(f"{where}.losses.{name}", said) for name, loss in wanting.items() if ours and (said := _refusal(name, loss, ours, theirs))]


def _teachers(config: Mapping[str, Any]) -> Body:
    family = surgery.FAMILIES[config["model_type"]]
    heads, head_size = surgery.heads(SimpleNamespace(**config))
    return Body(layers=int(config[family.depth]), width=int(config[family.width]), heads=heads, head_size=head_size)


def _students(student: Student, teacher: Body) -> Body | None:
    """What the chain of methods leaves of the teacher's sizes; None where only the method itself knows."""
    body, chain = teacher, students.chain(student)
    if set(chain) & set(students.ANEW):
        return None
    if "layers" in chain:
        try:
            named = student.depth if student.layers == "auto" else None
            body = replace(body, layers=named or len(plugins.load("students", "layers").chosen(student, teacher.layers)))
        except (ConfigError, KeyError):  # a fault of the student's own
            return None
    if "width" in chain and student.width:
        body = replace(body, width=student.width, heads=student.heads or min(body.heads, max(1, student.width // body.head_size)))
    if "prune" in chain and student.heads:
        body = replace(body, heads=student.heads)
    return body


def _refusal(name: str, loss: Loss, student: Body, teacher: Body) -> str:
    """What the loss says against these two, or nothing."""
    import torch

    from edgedistill.losses import Batch, Sizes

    module, given = plugins.load("losses", name), options(loss)
    sizes = [Sizes(width=body.width, layers=body.layers, heads=body.heads) for body in (student, teacher)]
    batch = Batch(torch.zeros(ROWS, dtype=torch.long), mask=torch.ones(ROWS, POSITIONS, dtype=torch.long))
    try:
        learned = {"module": module.module(*sizes, **_taken(module.module, given))} if hasattr(module, "module") else {}
        with torch.no_grad():
            module.loss(_made_up(student), _made_up(teacher), batch, **_taken(module.loss, given), **learned)
    except ValueError as error:
        return str(error)
    return ""


def _taken(call: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a call knows; others are faults of their own."""
    known = inspect.signature(call).parameters
    return {name: value for name, value in given.items() if name in known}


def _made_up(body: Body) -> Any:
    """Outputs of a model of these sizes: small numbers, none alike."""
    import torch

    from edgedistill.losses import Outputs

    def waves(count: int, width: int) -> tuple[Any, ...]:
        size = ROWS * POSITIONS * width
        return tuple(torch.sin(torch.arange(size, dtype=torch.float32) + number).reshape(ROWS, POSITIONS, width) for number in range(count))

    inner = waves(body.layers, body.heads * body.head_size)
    logits = torch.linspace(-math.pi, math.pi, ROWS * CLASSES).reshape(ROWS, CLASSES)
    return Outputs(logits, hidden=waves(body.layers + 1, body.width), queries=inner, keys=inner, values=inner, heads=body.heads)
