"""Token classification: words found in the pieces of four kinds of tokenizer, windows, BIO tags, and entity F1 against seqeval."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from task_cases import DATA, KINDS, TEXTS, open_data, tokenizer_of

from edgedistill.data import made
from edgedistill.errors import DataError
from edgedistill.tasks import token_classification as task
from edgedistill.tasks._entities import entities, is_bio, tags_of_spans
from edgedistill.tasks._words import inside, joined, pieces_of, spans

TAGS = ["B-x", "B-y", "I-x", "I-y", "O"]
ODD = ["Zürich", "e\u0301t\u00e9", "🙂", "naïve", "-", "3.5", "don't", "北京", "a\u200bb", "HELLO"]
GOLD = [["B-x", "I-x", "O", "B-y"], ["O", "I-y", "I-y", "B-y"], ["B-x", "B-x", "O"], ["O", "O"]]
FOUND = [["B-x", "I-x", "O", "B-x"], ["O", "B-y", "I-y", "B-y"], ["B-x", "I-x", "O"], ["I-x", "O"]]


def words_of(text: str) -> list[str]:
    return [text[start:end] for start, end in spans(text)]


def scored(found: list[list[str]], gold: list[list[str]], names: list[str]) -> float:
    """The task's score of tags that a model chose: each word is one piece."""
    outputs = [[np.eye(len(names))[[names.index(tag) for tag in tags]]] for tags in found]
    rows = [[task.Row(ids=range(len(tags) + 2), at=range(1, len(tags) + 1), words=range(len(tags)))] for tags in found]
    targets = [[names.index(tag) for tag in tags] for tags in gold]
    return task.total(task.evidence(outputs, rows, [], targets, names))


