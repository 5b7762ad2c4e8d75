"""Question answering: SQuAD's F1 and exact match on cases from its definition, windows that hold every answer, and the best stretch."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from task_cases import DATA, KINDS, open_data, tokenizer_of, trained

from edgedistill.ragged import CLOSED
from edgedistill.tasks import NO_LABEL, Row
from edgedistill.tasks import question_answering as task
from edgedistill.tasks._words import spans

CONTEXT = "The river bends twice, then it narrows before the old mill."


def outputs(rows: list[Row], place: Any) -> list[np.ndarray]:
    """What a model says that is sure of `labels`: 9 at a window's right start and end, 0 elsewhere."""
    found = [np.zeros((2, len(row.at)), np.float32) for row in rows]
    for index, array in enumerate(found):
        array[0, place[2 * index]] = array[1, place[2 * index + 1]] = 9.0
    return found


def example(context: str, question: str = "Where?") -> dict[str, str]:
    return task.example({"text": context, "pair": question})


@pytest.mark.parametrize(
    ("ours", "gold", "f1", "exact"),
    [
        ("the old mill", "old mill", 1.0, True),  # articles do not count
        ("The Old-Mill!", "old mill", 0.0, False),  # a mark is taken out, not made a blank: oldmill
        ("Old  mill.", "old mill", 1.0, True),  # case, blanks and marks neither
        ("before the old mill", "the old mill", 0.8, False),  # precision 2/3, recall 1
        ("mill mill", "mill", 2 / 3, False),  # a word counts as often as it is in both
        ("a river", "the mill", 0.0, False),
        ("", "", 1.0, True),
        ("mill", "", 0.0, False),
        ("", "mill", 0.0, False),
        ("the", "a", 1.0, True),  # nothing but articles on both sides
        ("1,000", "1000", 1.0, True),
    ],
)
def test_scores_are_squads_when_counted_by_hand(ours: str, gold: str, f1: float, exact: bool) -> None:
    """normalize_answer of the official evaluation: lower case, then without punctuation, then without articles, then blanks."""
    assert task.f1(ours, gold) == pytest.approx(f1)
    assert (task.plain_words(ours) == task.plain_words(gold)) is exact


def test_best_answer_counts_when_a_question_has_several() -> None:
    one = example(CONTEXT)
    ((row,),) = task.encode(trained("wordpiece"), [one], 64)
    words = [CONTEXT[start:end] for start, end in spans(CONTEXT)]
    said = outputs([row], [1 + words.index("before"), 1 + words.index("mill")])
    golds = [{"text": "twice"}, {"text": "old mill"}, {"text": "before the old mill"}]
    assert task.evidence([said], [[row]], [one], [golds], []).tolist() == [[1.0, 1.0]]
    assert task.evidence([said], [[row]], [one], [golds[:2]], []).tolist() == [[pytest.approx(0.8), 0.0]]
    assert task.total(np.array([[0.8, 0.0], [0.4, 0.0]])) == pytest.approx(0.6)


def test_nothing_is_right_when_there_is_no_answer() -> None:
    one = example(CONTEXT)
    ((row,),) = task.encode(trained("wordpiece"), [one], 64)
    assert task.labels([row], [], []).tolist() == [0, 0]
    assert task.labels([row], None, []).tolist() == [NO_LABEL, NO_LABEL]
    said = outputs([row], [0, 0])
    assert task.stretch(CONTEXT, said, [row]) == ("", 0.0)
    assert task.evidence([said], [[row]], [one], [[]], []).tolist() == [[1.0, 1.0]]
    assert task.decisions([said], [[row]])[0].tolist() == [-1, -1]


def test_best_stretch_is_that_of_a_search_over_all_when_scores_are_random() -> None:
    """Every pair of first and last word in every window, by brute force."""
    random = np.random.default_rng(0)
    for _ in range(30):
        rows = [Row(ids=range(60), at=range(count + 1), words=range(start, start + count)) for start, count in ((0, 40), (30, 45), (70, 1))]
        arrays = [random.normal(size=(2, len(row.at))) for row in rows]
        scored = {}
        for row, array in zip(rows, arrays, strict=True):
            for first, last in itertools.product(range(len(row.words)), repeat=2):
                if first <= last < first + task.LONGEST:
                    scored[row.words[first], row.words[last], id(row)] = array[0, first + 1] + array[1, last + 1]
        wanted = max(scored, key=scored.__getitem__)
        none = min(array[0, 0] + array[1, 0] for array in arrays)
        found = task.best(arrays, rows)
        assert found is not None
        assert found[:2] == wanted[:2]
        assert found[2] == pytest.approx(scored[wanted] - none)


