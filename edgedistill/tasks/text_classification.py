"""Text classification: a text or a pair of texts in, one of two or more classes out.

Texts become token ids with the `tokenizers` library everywhere — in training, in the check, and in the bundle — so what the
device sees is what the student learned on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL, Outputs
from edgedistill.tasks._classes import class_answers, natural, same
from edgedistill.tasks._text import FILES, asked, encode, example, feeds, forward, group, identity, load, pick, picks, shape, stacked

__all__ = ["FILES", "asked", "encode", "example", "feeds", "forward", "group", "identity", "load", "pick", "picks", "shape"]

METRIC = "accuracy"
HIGHER = True
AUTO_CLASS = "AutoModelForSequenceClassification"
TRAINING_LOSS = "ce"
COLUMNS = {"text": "text", "label": "label"}
UNLABELLED = {"text": "text", "pair": ""}
OPTIONAL: tuple[str, ...] = ()
RAW: tuple[str, ...] = ()
CLASSES = True
VOCABULARY = False
SHOWN = '"some text"'  # what `predict` is given
ANSWER = "`logits` has one number for each entry of `labels.json`; the largest is the answer."


def target(value: str, example: Mapping[str, Any], data: Data) -> str:
    """The class's name."""
    return value


def respelled(target: str, spellings: Mapping[str, str]) -> str:
    """The label that this one means."""
    return spellings.get(target, target)


def stratum(target: str) -> str:
    """A split keeps the classes in proportion."""
    return target


def names(targets: Iterable[str]) -> list[str]:
    """The classes: numbers in their order, then words."""
    return sorted(set(targets), key=natural)


def number(target: str, names: Sequence[str]) -> int:
    """The class's place. Raises ValueError when it is none of them."""
    return names.index(target)


def head(names: Sequence[str]) -> dict[str, Any]:
    """One output a class."""
    return {"num_labels": len(names)}


def labels(rows: Sequence[Any], target: int | None, names: Sequence[str]) -> NDArray[np.int64]:
    """The class number, [1]."""
    return np.array([NO_LABEL if target is None else target], np.int64)


def evidence(
    outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[int], names: Sequence[str]
) -> NDArray[np.float64]:
    """1 where the largest logit is the label, [n, 1]."""
    return np.asarray(stacked(outputs).argmax(axis=1) == np.asarray(targets), np.float64)[:, None]


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[int], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Always answering the commonest class."""
    common = int(np.bincount(np.asarray(targets), minlength=len(names)).argmax())
    return f"always answering '{names[common]}'", np.asarray(np.asarray(targets) == common, np.float64)[:, None]


def total(evidence: NDArray[np.float64]) -> float:
    """The accuracy."""
    return float(evidence.mean())


def decisions(outputs: Outputs, rows: Sequence[Any]) -> list[NDArray[Any]]:
    """The class that each example gets, [1]."""
    return list(stacked(outputs).argmax(axis=1)[:, None])


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """1 where two models decide the same, [n]."""
    return same(ours, theirs)


def answers(outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The class, its probability, and all probabilities by class name."""
    return class_answers(stacked(outputs), names)
