"""Extractive question answering: a question and a text in, the stretch of the text that answers out, or nothing where there is no answer.

The answer runs over whole words, so a student with another vocabulary learns from the teacher's choice of words, not of pieces. Texts longer
than the model are read in overlapping windows (Devlin et al. 2019, arXiv:1810.04805, section 4.2; the stride is a quarter of the window). No
answer is the first token's score beating the best stretch (SQuAD 2.0, section 4.3 there). Scores are SQuAD's exact match and F1 over words.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import runtime
from edgedistill.checking import read_json
from edgedistill.ragged import CLOSED
from edgedistill.spec import Data
from edgedistill.tasks import NO_LABEL, Outputs, Row
from edgedistill.tasks._classes import same
from edgedistill.tasks._text import FILES, feeds, load
from edgedistill.tasks._words import inside, pieces_of, spans

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["FILES", "feeds", "load"]

METRIC = "F1"
HIGHER = True
AUTO_CLASS = "AutoModelForQuestionAnswering"
TRAINING_LOSS = "ce"
COLUMNS = {"text": "context", "pair": "question", "label": "answers"}
UNLABELLED = {"text": "context", "pair": "question"}
OPTIONAL = ("label",)
RAW = ("text",)
CLASSES = False
VOCABULARY = False
WINDOWS = True
SHOWN = '\'{"question": "who wrote it?", "context": "Mary Shelley wrote Frankenstein."}\''  # what `predict` is given
ANSWER = "`logits` scores each token as the first and as the last one of the answer; token 0 stands for no answer."
LONGEST = 30  # words of an answer
ARTICLES = re.compile(r"\b(a|an|the)\b")


def example(values: Mapping[str, Any]) -> dict[str, Any]:
    """The text and the question about it."""
    if not values.get("pair"):
        raise ValueError("there is no question")
    return {"context": values["text"], "question": values["pair"]}


def asked(text: str) -> dict[str, Any]:
    """What a user gives `predict`, by role: a JSON object with `question` and `context`. Raises ValueError when it is not."""
    found = read_json(text) if text.startswith("{") else {}
    if not all(isinstance(found.get(key), str) and found[key] for key in ("question", "context")):
        raise ValueError('a JSON object is wanted: {"question": "…", "context": "…"}')
    return {"text": found["context"], "pair": found["question"]}


def target(value: str, example: Mapping[str, Any], data: Data) -> list[dict[str, Any]]:
    """The answers, a JSON list of {text, answer_start} that is empty where there is none, with their first and last word."""
    found = read_json(value) if value else []
    if not isinstance(found, list) or not all(isinstance(one, dict) and {"text", "answer_start"} <= one.keys() for one in found):
        raise ValueError('answers are a JSON list of {"text": …, "answer_start": …}')
    return [_placed(example["context"], str(one["text"]), int(one["answer_start"])) for one in found]


def _placed(context: str, text: str, start: int) -> dict[str, Any]:
    if context[start : start + len(text)] != text:
        raise ValueError(f"the answer {text!r} does not stand at character {start} of its text")
    held = [index for index, (first, last) in enumerate(spans(context)) if first < start + len(text) and last > start]
    if not held:
        raise ValueError(f"the answer {text!r} holds no word")
    return {"text": text, "answer_start": start, "first": held[0], "last": held[-1]}


def identity(example: Mapping[str, Any]) -> str:
    """What counts as the same question."""
    return "\n".join(" ".join(example[role].casefold().split()) for role in ("context", "question"))


def group(example: Mapping[str, Any]) -> str:
    """Questions about one text stay in one split."""
    return str(example["context"])


def stratum(target: Any) -> None:
    """Answers are not classes."""
    return None


def names(targets: Iterable[Any]) -> list[str]:
    """There are no classes."""
    return []


def number(target: Any, names: Sequence[str]) -> Any:
    """The answers themselves."""
    return target


def head(names: Sequence[str]) -> dict[str, Any]:
    """Always two outputs: where it starts, where it ends."""
    return {"num_labels": 2}


def encode(tokenizer: Tokenizer, examples: Sequence[Mapping[str, Any]], max_length: int) -> list[list[Row]]:
    """The windows of each text beside its question; a question of more than half a window keeps its beginning."""
    tokenizer.no_padding()
    with runtime.cut(tokenizer, max_length // 2, direction=runtime.RIGHT):
        questions = tokenizer.encode_batch([one["question"] for one in examples], add_special_tokens=False)
    asked = [one["question"][: found.offsets[-1][1]] if found.offsets else "?" for one, found in zip(examples, questions, strict=True)]
    with runtime.cut(tokenizer, max_length, stride=max_length // 4, strategy="only_second", direction=runtime.RIGHT):
        encodings = tokenizer.encode_batch([(question, one["context"]) for question, one in zip(asked, examples, strict=True)])
    return [_rows(found, spans(one["context"])) for found, one in zip(encodings, examples, strict=True)]


def _rows(encoding: Any, words: Sequence[tuple[int, int]]) -> list[Row]:
    rows = []
    for window in [encoding, *encoding.overflowing]:
        pieces = pieces_of(words, window.offsets, inside(window, 1))
        seen = [(index, piece) for index, piece in enumerate(pieces) if piece]
        at, until = [0, *(piece[0] for _, piece in seen)], [0, *(piece[1] for _, piece in seen)]
        rows.append(Row(ids=window.ids, types=window.type_ids, at=at, until=until, words=[index for index, _ in seen]))
    return rows


def forward(model: Any, inputs: Mapping[str, Any]) -> Any:
    """The scores of each token as a start and as an end, [b, s, 2]."""
    import torch

    found = model(**inputs)
    return torch.stack([found.start_logits, found.end_logits], dim=-1)


def picks(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """For the start and the end of each row the positions of its words [2b, w], and 0 or `CLOSED` where it has fewer."""
    widest = max(len(row.at) for row in rows)
    at = np.zeros((2 * len(rows), widest), np.int64)
    closed = np.full((2 * len(rows), widest), CLOSED, np.float32)
    for index, row in enumerate(rows):
        for side, places in enumerate((row.at, row.until)):
            at[2 * index + side, : len(places)] = places
            closed[2 * index + side, : len(places)] = 0.0
    numbers = np.arange(2 * len(rows))[:, None]
    return {"row": np.broadcast_to(numbers // 2, at.shape).copy(), "at": at, "side": np.broadcast_to(numbers % 2, at.shape).copy(), "closed": closed}


def pick(raw: Any, picks: Mapping[str, Any]) -> Any:
    """Scores of the words [2b, w], of no answer first; what a row does not have is closed."""
    return raw[picks["row"], picks["at"], picks["side"]] * (picks["closed"] == 0) + picks["closed"]


def shape(row: Row) -> tuple[int, int | None]:
    """Two answers, over no answer and the row's words."""
    return 2, len(row.at)


