"""Text regression: a text or a pair of texts in, a number out; how well is Spearman's rank correlation with the labels."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ColumnError
from edgedistill.spec import Data
from edgedistill.tasks import Outputs
from edgedistill.tasks._ranks import close, spearman
from edgedistill.tasks._text import FILES, asked, encode, example, feeds, forward, group, identity, load, pick, picks, shape, stacked

__all__ = ["FILES", "asked", "encode", "example", "feeds", "forward", "group", "identity", "load", "pick", "picks", "shape"]

METRIC = "Spearman"
HIGHER = True
AUTO_CLASS = "AutoModelForSequenceClassification"
TRAINING_LOSS = "label-mse"
COLUMNS = {"text": "text", "label": "score"}
UNLABELLED = {"text": "text", "pair": ""}
OPTIONAL: tuple[str, ...] = ()
RAW: tuple[str, ...] = ()
CLASSES = False
VOCABULARY = False
SHOWN = '"some text"'  # what `predict` is given
ANSWER = "`logits` has one number, the answer."
COMMA = re.compile(r"[-+]?\d+,\d+")  # not read: 1,234 may be a thousand too
POINTS = "export with decimal points, or in Python: pandas.read_csv(FILE, sep=';', decimal=',').to_csv(FIXED, index=False)"


def target(value: str, example: Mapping[str, Any], data: Data) -> float:
    """The number. Raises ValueError when it is none, ColumnError where it is written with a comma."""
    column = data.label or COLUMNS["label"]
    if COMMA.fullmatch(value):
        raise ColumnError(f"'{value}' in column '{column}' has a comma, where a number has a point: {value.replace(',', '.')}", POINTS)
    try:
        found = float(value)
    except ValueError:
        raise ValueError(f"'{value}' in column '{column}' is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"'{value}' is no finite number")
    return found


def stratum(target: float) -> None:
    """Numbers are not classes."""
    return None


def names(targets: Iterable[float]) -> list[str]:
    """There are no classes."""
    return []


def number(target: float, names: Sequence[str]) -> float:
    """The number itself."""
    return target


def head(names: Sequence[str]) -> dict[str, Any]:
    """One output."""
    return {"num_labels": 1, "problem_type": "regression"}


def labels(rows: Sequence[Any], target: float | None, names: Sequence[str]) -> NDArray[np.float32]:
    """The number, [1, 1]; NaN without a label."""
    return np.array([[np.nan if target is None else target]], np.float32)


def evidence(
    outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[float], names: Sequence[str]
) -> NDArray[np.float64]:
    """The answer and the label, [n, 2]."""
    return np.stack([stacked(outputs)[:, 0], np.asarray(targets, np.float64)], axis=1)


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[float], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Always answering the same number: no ranks, a correlation of 0."""
    return "always answering the same number", np.stack([np.zeros(len(targets)), np.asarray(targets, np.float64)], axis=1)


def total(evidence: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of the two columns."""
    return spearman(evidence)


def decisions(outputs: Outputs, rows: Sequence[Any]) -> list[NDArray[Any]]:
    """The number that each example gets, [1]."""
    return list(stacked(outputs)[:, :1])


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """1 where two models are within a tenth of the range that the second one's answers have, [n]."""
    return close(np.concatenate(list(ours)), np.concatenate(list(theirs)))


def answers(outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The number."""
    return [{"score": round(float(value), 6)} for value in stacked(outputs)[:, 0]]
