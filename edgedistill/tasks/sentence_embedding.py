"""Sentence embeddings: a text in, a vector of length 1 out; pooling and normalisation are inside the graph.

How well is Spearman's correlation of the cosine of two texts with a person's score of their similarity (Reimers, Gurevych 2019,
arXiv:1908.10084, section 4.1). A labelled example is a pair; the texts of both sides, and transfer texts, are what a student learns on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.tasks import Outputs, Row
from edgedistill.tasks._ranks import spearman
from edgedistill.tasks._text import FILES, asked, example, feeds, group, identity, load, pick, picks, shape
from edgedistill.tasks._text import encode as encode_texts
from edgedistill.tasks.text_regression import number, stratum, target

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FILES", "asked", "example", "feeds", "group", "identity", "load", "number", "pick", "picks", "shape", "stratum", "target"]

METRIC = "Spearman"
HIGHER = True
AUTO_CLASS = "AutoModel"
TRAINING_LOSS = "pair-cosine"
COLUMNS = {"text": "sentence1", "pair": "sentence2", "label": "score"}
UNLABELLED = {"text": "text"}
OPTIONAL: tuple[str, ...] = ()
RAW: tuple[str, ...] = ()
CLASSES = False
VOCABULARY = False
SHOWN = '"some text"'  # what `predict` is given
ANSWER = "`logits` is the text's vector, of length 1; two texts are as alike as the dot product of their vectors."


def names(targets: Iterable[float]) -> list[str]:
    """Not classes, but the ends of the scale of the scores: they become cosines of 0 and 1 where a model learns from them."""
    found = list(targets)
    return [repr(min(found)), repr(max(found))]


def head(names: Sequence[str]) -> dict[str, Any]:
    """The model has no head."""
    return {}


def encode(tokenizer: Tokenizer, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[Row]]:
    """One row a text: two for a pair."""
    texts = [{"text": one[role]} for one in examples for role in ("text", "pair") if role in one]
    rows = iter(encode_texts(tokenizer, texts, max_length))
    return [[next(rows)[0] for role in ("text", "pair") if role in one] for one in examples]


def forward(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The tokens' mean, or the first token where the model's config says `pooling: cls`, at length 1: [b, d]."""
    hidden = model(**inputs).last_hidden_state  # [b, s, d]
    if getattr(model.config, "pooling", "mean") == "cls":
        pooled = hidden[:, 0]
    else:
        mask = inputs["attention_mask"].unsqueeze(-1).to(hidden.dtype)  # [b, s, 1]
        pooled = (hidden * mask).sum(1) / mask.sum(1)
    return pooled / pooled.norm(dim=-1, keepdim=True).clamp(min=1e-9)


def labels(rows: Sequence[Row], target: float | None, names: Sequence[str]) -> NDArray[np.float32]:
    """The similarity, as a share of the scale, at a pair's first text and NaN at its second, [rows, 1]."""
    found = np.full((len(rows), 1), np.nan, np.float32)
    if target is not None and len(rows) == 2:
        low, high = float(names[0]), float(names[1])
        found[0] = (target - low) / ((high - low) or 1.0)
    return found


def evidence(
    outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[float], names: Sequence[str]
) -> NDArray[np.float64]:
    """The cosine of each pair and its label, [n, 2]."""
    return np.stack([_cosines(outputs), np.asarray(targets, np.float64)], axis=1)


def _cosines(outputs: Outputs) -> NDArray[np.float64]:
    return np.array([_cosine(arrays[0][0], arrays[-1][0]) for arrays in outputs])


def _cosine(first: NDArray[Any], second: NDArray[Any]) -> float:
    return float(first @ second / max(float(np.linalg.norm(first) * np.linalg.norm(second)), 1e-9))


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[float], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """The same vector for every text: no ranks, a correlation of 0."""
    return "the same vector for every text", np.stack([np.zeros(len(targets)), np.asarray(targets, np.float64)], axis=1)


def total(evidence: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of the two columns."""
    return spearman(evidence)


def decisions(outputs: Outputs, rows: Sequence[Any]) -> list[NDArray[Any]]:
    """The vector of a text, the two of a pair, [rows, d]."""
    return [np.concatenate(list(arrays)) for arrays in outputs]


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Of a pair, 1 less the difference of the two models' cosines; of a single text, the cosine of its two vectors, [n]."""
    return np.array([_alike(mine, other) for mine, other in zip(ours, theirs, strict=True)])


def _alike(mine: NDArray[Any], other: NDArray[Any]) -> float:
    if len(mine) == 2:
        return 1 - abs(_cosine(mine[0], mine[1]) - _cosine(other[0], other[1]))
    return _cosine(mine[0], other[0]) if mine.shape == other.shape else float("nan")


def answers(outputs: Outputs, rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The vector of a text; the cosine of a pair."""
    return [
        {"cosine": round(_cosine(arrays[0][0], arrays[1][0]), 6)} if len(arrays) == 2 else {"embedding": [round(float(x), 6) for x in arrays[0][0]]}
        for arrays in outputs
    ]