def labels(rows: Sequence[Row], target: Sequence[Mapping[str, Any]] | None, names: Sequence[str]) -> NDArray[np.int64]:
    """The place of the first answer's first and last word in each window, 0 and 0 where it is not in there, [2 · rows]."""
    if target is None:
        return np.full(2 * len(rows), NO_LABEL, np.int64)
    found = []
    for row in rows:
        place = {word: index for index, word in enumerate(row.words, 1)}
        first, last = (target[0]["first"], target[0]["last"]) if target else (-1, -1)
        found += [place[first], place[last]] if first in place and last in place else [0, 0]
    return np.array(found, np.int64)


def best(arrays: Sequence[NDArray[Any]], rows: Sequence[Row]) -> tuple[int, int, float] | None:
    """The first and last word of the best stretch over all windows, with its score above no answer; None where no answer beats it."""
    found, none = None, np.inf
    for array, row in zip(arrays, rows, strict=True):
        none = min(none, float(array[0, 0] + array[1, 0]))
        start, end = array[0, 1:].astype(np.float64), array[1, 1:].astype(np.float64)
        if not len(start):
            continue
        both = start[:, None] + end[None, :]  # [first word, last word]
        both[~_stretches(*both.shape)] = -np.inf
        first, last = np.unravel_index(int(both.argmax()), both.shape)
        score = float(both[first, last])
        if found is None or score > found[2]:
            found = (row.words[int(first)], row.words[int(last)], score)
    return None if found is None or none > found[2] else (found[0], found[1], found[2] - none)


