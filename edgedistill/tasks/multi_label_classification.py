"""Multi-label classification: a text or a pair in, any number of classes out, each decided by itself.

The metric is macro F1 at the threshold ½ (Demszky et al. 2020, arXiv:2005.00547, report it for GoEmotions): every class counts alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.checking import read_json
from edgedistill.spec import Data
from edgedistill.tasks import Outputs
from edgedistill.tasks._classes import natural, same
from edgedistill.tasks._text import FILES, asked, encode, example, feeds, forward, group, identity, load, pick, picks, shape, stacked

__all__ = ["FILES", "asked", "encode", "example", "feeds", "forward", "group", "identity", "load", "pick", "picks", "shape"]

METRIC = "macro F1"
HIGHER = True
AUTO_CLASS = "AutoModelForSequenceClassification"
TRAINING_LOSS = "bce"
COLUMNS = {"text": "text", "label": "labels"}
UNLABELLED = {"text": "text", "pair": ""}
OPTIONAL = ("label",)  # a row may have no class at all
RAW: tuple[str, ...] = ()
CLASSES = True
VOCABULARY = False
SHOWN = '"some text"'  # what `predict` is given
ANSWER = "`logits` has one number for each entry of `labels.json`; those above 0 are the answers."


def target(value: str, example: Mapping[str, Any], data: Data) -> list[str]:
    """The names of the classes: a JSON list, or names with the recipe's separator between them."""
    parts = read_json(value) if value.startswith("[") else value.split(data.separator)
    if not isinstance(parts, list):
        raise ValueError("labels are a JSON list or names with a separator")
    return sorted({str(part).strip() for part in parts} - {""})


def respelled(target: Sequence[str], spellings: Mapping[str, str]) -> list[str]:
    """The labels that these mean, each once."""
    return sorted({spellings.get(name, name) for name in target})


def stratum(target: Sequence[str]) -> None:
    """Sets of classes are too many to keep each in proportion."""
    return None


def names(targets: Iterable[Sequence[str]]) -> list[str]:
    """Every class that occurs: numbers in their order, then words."""
    return sorted({name for target in targets for name in target}, key=natural)


def number(target: Sequence[str], names: Sequence[str]) -> list[int]:
    """The classes' places. Raises ValueError when one is unknown."""
    return [names.index(name) for name in target]


def head(names: Sequence[str]) -> dict[str, Any]:
    """One output a class."""
    return {"num_labels": len(names), "problem_type": "multi_label_classification"}


def labels(rows: Sequence[Any], target: Sequence[int] | None, names: Sequence[str]) -> NDArray[np.float32]:
    """1 for each class that the row has, [1, c]; NaN without a label."""
    hot = np.full((1, len(names)), np.nan if target is None else 0.0, np.float32)
    hot[0, list(target or ())] = 1.0
    return hot


def evidence(
    outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[Sequence[int]], names: Sequence[str]
) -> NDArray[np.float64]:
    """For each example its hits, its answers and its labels by class, [n, 3c]."""
    return _counted((stacked(outputs) > 0).astype(np.float64), targets)


def _counted(found: NDArray[np.float64], targets: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Hits, answers and labels by class, [n, 3c], of answers that are 0 or 1, [n, c]."""
    right = np.zeros_like(found)
    for index, target in enumerate(targets):
        right[index, list(target)] = 1.0
    return np.concatenate([found * right, found, right], axis=1)


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[Sequence[int]], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Always answering every class: a class that is never answered has an F1 of 0, and one that always is more."""
    return "always answering every class", _counted(np.ones((len(targets), len(names))), targets)


def total(evidence: NDArray[np.float64]) -> float:
    """F1 of each class that is labelled or answered somewhere, averaged."""
    hits, found, right = evidence.sum(axis=0).reshape(3, -1)
    seen = found + right > 0
    return float(np.mean(2 * hits[seen] / (found + right)[seen])) if seen.any() else 0.0


def decisions(outputs: Outputs, rows: Sequence[Any]) -> list[NDArray[Any]]:
    """Which classes each example gets, [c]."""
    return list((stacked(outputs) > 0).astype(np.int64))


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The share of classes on which two models decide the same, [n]."""
    return same(ours, theirs)


def answers(outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The classes above ½, and all probabilities by class name."""
    shares = 1 / (1 + np.exp(-np.clip(stacked(outputs), -60, 60)))
    return [
        {
            "labels": [name for name, share in zip(names, row, strict=True) if share > 0.5],
            "all": {name: round(float(share), 6) for name, share in zip(names, row, strict=True)},
        }
        for row in shares
    ]
