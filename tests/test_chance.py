"""A teacher that knows nothing: what an answer that ignores its input scores, by hand for each task, and what is said of retention then."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedistill import plugins
from edgedistill.faces.build import _retention
from edgedistill.stages import _quality as quality
from edgedistill.stages import check
from edgedistill.stages._splits import Split
from edgedistill.tasks import Row


def question(*texts: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in texts]


BIO, TAGS = ["B-PER", "I-PER", "O"], ["A", "N", "V"]
GOLD = [[Row(ids=[], gold=[5, 6])], [Row(ids=[], gold=[7])]]
CASES: dict[str, tuple[str, list[Any], list[str], str, float]] = {
    "majority": ("text-classification", [1, 0, 1, 1], ["bad", "good"], "always answering 'good'", 0.75),
    "pictures": ("image-classification", [2, 0, 2], ["a", "b", "c"], "always answering 'c'", 2 / 3),
    # of four rows three have class a, two b: F1 of always yes is 2p / (1 + p), 6/7 and 2/3
    "several": ("multi-label-classification", [[0], [0, 1], [1], [0]], ["a", "b"], "always answering every class", (6 / 7 + 2 / 3) / 2),
    # B-PER for each of six words is six entities, one of which is one of the two
    "entities": ("token-classification", [[0, 2, 2], [0, 1, 2]], BIO, "always answering 'B-PER'", 2 / 8),
    "tags": ("token-classification", [[0, 1], [1, 2, 1]], TAGS, "always answering 'N'", 3 / 5),
    "answers": ("question-answering", [question("Rome"), [], question("The"), question("a b", "")], [], "never answering", 3 / 4),
    "numbers": ("text-regression", [1.0, 2.0, 5.0], [], "always answering the same number", 0.0),
    "vectors": ("sentence-embedding", [1.0, 2.0, 5.0], ["1.0", "5.0"], "the same vector for every text", 0.0),
}


def example(target: Any) -> dict[str, Any]:
    return {"text": "x", "context": "y", "words": ["w"] * len(target)} if isinstance(target, list) else {"text": "x"}


@pytest.mark.parametrize("name", CASES)
def test_chance_is_the_best_constant_answer_when_counted_by_hand(name: str) -> None:
    task_name, targets, names, words, score = CASES[name]
    task = plugins.load("tasks", task_name)
    answer, evidence = task.chance([[Row(ids=[1])] for _ in targets], [example(target) for target in targets], targets, names)
    assert answer == words
    assert len(evidence) == len(targets)
    assert task.total(evidence) == pytest.approx(score)


def test_every_task_says_what_chance_is_when_listed() -> None:
    assert {one[0] for one in CASES.values()} | {"masked-language-modeling"} == set(plugins.names("tasks"))


def test_pieces_are_guessed_by_the_others_when_masked() -> None:
    """Three pieces that are all different: each is 1 of the two others and three kinds, 1/5. One piece alone, always: certain."""
    task = plugins.load("tasks", "masked-language-modeling")
    rows = [[Row(ids=[1], at=[0] * len(row[0].gold), gold=row[0].gold)] for row in GOLD]
    _, evidence = task.chance(rows, [], [], [])
    assert task.total(evidence) == pytest.approx(5.0)
    _, evidence = task.chance([[Row(ids=[1], at=[0] * 9, gold=[4] * 9)]], [], [], [])
    assert task.total(evidence) == pytest.approx(math.exp(math.log(9 / 9)))


def test_lead_is_near_the_delta_method_when_rows_are_many() -> None:
    """Right where the other is wrong in 300 of 1,000 rows, the other way round in 200: 0.1 ± 1.96 · √((0.5 − 0.01) / 1000)."""
    ours = np.array([1.0] * 300 + [0.0] * 200 + [1.0] * 500)[:, None]
    theirs = np.array([0.0] * 300 + [1.0] * 200 + [1.0] * 500)[:, None]
    low, high = quality.lead(plugins.load("tasks", "text-classification"), ours, theirs)
    spread = 1.96 * math.sqrt(0.49 / 1000)
    assert (low, high) == pytest.approx((0.1 - spread, 0.1 + spread), abs=0.004)


def test_lead_turns_round_when_less_is_better() -> None:
    task = plugins.load("tasks", "masked-language-modeling")
    good, bad = np.array([[1.0, 1.0]] * 20), np.array([[2.0, 1.0]] * 20)
    assert quality.lead(task, good, bad)[0] == pytest.approx(math.e**2 - math.e)


def judged(right: list[float], targets: list[int]) -> quality.Chance:
    split = Split(examples=[{"text": "x"} for _ in targets], targets=targets, frequency=[1.0] * len(targets))
    return quality.chance(plugins.load("tasks", "text-classification"), [], split, ["bad", "good"], np.array(right)[:, None])


@pytest.mark.parametrize(
    ("right", "beaten"),
    [
        ([1.0] * 51 + [0.0] * 49, False),  # as good as always saying bad
        ([0.0] * 60 + [1.0] * 40, False),  # worse
        ([1.0, 1.0, 1.0, 0.0] * 25, True),
    ],
)
def test_teacher_is_beside_the_commonest_class_when_judged(right: list[float], beaten: bool) -> None:
    found = judged(right, [0] * 50 + [1] * 50)
    assert (found.answer, found.score, found.beaten) == ("always answering 'bad'", 0.5, beaten)


def test_gate_is_broken_with_the_reason_when_retention_is_undefined() -> None:
    chance = judged([0.0, 1.0] * 30, [0] * 30 + [1] * 30)
    params: Any = SimpleNamespace(retention=0.95)
    verdict = check._kept(params, None, chance)
    assert (verdict.ok, verdict.value, verdict.limit) == (False, None, 0.95)
    assert verdict.sentence.startswith("retention is undefined, and at least 0.95 is asked for: a teacher no better than always answering 'bad'")
    said = check._no_better(plugins.load("tasks", "text-classification"), chance, 0.5, 60)
    assert "the teacher is no better than always answering 'bad' (accuracy 0.5000 against 0.5000 on 60 test rows, a lead of -0." in said
    assert said.endswith("retention is undefined")


def test_gate_is_a_comparison_when_the_teacher_knows_something() -> None:
    chance, params = judged([1.0] * 60, [0] * 30 + [1] * 30), SimpleNamespace(retention=0.95)
    found = [check._kept(params, kept, chance) for kept in (0.95, 0.94)]  # type: ignore[arg-type]
    assert [(one.ok, one.value) for one in found] == [(True, 0.95), (False, 0.94)]


def test_summary_says_undefined_when_the_teacher_is_at_chance() -> None:
    document = {"retention": None, "retention_interval": None, "metric": "accuracy", "chance": {"answer": "always answering 'bad'", "score": 0.5}}
    assert _retention(document) == "undefined: the teacher is no better than always answering 'bad'"
    assert _retention({"retention": 0.98, "retention_interval": [0.97, 0.99]}) == "0.9800 (95 % interval 0.9700 to 0.9900)"