@pytest.mark.parametrize("kind", KINDS)
def test_word_gets_its_first_piece_when_encoded_as_a_sentence(kind: str) -> None:
    """The independent truth: a word's pieces are those whose offsets the tokenizer itself maps to the word's first character."""
    tokenizer = tokenizer_of(kind)
    for text in TEXTS:
        words = words_of(text)
        line, places = joined(words)
        ((row,),) = task.encode(tokenizer, [{"words": words}], 256)
        encoding = tokenizer.encode(line)
        assert row.ids == encoding.ids
        assert list(row.words) == list(range(len(words)))
        assert [encoding.char_to_token(start) for start, _ in places] == list(row.at)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_words_get_a_piece_of_their_own_when_the_tokenizer_has_one(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    line, places = joined(ODD)
    encoding = tokenizer.encode(line)
    found = pieces_of(places, encoding.offsets, inside(encoding, 0))
    for (start, end), pieces in zip(places, found, strict=True):
        held = [index for index, (first, last) in enumerate(encoding.offsets) if first < min(end, last) and last > start]
        assert pieces == ((held[0], held[-1]) if held else None)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("max_length", [8, 13, 32])
def test_windows_have_every_word_once_when_the_sentence_is_long(kind: str, max_length: int) -> None:
    tokenizer = tokenizer_of(kind)
    words = [word for text in TEXTS for word in words_of(text)] + ["unaffordability" * 3, "end"]
    (rows,) = task.encode(tokenizer, [{"words": words}], max_length)
    assert len(rows) > 1
    assert [word for row in rows for word in row.words] == [*range(len(words))]
    assert max(map(len, rows)) <= max_length
    for row in rows:
        for word, at in zip(row.words, row.at, strict=True):
            first = tokenizer.encode(words[word] if word == row.words[0] else f"x {words[word]}", add_special_tokens=False)
            assert row.ids[at] in first.ids  # a piece of that very word


def test_short_sentence_is_one_window_when_it_fits_exactly() -> None:
    tokenizer = tokenizer_of("wordpiece")
    words = words_of(TEXTS[0])
    length = len(tokenizer.encode(" ".join(words)).ids)
    assert [len(rows) for rows in (task.encode(tokenizer, [{"words": words}], size)[0] for size in (length, length - 1))] == [1, 2]


def test_labels_are_the_words_when_there_are_windows() -> None:
    words = [word for text in TEXTS for word in words_of(text)]
    (rows,) = task.encode(tokenizer_of("bpe"), [{"words": words}], 16)
    assert task.labels(rows, range(len(words)), TAGS).tolist() == list(range(len(words)))


def test_entities_are_those_of_conlleval_when_tags_are_unruly() -> None:
    """An I- without its B- begins an entity; so does another type's."""
    assert entities(["I-x", "I-x", "I-y", "B-y", "O", "B-x"]) == {("x", 0, 2), ("y", 2, 3), ("y", 3, 4), ("x", 5, 6)}
    assert entities([]) == set()
    assert entities(["B-a-b", "I-a-b"]) == {("a-b", 0, 2)}


def test_f1_is_counted_by_hand_when_entities_are_few() -> None:
    """Gold has 2 + 2 + 2 entities, found are 2 + 2 + 1 + 1, alike are 1 + 2 + 0: 2·3 ÷ (6 + 6)."""
    assert scored(FOUND, GOLD, TAGS) == pytest.approx(0.5)


def test_f1_is_seqevals_when_tags_are_random() -> None:
    metrics = pytest.importorskip("seqeval.metrics")
    random = np.random.default_rng(0)
    for _ in range(20):
        lengths = random.integers(1, 12, 30)
        gold, found = ([random.choice(TAGS, size).tolist() for size in lengths] for _ in range(2))
        assert scored(found, gold, TAGS) == pytest.approx(metrics.f1_score(gold, found))
    assert metrics.f1_score(GOLD, FOUND) == pytest.approx(0.5)  # recorded: seqeval 1.2.2 says so too


def test_score_is_accuracy_over_words_when_tags_are_plain() -> None:
    from sklearn.metrics import accuracy_score

    names = ["ADJ", "NOUN", "VERB"]
    random = np.random.default_rng(1)
    gold, found = ([random.choice(names, size).tolist() for size in (3, 9, 5)] for _ in range(2))
    assert scored(found, gold, names) == pytest.approx(accuracy_score(np.concatenate(gold), np.concatenate(found)))
    assert not is_bio(names)
    assert is_bio(TAGS)
    assert not is_bio(["O"])


def test_word_without_pieces_is_outside_when_scored() -> None:
    """The tokenizer drops a word of control marks: it is no entity, and its label is not asked for."""
    tokenizer = tokenizer_of("wordpiece")
    words = ["Paris", "\u200d\u200b", "river"]
    (rows,) = task.encode(tokenizer, [{"words": words}], 32)
    assert list(rows[0].words) == [0, 2]
    outputs = [[np.eye(5)[[0, 0]]]]
    (found,) = task.answers(outputs, [rows], [{"words": words}], TAGS)
    assert [word["tag"] for word in found["words"]] == ["B-x", "O", "B-x"]
    assert found["words"][1]["probability"] == 0


def test_spans_become_tags_when_they_count_characters() -> None:
    text = "fly to New York, now"
    example = task.example({"text": text})
    assert example["words"] == ["fly", "to", "New", "York", ",", "now"]
    assert task.target('[[7, 15, "city"], [17, 20, "time"]]', example, DATA) == ["O", "O", "B-city", "I-city", "O", "B-time"]
    assert task.target("[]", example, DATA) == ["O"] * 6


@pytest.mark.parametrize(("marked", "fault"), [([[3, 4, "x"]], "holds no word"), ([[0, 6, "x"], [4, 10, "y"]], "overlaps")])
def test_span_is_refused_when_it_marks_nothing_or_the_same(marked: list[Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        tags_of_spans([(0, 3), (4, 6), (7, 10)], marked)


@pytest.mark.parametrize(
    ("marked", "fault"),
    [
        ('[[5, 9999, "x"]]', r"the span 5 to 9999 \(x\) is outside the text of 9 characters"),
        ('[[0, 2, "y"], [-5, 9, "x"]]', r"the span -5 to 9 \(x\) is outside the text of 9 characters"),
        ('[[3, 3, "x"]]', r"the span 3 to 3 \(x\) does not start before its end"),
        ('[[6, 3, "x"]]', r"the span 6 to 3 \(x\) does not start before its end"),
        ('[["0", 2, "x"]]', r"the span '0' to 2 \(x\) has no whole numbers"),
    ],
)
def test_span_is_refused_as_what_it_is_when_the_text_has_no_such_place(marked: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        task.target(marked, task.example({"text": "to Rome. "}), DATA)


def test_word_is_taken_whole_when_a_span_cuts_it_or_ends_behind_it() -> None:
    example = task.example({"text": "to Rome. "})
    assert task.target('[[4, 6, "x"]]', example, DATA) == ["O", "B-x", "O"]
    assert task.target('[[7, 9, "x"]]', example, DATA) == ["O", "O", "B-x"]


def test_row_is_named_when_its_span_is_outside_the_text(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "to Rome", "tags": [[3, 7, "x"]]}\n{"text": "to Rome", "tags": [[3, 8, "x"]]}\n', encoding="utf-8")

    def make(line: int, values: Mapping[str, Any]) -> Iterator[list[str]]:
        yield task.target(values["label"], task.example(values), DATA)

    with pytest.raises(DataError, match=r"line 2: the span 3 to 8 \(x\) is outside the text of 7 characters"):
        list(made(file, DATA, {"text": "text", "label": "tags"}, make, [], task.OPTIONAL, task.RAW))


def test_tags_are_refused_when_they_are_not_one_a_word() -> None:
    example = task.example({"text": '["a", "b"]'})
    assert task.target('["O", "B-x"]', example, DATA) == task.target("O B-x", example, DATA) == ["O", "B-x"]
    with pytest.raises(ValueError, match="3 tags for 2 words"):
        task.target("O O O", example, DATA)
    with pytest.raises(ValueError, match="not blank"):
        task.example({"text": '["a", " "]'})


def test_word_is_the_first_spans_when_two_meet_in_it() -> None:
    """As in Snips: "one pmnear Vatican", a blank forgotten between two slots."""
    words = [(0, 3), (4, 10), (11, 18)]
    assert tags_of_spans(words, [[11, 18, "country"], [6, 10, "relation"], [0, 6, "time"]]) == ["B-time", "I-time", "B-country"]
    assert tags_of_spans(words, [[0, 6, "time"], [6, 18, "place"]]) == ["B-time", "I-time", "B-place"]


@pytest.mark.data
def test_every_slot_at_word_borders_is_recovered_when_the_set_is_snips() -> None:
    from edgedistill.data import read

    count: Counter[str] = Counter()
    for record in read(open_data("snips/validate.jsonl.gz")):
        example = task.example({"text": record.values["text"]})
        starts, ends = zip(*example["spans"], strict=True)
        tags = task.target(record.values["slots"], example, DATA)
        found = {(starts[first], ends[last - 1], kind) for kind, first, last in entities(tags)}
        marked = {(start, end, kind) for start, end, kind in json.loads(record.values["slots"])}
        whole = {slot for slot in marked if slot[0] in starts and slot[1] in ends}
        assert whole <= found
        count.update(marked=len(marked), whole=len(whole), found=len(found))
    assert count["marked"] == 1794  # as `slots` of the file are counted
    assert count["whole"] >= 0.995 * count["marked"]
    assert count["found"] >= 0.998 * count["marked"]
