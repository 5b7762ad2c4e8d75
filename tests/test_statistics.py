"""Intervals and ratios against published numbers, limits and analytic approximations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedistill.measure import trust
from edgedistill.stages._quality import interval, loss, lost_at_least, retention, retention_interval
from edgedistill.tasks import Row, masked_language_modeling, text_classification, text_regression
from edgedistill.tasks._classes import softmax

TASK = text_classification


def column(values: Any) -> np.ndarray:
    return np.asarray(values, np.float64)[:, None]


def test_interval_is_wilsons_when_eight_of_ten_are_right() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662."""
    low, high = interval(TASK, column([1.0] * 81 + [0.0] * (263 - 81)))
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_interval_stays_within_0_and_1_when_all_are_right() -> None:
    low, high = interval(TASK, np.ones((50, 1)))
    assert high == pytest.approx(1.0)
    assert low == pytest.approx(50 / (50 + 1.959964**2))  # Wilson's bound at p = 1 is n / (n + z²)


def test_retention_interval_is_the_rule_of_three_when_both_answer_alike() -> None:
    """300 right of 400: a difference in 3 of 400 rows would have been missed one time in twenty, 3/400 ÷ 0.75 = 0.01 of the score."""
    rows = column([1.0] * 300 + [0.0] * 100)
    assert retention_interval(TASK, rows, rows, seed=0) == (0.99, 1.01)


def test_retention_interval_is_near_the_delta_method_when_rows_are_many() -> None:
    random = np.random.default_rng(1)
    teacher = (random.random(4000) < 0.85).astype(float)
    flipped = random.random(4000) < 0.06
    bundle = np.where(flipped, 1 - teacher, teacher)
    low, high = retention_interval(TASK, column(bundle), column(teacher), seed=0)
    ratio = bundle.mean() / teacher.mean()
    spread = np.std((bundle - ratio * teacher) / teacher.mean()) / np.sqrt(4000)  # of a ratio of means, paired
    assert low == pytest.approx(ratio - 1.96 * spread, abs=0.1 * spread)
    assert high == pytest.approx(ratio + 1.96 * spread, abs=0.1 * spread)


def test_retention_interval_is_narrower_when_errors_are_shared() -> None:
    """Pairing is what makes it so: the same accuracies with independent errors spread wider."""
    random = np.random.default_rng(2)
    teacher = (random.random(2000) < 0.8).astype(float)
    shared = np.where(random.random(2000) < 0.02, 1 - teacher, teacher)
    apart = random.permutation(shared)
    width = [high - low for low, high in (retention_interval(TASK, column(rows), column(teacher), seed=0) for rows in (shared, apart))]
    assert width[0] < 0.5 * width[1]


def test_ratio_is_of_medians_when_one_process_is_an_outlier() -> None:
    found = trust.ratio(np.array([1.0, 1.0, 1.0, 1.0, 9.0]), np.array([4.0, 4.0, 4.0, 4.0, 4.0]))
    assert found["median_ratio"] == 0.25
    assert found["interval"][0] == 0.25


def test_interval_holds_the_score_when_it_is_a_correlation() -> None:
    """Fisher's z: r = 0.6 on 400 rows has a 95 % interval of tanh(atanh r ± 1.96 ÷ √397); rank correlation spreads little wider."""
    from scipy.stats import spearmanr

    random = np.random.default_rng(4)
    first = random.normal(size=400)
    evidence = np.stack([first, 0.75 * first + random.normal(size=400)], axis=1)
    low, high = interval(text_regression, evidence)
    rank = spearmanr(*evidence.T).statistic
    ends = np.tanh(np.arctanh(rank) + np.array([-1.96, 1.96]) / np.sqrt(397))
    np.testing.assert_allclose((low, high), ends, atol=0.25 * (ends[1] - ends[0]))


def test_retention_and_loss_turn_round_when_less_is_better() -> None:
    assert retention(TASK, 0.9, 0.8) == pytest.approx(1.125)
    assert retention(masked_language_modeling, 10.0, 8.0) == pytest.approx(0.8)
    assert loss(TASK, 0.75, 0.8) == pytest.approx(0.05)
    assert loss(masked_language_modeling, 10.0, 8.0) == pytest.approx(0.25)  # a quarter more perplexity
    assert retention(TASK, 0.5, 0.0) == 0


def test_bound_of_the_loss_is_near_the_normal_one_when_rows_are_many() -> None:
    """20 of 1000 rows lost: 0.02 − 1.645 · √(0.02 · 0.98 / 1000) = 0.0127."""
    found = lost_at_least(TASK, column([1.0] * 880 + [0.0] * 120), column([1.0] * 900 + [0.0] * 100))
    assert found == pytest.approx(0.0127, abs=0.002)


def test_probabilities_sum_to_one_when_logits_are_huge() -> None:
    found = softmax(np.array([[1000.0, 1000.0], [-1000.0, 1000.0]]))
    assert found.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_feeds_mask_the_padding_when_rows_differ_in_length() -> None:
    feeds = TASK.feeds([Row(ids=[5, 6, 7]), Row(ids=[8])], pad_id=9)
    assert feeds["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert "token_type_ids" not in feeds


def test_score_is_the_accuracy_of_another_library_when_totalled() -> None:
    from sklearn.metrics import accuracy_score

    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)), random.integers(0, 4, 50)
    evidence = TASK.evidence([[row[None]] for row in logits], [], [], labels, [])
    assert TASK.total(evidence) == accuracy_score(labels, logits.argmax(1))