def test_no_answer_wins_when_every_window_says_so() -> None:
    """SQuAD 2.0: the smallest no-answer score of all windows is held against the best stretch."""
    row = Row(ids=range(4), at=range(3), words=range(2))
    yes, no = np.array([[0.0, 1, 0], [0, 1, 0]]), np.array([[3.0, 1, 0], [3, 1, 0]])
    assert task.best([no, no], [row, row]) is None
    assert task.best([no, yes], [row, row]) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_words_are_those_of_the_context_when_windows_overlap(kind: str) -> None:
    """Every word is in a window, at the pieces that the tokenizer maps its first and last character to."""
    tokenizer = tokenizer_of(kind)
    context = " ".join([CONTEXT] * 9)
    (rows,) = task.encode(tokenizer, [example(context)], 32)
    assert len(rows) > 2
    assert {word for row in rows for word in row.words} == {*range(len(spans(context)))}
    assert max(map(len, rows)) <= 32
    for row in rows:
        assert (row.at[0], row.until[0]) == (0, 0)
        for word, at, until in zip(row.words, row.at[1:], row.until[1:], strict=True):
            start, end = spans(context)[word]
            said = "".join(piece.strip("#Ġ▁") for piece in map(tokenizer.id_to_token, row.ids[at : until + 1]) if piece)
            assert said in ("[UNK]", context[start:end], context[start:end].lower()) or "[UNK]" in said
            assert {row.types[at], row.types[until]} == {1}


def test_question_is_cut_when_it_leaves_the_text_no_room() -> None:
    (rows,) = task.encode(trained("wordpiece"), [example(CONTEXT, "where " * 200)], 32)
    assert max(map(len, rows)) <= 32
    assert {word for row in rows for word in row.words} == {*range(len(spans(CONTEXT)))}


def test_choices_are_closed_when_a_window_has_fewer_words() -> None:
    rows = [Row(ids=range(9), at=[0, 3, 5], until=[0, 4, 5], words=[0, 1]), Row(ids=range(9), at=[0, 7], until=[0, 8], words=[2])]
    raw = np.arange(36, dtype=np.float32).reshape(2, 9, 2)
    picked = task.pick(raw, task.picks(rows))
    np.testing.assert_array_equal(picked, [[0, 6, 10], [1, 9, 11], [18, 32, CLOSED], [19, 35, CLOSED]])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('[{"text": "mill", "answer_start": 0}]', "does not stand at character 0"),
        ('[{"text": ".", "answer_start": 58}, {"text": "", "answer_start": 3}]', "holds no word"),
        ('{"text": "mill"}', "JSON list"),
        ('["mill"]', "JSON list"),
    ],
)
def test_answer_is_refused_when_it_is_not_in_the_text(value: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        task.target(value, example(CONTEXT), DATA)


def test_questions_of_one_text_stay_together_when_split() -> None:
    one, other = example(CONTEXT, "Where?"), example(CONTEXT, "When?")
    assert task.group(one) == task.group(other)
    assert task.identity(one) != task.identity(other)


@pytest.mark.data
def test_every_answer_is_found_again_when_the_set_is_squadshifts() -> None:
    """labels → stretch gives the answer back, as SQuAD reads it, and at least one window holds it whole."""
    from edgedistill.data import read

    tokenizer = tokenizer_of("minilm")
    records = itertools.islice(read(open_data("squadshifts/new_wiki_v1.0.json.gz")), 0, None, 26)
    drawn = list(itertools.islice(records, 300))
    examples = [example(one.values["context"], one.values["question"]) for one in drawn]
    encoded = task.encode(tokenizer, examples, 128)
    assert sum(len(rows) > 1 for rows in encoded) > 100
    exact = 0
    for record, one, rows in zip(drawn, examples, encoded, strict=True):
        target = task.target(record.values["answers"], one, DATA)
        places = task.labels(rows, target, [])
        assert any(places[2 * index] > 0 for index in range(len(rows)))
        arrays = [array if places[2 * index] else np.zeros_like(array) for index, array in enumerate(outputs(rows, places))]
        found, _ = task.stretch(one["context"], arrays, rows)
        gold = json.loads(record.values["answers"])[0]["text"]
        exact += task.plain_words(found) == task.plain_words(gold)
        assert task.f1(found, gold) > 0
    assert len(drawn) == 300
    assert exact >= 297
