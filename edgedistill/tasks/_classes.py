"""What the tasks share that answer with classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def natural(label: str) -> tuple[int, float, str]:
    """Numbers in their order, then words; `nan` is a word, because nothing is before or behind it as a number."""
    try:
        number = float(label)
    except ValueError:
        number = math.nan
    return (1, 0.0, label) if math.isnan(number) else (0, number, label)


def unknown(target: Any, example: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
    """The first label of a target that is none of `names`, by itself and in words: a tag is named with its word."""
    if not isinstance(target, list):
        return str(target), f"label '{target}'"
    at = next((index for index, one in enumerate(target) if one not in names), 0)
    if "words" not in example:
        return str(target[at]), f"label '{target[at]}'"
    return str(target[at]), f"tag '{target[at]}' of word {at + 1}, '{example['words'][at]}',"


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities over classes, [n, c]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def class_answers(logits: NDArray[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """The class, its probability, and all probabilities by class name, for logits [n, c]."""
    return [
        {
            "label": names[int(row.argmax())],
            "probability": round(float(row.max()), 6),
            "all": {name: round(float(share), 6) for name, share in zip(names, row, strict=True)},
        }
        for row in softmax(logits)
    ]


def same(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The share of an example's decisions that two models have in common, [n]; none where they made different numbers of them."""
    return np.array([_share(mine, other) for mine, other in zip(ours, theirs, strict=True)])


def _share(mine: NDArray[Any], other: NDArray[Any]) -> float:
    if mine.shape != other.shape:
        return 0.0
    return float(np.mean(mine == other)) if mine.size else 1.0
