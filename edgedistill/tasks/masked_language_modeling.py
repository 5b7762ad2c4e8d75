"""Masked language modelling: a text with some of its pieces hidden in, a distribution over the vocabulary for each of them out.

15 % of a text's pieces are chosen; of those 80 % are hidden, 10 % replaced, 10 % left (Devlin et al. 2019, arXiv:1810.04805, section 3.1). The
choice depends on the text alone, so that what the teacher said of it can be kept. The metric is the perplexity of the chosen pieces.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL, Outputs, Row
from edgedistill.tasks._classes import same, softmax
from edgedistill.tasks._text import FILES, asked, at_positions, feeds, forward, group, identity, load, positions

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FILES", "asked", "feeds", "forward", "group", "identity", "load", "pick", "picks"]

METRIC = "perplexity"
HIGHER = False
AUTO_CLASS = "AutoModelForMaskedLM"
TRAINING_LOSS = "ce"
COLUMNS = {"text": "text"}
UNLABELLED = {"text": "text"}
OPTIONAL: tuple[str, ...] = ()
RAW: tuple[str, ...] = ()
CLASSES = False
VOCABULARY = True
SHOWN = '"The capital of France is [MASK]."'  # what `predict` is given
ANSWER = "`logits` has, for each token, one number for each piece of the vocabulary."
CHOSEN, HIDDEN, REPLACED = 0.15, 0.8, 0.1
MASKS = ("[MASK]", "<mask>")
TOP = 5  # pieces that `answers` names

picks, pick = positions, at_positions


def example(values: Mapping[str, Any]) -> dict[str, Any]:
    """The text."""
    return {"text": values["text"]}


def target(value: str, example: Mapping[str, Any], data: Data) -> str:
    """The text is its own label."""
    return ""


def stratum(target: Any) -> None:
    """There are no classes."""
    return None


def names(targets: Iterable[Any]) -> list[str]:
    """The classes are the vocabulary, which the tokenizer names."""
    return []


def number(target: Any, names: Sequence[str]) -> int:
    """Any number: a labelled example may not have None."""
    return 0


def head(names: Sequence[str]) -> dict[str, Any]:
    """The head is the vocabulary's."""
    return {}


def encode(tokenizer: Tokenizer, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[Row]]:
    """One row a text, with pieces hidden; a text that itself has masks keeps those instead."""
    tokenizer.no_padding()
    with runtime.cut(tokenizer, max_length):
        mask, encodings = mask_id(tokenizer), tokenizer.encode_batch([one["text"] for one in examples])
    return [[masked(found.ids, found.special_tokens_mask, mask, tokenizer.get_vocab_size())] for found in encodings]


def mask_id(tokenizer: Tokenizer) -> int:
    """The id of the mask. Raises ValueError when the tokenizer has none."""
    found = next((number for name in MASKS if (number := tokenizer.token_to_id(name)) is not None), None)
    if found is None:
        raise ValueError(f"the tokenizer has none of {', '.join(MASKS)}: it is not one of a masked language model")
    return found


def masked(ids: Sequence[int], special: Sequence[int], mask: int, vocabulary: int) -> Row:
    """A row with its pieces chosen by a hash of the text."""
    if mask in ids:
        at = [index for index, piece in enumerate(ids) if piece == mask]
        return Row(ids=ids, at=at, gold=[NO_LABEL] * len(at))
    random = np.random.default_rng(zlib.crc32(np.asarray(ids, np.int64).tobytes()))
    open_places = [index for index, mark in enumerate(special) if not mark]
    count = min(len(open_places), max(1, round(CHOSEN * len(open_places))))
    at = sorted(random.choice(open_places, count, replace=False).tolist()) if open_places else []
    changed = list(ids)
    for index in at:
        draw = random.random()
        if draw < HIDDEN:
            changed[index] = mask
        elif draw < HIDDEN + REPLACED:
            changed[index] = int(random.integers(vocabulary))
    return Row(ids=changed, at=at, gold=[ids[index] for index in at])


