"""Text classification: a sentence in, one of two or more classes out.

Texts become token ids with the `tokenizers` library everywhere — in training, in the check, and in the bundle — so what the
device sees is what the student learned on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

METRIC = "accuracy"
AUTO_CLASS = "AutoModelForSequenceClassification"
TRAINING_LOSS = "ce"  # what a backbone is fine-tuned with before it teaches
INPUTS = ("input_ids", "attention_mask")


def encode(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> list[list[int]]:
    """Token ids of each text, special tokens included, cut at `max_length` tokens."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]


def feeds(rows: Sequence[Sequence[int]], pad_id: int) -> dict[str, NDArray[np.int64]]:
    """The model's inputs for b rows of at most s tokens: `input_ids` and `attention_mask`, both int64 [b, s]."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), pad_id, np.int64)  # [b, s]
    mask = np.zeros((len(rows), longest), np.int64)  # [b, s]
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def correct(logits: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Each row's share of the metric [n]: 1 where the largest logit [n, c] is the label [n]. Their mean is the accuracy."""
    return np.asarray(logits.argmax(axis=1) == labels, np.float64)


def agree(logits: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """1 where two models decide the same, [n]."""
    return np.asarray(logits.argmax(axis=1) == others.argmax(axis=1), np.float64)


def probabilities(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over classes, [n, c]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def answers(logits: NDArray[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """What a person wants to read: the class, its probability, and all probabilities by class name."""
    return [
        {
            "label": names[int(row.argmax())],
            "probability": round(float(row.max()), 6),
            "all": {n: round(float(p), 6) for n, p in zip(names, row, strict=True)},
        }
        for row in probabilities(logits)
    ]