def _stretches(first: int, last: int) -> NDArray[np.bool_]:
    """Which (first word, last word) are a stretch: not ending before it starts, not too long."""
    return np.tri(first, last, LONGEST - 1, dtype=np.bool_) & ~np.tri(first, last, -1, dtype=np.bool_)


def stretch(context: str, arrays: Sequence[NDArray[Any]], rows: Sequence[Row]) -> tuple[str, float]:
    """The answer's text, empty for none, and its score above no answer."""
    found = best(arrays, rows)
    if found is None:
        return "", 0.0
    words = spans(context)
    return context[words[found[0]][0] : words[found[1]][1]], found[2]


def plain_words(text: str) -> list[str]:
    """Words as SQuAD's evaluation sees them: lower case, without punctuation and articles."""
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return ARTICLES.sub(" ", bare).split()


def f1(ours: str, gold: str) -> float:
    """Harmonic mean of precision and recall over words; two empty answers agree."""
    mine, theirs = plain_words(ours), plain_words(gold)
    if not mine or not theirs:
        return float(mine == theirs)
    shared = sum((Counter(mine) & Counter(theirs)).values())
    return 2 * shared / (len(mine) + len(theirs))


def evidence(
    outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], targets: Sequence[Any], names: Sequence[str]
) -> NDArray[np.float64]:
    """F1 and exact match of each question, the best over its answers, [n, 2]."""
    found = []
    for arrays, windows, one, target in zip(outputs, rows, examples, targets, strict=True):
        ours, _ = stretch(one["context"], arrays, windows)
        golds = [answer["text"] for answer in target] or [""]
        found.append((max(f1(ours, gold) for gold in golds), max(float(plain_words(ours) == plain_words(gold)) for gold in golds)))
    return np.array(found, np.float64)


def chance(
    rows: Sequence[Any], examples: Sequence[Mapping[str, Any]], targets: Sequence[Any], names: Sequence[str]
) -> tuple[str, NDArray[np.float64]]:
    """Never answering: right where a question has no answer."""
    right = [float(any(not plain_words(gold) for gold in [answer["text"] for answer in target] or [""])) for target in targets]
    return "never answering", np.array([right, right], np.float64).T


def total(evidence: NDArray[np.float64]) -> float:
    """Mean F1."""
    return float(evidence[:, 0].mean())


def decisions(outputs: Outputs, rows: Sequence[Sequence[Row]]) -> list[NDArray[Any]]:
    """The first and the last word of each answer, [2]; −1 where there is none."""
    found = [best(arrays, windows) for arrays, windows in zip(outputs, rows, strict=True)]
    return [np.array(place[:2] if place else (-1, -1)) for place in found]


def alike(ours: Sequence[NDArray[Any]], theirs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """1 where two models choose the same stretch, ½ where one of its ends is the same, [n]."""
    return same(ours, theirs)


def answers(outputs: Outputs, rows: Sequence[Sequence[Row]], examples: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """The answer's text, empty where there is none, and its score above no answer."""
    found = []
    for arrays, windows, one in zip(outputs, rows, examples, strict=True):
        text, score = stretch(one["context"], arrays, windows)
        found.append({"answer": text, "score": round(score, 4)})
    return found