def shape(row: Row) -> tuple[int, int | None]:
    """One answer for each chosen piece, over the vocabulary."""
    return len(row.at), None


def labels(rows: Sequence[Row], target: Any, names: Sequence[str]) -> NDArray[np.int64]:
    """The pieces that were there, [n]."""
    return np.array([piece for row in rows for piece in row.gold], np.int64)


def evidence(
    outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], targets: Sequence[Any], names: Sequence[str]
) -> NDArray[np.float64]:
    """The surprise of the chosen pieces in nats, and how many there are, [n, 2]."""
    return np.array([(_surprise(arrays[0], windows[0]), len(windows[0].at)) for arrays, windows in zip(outputs, rows, strict=True)], np.float64)


def _surprise(logits: NDArray[Any], row: Row) -> float:
    wide = logits.astype(np.float64)
    top = wide.max(axis=1, initial=-np.inf)
    return float((top + np.log(np.exp(wide - top[:, None]).sum(axis=1)) - wide[np.arange(len(wide)), list(row.gold)]).sum()) if len(wide) else 0.0


def chance(
    rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], targets: Sequence[Any], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Always answering how common each piece is: one more than it was chosen elsewhere, so that none is counted by itself, of all those."""
    counts = Counter(piece for windows in rows for piece in windows[0].gold)
    whole = counts.total() - 1 + len(counts)
    return "guessing by how common each piece is", np.array(
        [(sum(math.log(whole / counts[piece]) for piece in windows[0].gold), len(windows[0].at)) for windows in rows], np.float64
    )


def total(evidence: NDArray[np.float64]) -> float:
    """e to the mean surprise."""
    surprise, count = evidence.sum(axis=0)
    return math.exp(min(surprise / max(count, 1.0), 700.0))


def decisions(outputs: Outputs, rows: Sequence[Any]) -> list[NDArray[Any]]:
    """The likeliest piece at each mask, [chosen]."""
    return [arrays[0].argmax(axis=1) for arrays in outputs]


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The share of each text's chosen pieces where two models put the same piece first, [n]."""
    return same(ours, theirs)


def answers(outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """For each mask the likeliest pieces, by id, with their probabilities."""
    return [{"masks": [_likeliest(shares) for shares in softmax(arrays[0])]} for arrays in outputs]


def _likeliest(shares: NDArray[np.float64]) -> list[dict[str, Any]]:
    return [{"id": int(piece), "probability": round(float(shares[piece]), 6)} for piece in np.argsort(-shares, kind="stable")[:TOP]]


def check(tokenizer: Tokenizer, example: Mapping[str, Any], max_length: int) -> None:
    """Raise ValueError where a text has no mask, or none within `max_length` pieces."""
    mask, name = mask_id(tokenizer), next(name for name in MASKS if tokenizer.token_to_id(name) is not None)
    runtime.leave_whole(tokenizer, runtime.side(tokenizer))
    ids = tokenizer.encode(example["text"]).ids
    if mask not in ids:
        raise ValueError(f"the text asks for nothing: put {name} where a word is wanted")
    with runtime.cut(tokenizer, max_length):
        ids = tokenizer.encode(example["text"]).ids
    if mask not in ids:
        raise ValueError(f"every {name} is beyond the {max_length} pieces that this model reads")


def spelled(tokenizer: Tokenizer, answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with the text of each piece for its id."""
    masks = [[{"piece": _text(tokenizer, one["id"]), "probability": one["probability"]} for one in mask] for mask in answer["masks"]]
    return {**answer, "masks": masks}


def _text(tokenizer: Tokenizer, piece: int) -> str:
    """A piece as people write it; one that is no text by itself as the tokenizer writes it."""
    written = tokenizer.decode([piece], skip_special_tokens=False)
    return written if written and "\ufffd" not in written else tokenizer.id_to_token(piece) or f"piece {piece}"
