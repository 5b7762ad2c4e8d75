"""Token classification: words in, a tag for each out; entities (BIO, IOB2) are scored whole, plain tags one by one.

A word's answer is that of its first piece (Devlin et al. 2019, arXiv:1810.04805, section 5.3). Long sentences are cut into windows at words,
so every word gets a tag. The metric is entity F1 as conlleval and seqeval count it where the tags are BIO, else accuracy over words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.checking import read_json
from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL, Outputs, Row
from edgedistill.tasks._classes import natural, same, softmax
from edgedistill.tasks._entities import check_spans, entities, is_bio, tags_of_spans
from edgedistill.tasks._text import FILES, asked, at_positions, feeds, forward, load, positions
from edgedistill.tasks._words import Span, inside, joined, pieces_of, spans

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FILES", "asked", "feeds", "forward", "load", "pick", "picks"]

METRIC = "tag F1"
HIGHER = True
AUTO_CLASS = "AutoModelForTokenClassification"
TRAINING_LOSS = "ce"
COLUMNS = {"text": "words", "label": "tags"}
UNLABELLED = {"text": "text"}
OPTIONAL = ("label",)  # a list of spans may be empty
RAW = ("text",)
CLASSES = True
VOCABULARY = False
WINDOWS = True
SHOWN = '"some text"'  # what `predict` is given
ANSWER = "`logits` has, for each token, one number for each entry of `labels.json`; a word's tag is that of its first token."

picks, pick = positions, at_positions


def example(values: Mapping[str, Any]) -> dict[str, Any]:
    """The words: a JSON list of them, else a text cut at blanks and marks; then its spans and length are kept, for labels that count characters."""
    text = values["text"]
    words = _listed(text)
    if words is not None:
        if not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError("words are a JSON list of strings that are not blank")
        return {"words": words}
    found = spans(text)
    return {"words": [text[start:end] for start, end in found], "spans": [list(span) for span in found], "length": len(text)}


def _listed(text: str) -> list[Any] | None:
    """A JSON list; None for a text, which may begin with a bracket too."""
    try:
        found = read_json(text) if text.startswith("[") else None
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def target(value: str, example: Mapping[str, Any], data: Data) -> list[str]:
    """Tags, one a word (a JSON list, or with blanks between them); or spans [start, end, type] in characters of the text.

    A word that a span meets is its whole: an end within a word takes the rest of it along. Raises ValueError when tags and words are not as
    many, and for a span that is not one of this text.
    """
    found = read_json(value) if value.startswith("[") else value.split()
    if "spans" in example and all(isinstance(one, list) and len(one) == 3 for one in found):
        check_spans(found, example["length"])
        return tags_of_spans([(start, end) for start, end in example["spans"]], found)
    if len(found) != len(example["words"]):
        raise ValueError(f"{len(found)} tags for {len(example['words'])} words")
    return [str(tag) for tag in found]


def respelled(target: Sequence[str], spellings: Mapping[str, str]) -> list[str]:
    """The tags that these mean."""
    return [spellings.get(tag, tag) for tag in target]


def identity(example: Mapping[str, Any]) -> str:
    """What counts as the same sentence."""
    return " ".join(example["words"]).casefold()


group = identity


def stratum(target: Sequence[str]) -> None:
    """A sentence has many tags."""
    return None


def names(targets: Iterable[Sequence[str]]) -> list[str]:
    """Every tag."""
    return sorted({tag for target in targets for tag in target}, key=natural)


def number(target: Sequence[str], names: Sequence[str]) -> list[int]:
    """The tags' places. Raises ValueError when one is unknown."""
    return [names.index(tag) for tag in target]


def head(names: Sequence[str]) -> dict[str, Any]:
    """One output a tag."""
    return {"num_labels": len(names)}


def encode(tokenizer: Tokenizer, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[Row]]:
    """The windows of each sentence: as many whole words as fit into `max_length` pieces."""
    tokenizer.no_padding()
    runtime.leave_whole(tokenizer, runtime.side(tokenizer))
    texts = [joined(one["words"]) for one in examples]
    encodings = tokenizer.encode_batch([text for text, _ in texts])
    return [_windows(tokenizer, found, one["words"], words, max_length) for found, one, (_, words) in zip(encodings, examples, texts, strict=True)]


def _windows(tokenizer: Tokenizer, encoding: Any, words: Sequence[str], places: Sequence[tuple[int, int]], max_length: int) -> list[Row]:
    if len(encoding.ids) <= max_length:
        return [_row(encoding, places, 0)]
    ends = _ends(pieces_of(places, encoding.offsets, inside(encoding, 0)))
    room, rows, first = max_length - tokenizer.num_special_tokens_to_add(False), [], 0
    while first < len(words):
        used = ends[first - 1] if first else 0
        last = first + max(1, sum(end - used <= room for end in ends[first:]))
        while last - first > 1 and len(tokenizer.encode(joined(words[first:last])[0]).ids) > max_length:
            last -= 1  # at the start of a text a word may have more pieces than in its midst
        text, inner = joined(words[first:last])
        with runtime.cut(tokenizer, max_length, direction=runtime.RIGHT):  # one word alone may be longer than a window: its first piece answers
            rows.append(_row(tokenizer.encode(text), inner, first))
        first = last
    return rows


