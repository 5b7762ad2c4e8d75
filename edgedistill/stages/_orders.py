"""A teacher whose classes have no names of their own (LABEL_0 …): which of ours each is taken for, and whether another order fits the rows better.

The order that fits best is an assignment over what each output is worth as each class (Kuhn 1955): rows where it is largest and right, or its F1
where a row may have several classes. It is found on one half of the rows and judged on the other, so that having chosen it costs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ConfigError, Fault
from edgedistill.stages import _quality as quality
from edgedistill.stages._splits import Split
from edgedistill.tasks import NO_LABEL
from edgedistill.wording import array, quoted

GENERIC = re.compile(r"(?:(?:label|class)[ _-]?)?(\d+)", re.IGNORECASE)
ROWS = 1000  # validation rows that are looked at, spread at random: half of them tell 60 from 68 percent
SURE = 0.999  # how sure it must be that another order is better before a build is refused
TOLD = 12  # classes that a note names


def generic(theirs: Sequence[str]) -> bool:
    """Whether a model's class names say nothing but the outputs' numbers."""
    found = [GENERIC.fullmatch(name.strip()) for name in theirs]
    return all(match is not None and int(match[1]) == index for index, match in enumerate(found))


def taken(theirs: Sequence[str], ours: Sequence[str]) -> str:
    """Which of our classes each of a teacher's is taken for, in words."""
    pairs = [f"{their} is taken for '{our}'" for their, our in zip(theirs, ours, strict=True)]
    more = f" … and {len(pairs) - TOLD} more" if len(pairs) > TOLD else ""
    return f"the teacher's class names are generic: {', '.join(pairs[:TOLD])}{more}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Labelled examples, and what a teacher says of them with its output i taken for class i."""

    task: Any
    rows: Sequence[Any]
    split: Split
    outputs: Sequence[Sequence[NDArray[Any]]]
    names: Sequence[str]

    def half(self, which: int) -> Seen:
        """Every second example, from the first (0) or the second (1) on."""
        some = slice(which, None, 2)
        split = Split(examples=self.split.examples[some], targets=self.split.targets[some], frequency=self.split.frequency[some])
        return Seen(task=self.task, rows=self.rows[some], split=split, outputs=self.outputs[some], names=self.names)

    def evidence(self, order: Sequence[int]) -> quality.Evidence:
        """What each example says about the metric where class c is output `order[c]`."""
        outputs = [[answers[:, list(order)] for answers in one] for one in self.outputs]
        found: quality.Evidence = self.task.evidence(outputs, self.rows, self.split.examples, self.split.targets, self.names)
        return found


def some(split: Split, seed: int) -> Split:
    """At most `ROWS` of a split's examples, in an order of chance."""
    drawn = np.random.default_rng(seed).permutation(len(split))[:ROWS].tolist()
    return Split(examples=[split.examples[at] for at in drawn], targets=[split.targets[at] for at in drawn], frequency=[1.0] * len(drawn))


def best(seen: Seen) -> list[int]:
    """For each class the output that the rows would have for it; ours where they do not tell."""
    from scipy.optimize import linear_sum_assignment

    worth = _worth(seen)
    ours = np.eye(len(worth)) * 1e-6 * max(float(worth.max()), 1e-6)
    outputs, classes = linear_sum_assignment(worth + ours, maximize=True)
    return [int(output) for _, output in sorted(zip(classes, outputs, strict=True))]


def _worth(seen: Seen) -> NDArray[np.float64]:
    """What each output [o] is worth as each class [c]."""
    found = np.concatenate([answers for one in seen.outputs for answers in one]).astype(np.float64)  # [answers, o]
    hard = np.concatenate([seen.task.labels(rows, target, seen.names) for rows, target in zip(seen.rows, seen.split.targets, strict=True)])
    if hard.ndim == 2:  # several classes: [answers, c] of 0 and 1
        says = (found > 0).astype(np.float64)
        both = says.sum(axis=0)[:, None] + hard.sum(axis=0)[None, :]
        return np.asarray(2 * (says.T @ hard) / np.maximum(both, 1.0))
    table = np.zeros((found.shape[1], len(seen.names)))
    np.add.at(table, (found.argmax(axis=1)[hard != NO_LABEL], hard[hard != NO_LABEL]), 1.0)
    return table


def check(seen: Seen, labels: Sequence[str], note: Callable[[str], None]) -> None:
    """Raise ConfigError where another order than ours is surely better, and better than an answer that ignores its input; else say that none is.

    `labels` are what the data calls the classes.
    """
    ours, judged, other = list(range(len(seen.names))), seen.half(1), best(seen.half(0))
    if other == ours or not len(judged.split):
        note(f"on {len(seen.split)} validation rows no other order of the teacher's classes fits better")
        return
    task, evidence, theirs = seen.task, judged.evidence(ours), judged.evidence(other)
    _, chance = task.chance(judged.rows, judged.split.examples, judged.split.targets, seen.names)
    scores = [f"{task.total(found):.4f}" for found in (evidence, theirs)]
    if any(quality.lead(task, theirs, than, SURE)[0] <= 0 for than in (evidence, chance)):
        note(f"on {len(judged.split)} validation rows no other order of the teacher's classes is surely better: {scores[0]} in this one")
        return
    whole = best(seen)
    right = whole if whole != ours else other
    said = array(_by_output(right, seen.names))
    what = f"its class names are generic; in the order {array(seen.names)} its {task.METRIC} is {scores[0]} on {len(judged.split)} validation rows"
    what += f", in the order {said} {scores[1]}"
    raise ConfigError([Fault("teacher.model", what, _hint(right, seen.names, labels))])


def _by_output(order: Sequence[int], names: Sequence[str]) -> list[str]:
    """The class of each output, where class c is output `order[c]`."""
    return [name for _, name in sorted(zip(order, names, strict=True), key=lambda pair: pair[0])]


def _hint(order: Sequence[int], names: Sequence[str], labels: Sequence[str]) -> str:
    """The recipe's line that says so. Where `names` already says what the data's numbers mean, the teacher's own config can."""
    if list(labels) == list(names):
        return f"under [data] in the recipe: names = {array(_by_output(order, names))}"
    called = ", ".join(f"{quoted(str(index))}: {quoted(name)}" for index, name in enumerate(_by_output(order, names)))
    said = array(_by_output(order, labels))
    return f'in the teacher\'s config.json: "id2label": {{{called}}}; or under [data] in the recipe, without readable names: names = {said}'