def _ends(pieces: Sequence[Span | None]) -> list[int]:
    """How many pieces there are up to the end of each word, from the first word on; a blank may be a piece of its own."""
    found, end = [], 0
    for piece in pieces:
        end = piece[1] if piece else end  # the special token in front counts for the one that is counted from 0
        found.append(end)
    return found


def _row(encoding: Any, places: Sequence[tuple[int, int]], first: int) -> Row:
    reached = max((end for _, end in encoding.offsets), default=0)  # the rest of a word that is longer than a window was cut off
    pieces = pieces_of([(start, min(end, reached)) for start, end in places], encoding.offsets, inside(encoding, 0))
    seen = [(index, piece[0]) for index, piece in enumerate(pieces, first) if piece]
    return Row(ids=encoding.ids, at=[at for _, at in seen], words=[index for index, _ in seen])


def shape(row: Row) -> tuple[int, int | None]:
    """One answer a word, over all tags."""
    return len(row.at), None


def labels(rows: Sequence[Row], target: Sequence[int] | None, names: Sequence[str]) -> NDArray[np.int64]:
    """The tag numbers of the words that have an answer, [n]."""
    return np.array([NO_LABEL if target is None else target[word] for row in rows for word in row.words], np.int64)


def evidence(
    outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], targets: Sequence[Sequence[int]], names: Sequence[str]
) -> NDArray[np.float64]:
    """For each sentence its hits, its answers and its labels, [n, 3]: entities where the tags are BIO, else words."""
    ours = [_tags(arrays, windows, len(target), names) for arrays, windows, target in zip(outputs, rows, targets, strict=True)]
    return _counted(ours, [[names[tag] for tag in target] for target in targets], names)


def _counted(ours: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], names: Sequence[str]) -> NDArray[np.float64]:
    if is_bio(names):
        pairs = [(entities(mine), entities(theirs)) for mine, theirs in zip(ours, gold, strict=True)]
        return np.array([(len(mine & theirs), len(mine), len(theirs)) for mine, theirs in pairs], np.float64)
    hits = [sum(a == b for a, b in zip(mine, theirs, strict=True)) for mine, theirs in zip(ours, gold, strict=True)]
    return np.array([(right, len(theirs), len(theirs)) for right, theirs in zip(hits, gold, strict=True)], np.float64)


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[Sequence[int]], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Always answering the tag that scores most; of entities a mark of one type, which is right where one word is one."""
    gold = [[names[tag] for tag in target] for target in targets]
    found = {tag: _counted([[tag] * len(one) for one in gold], gold, names) for tag in names}
    best = max(names, key=lambda tag: total(found[tag]))
    return f"always answering '{best}'", found[best]


def _tags(arrays: Sequence[NDArray[Any]], rows: Sequence[Row], count: int, names: Sequence[str]) -> list[str]:
    """A tag for each word; a word that the tokenizer makes nothing of gets `O`, or the first tag."""
    tags = ["O" if "O" in names else names[0]] * count
    for array, row in zip(arrays, rows, strict=True):
        for word, best in zip(row.words, array.argmax(axis=1), strict=True):
            tags[word] = names[int(best)]
    return tags


def total(evidence: NDArray[np.float64]) -> float:
    """Micro F1; for plain tags that is the share of words with the right one."""
    hits, found, gold = evidence.sum(axis=0)
    return float(2 * hits / (found + gold)) if found + gold else 0.0


def decisions(outputs: Outputs, rows: Sequence[Sequence[Row]]) -> list[NDArray[Any]]:
    """The tag of each word that has an answer, [words]."""
    return [np.concatenate([array.argmax(axis=1) for array in arrays]) for arrays in outputs]


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """The share of each sentence's words on which two models decide the same, [n]."""
    return same(ours, theirs)


def answers(outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The words with their tags and probabilities, and whole entities where the tags are BIO."""
    found = []
    for arrays, windows, one in zip(outputs, rows, examples, strict=True):
        tags = _tags(arrays, windows, len(one["words"]), names)
        sure = {
            word: float(best)
            for array, row in zip(arrays, windows, strict=True)
            for word, best in zip(row.words, softmax(array).max(axis=1), strict=True)
        }
        words = [
            {"word": word, "tag": tag, "probability": round(sure.get(index, 0.0), 6)}
            for index, (word, tag) in enumerate(zip(one["words"], tags, strict=True))
        ]
        whole = [{"type": kind, "text": " ".join(one["words"][start:end])} for kind, start, end in sorted(entities(tags), key=lambda found: found[1])]
        found.append({"words": words} | ({"entities": whole} if is_bio(names) else {}))
    return found
