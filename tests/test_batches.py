"""The order of training: every row once, decided by the seed alone, with little padding."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from edgedistill.training.batches import BUCKET, bucketed, parts

LENGTHS = np.random.default_rng(0).integers(3, 64, 1000).tolist()


def padding(batches: list[list[int]], lengths: list[int]) -> int:
    """How many places of the padded batches hold no token."""
    return sum(max(lengths[row] for row in batch) * len(batch) - sum(lengths[row] for row in batch) for batch in batches)


@pytest.mark.parametrize(("rows", "batch_size"), [(1, 8), (7, 8), (8, 8), (9, 8), (1000, 16), (16 * BUCKET + 1, 16), (5, 1)])
def test_epoch_has_every_row_once_when_cut_into_batches(rows: int, batch_size: int) -> None:
    batches = bucketed([1 + row % 5 for row in range(rows)], batch_size, 1, 0)
    assert sorted(row for batch in batches for row in batch) == list(range(rows))
    assert len(batches) == -(-rows // batch_size)
    assert max(map(len, batches)) <= batch_size
    assert sum(len(batch) < batch_size for batch in batches) <= 1  # at most the one that is left over


@pytest.mark.parametrize("epochs", [2, 3])
def test_rows_come_once_in_each_epoch_when_there_are_several(epochs: int) -> None:
    batches = bucketed(LENGTHS, 16, epochs, 0)
    per_epoch = len(batches) // epochs
    assert per_epoch == 63  # 1000 / 16 = 62.5
    for epoch in range(epochs):
        part = batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        assert Counter(row for batch in part for row in batch) == Counter(range(1000))
    assert batches[:per_epoch] != batches[per_epoch : 2 * per_epoch]


@pytest.mark.parametrize(("epochs", "count"), [(0.25, 16), (0.5, 32), (1.5, 94), (0.001, 1)])  # of 63 batches
def test_fraction_of_an_epoch_is_its_first_batches_when_asked(epochs: float, count: int) -> None:
    whole, part = bucketed(LENGTHS, 16, 2, 5), bucketed(LENGTHS, 16, epochs, 5)
    assert len(part) == count
    assert part == whole[:count]


def test_seed_decides_the_order_when_all_else_is_equal() -> None:
    assert bucketed(LENGTHS, 16, 1, 7) == bucketed(LENGTHS, 16, 1, 7)
    assert bucketed(LENGTHS, 16, 1, 7) != bucketed(LENGTHS, 16, 1, 8)


def test_order_does_not_read_the_global_seed_when_it_changes() -> None:
    np.random.seed(1)  # the old global state must not matter
    first = bucketed(LENGTHS, 16, 1, 7)
    np.random.seed(2)
    assert bucketed(LENGTHS, 16, 1, 7) == first


def test_order_is_the_same_in_another_process_when_the_seed_is() -> None:
    script = f"import json; from edgedistill.training.batches import bucketed; print(json.dumps(bucketed({LENGTHS}, 16, 1.5, 3)))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(answer.stdout) == bucketed(LENGTHS, 16, 1.5, 3)


def test_padding_is_a_fraction_of_random_batches_when_sorted_into_like_lengths() -> None:
    order = np.random.default_rng(1).permutation(len(LENGTHS)).tolist()
    at_random = [order[start : start + 16] for start in range(0, len(order), 16)]
    assert padding(bucketed(LENGTHS, 16, 1, 0), LENGTHS) < 0.2 * padding(at_random, LENGTHS)


def test_padding_is_none_when_every_bucket_holds_whole_lengths() -> None:
    # one bucket of 40 rows: 12, 12 and 16 rows of a length are 3, 3 and 4 whole batches of 4
    lengths = [3] * 12 + [9] * 12 + [27] * 16
    assert padding(bucketed(lengths, 4, 1, 0), lengths) == 0


def test_batches_are_not_in_the_order_of_lengths_when_shuffled() -> None:
    longest = [max(LENGTHS[row] for row in batch) for batch in bucketed(LENGTHS, 16, 1, 0)]
    assert longest != sorted(longest)
    rank = np.corrcoef(np.arange(len(longest)), longest)[0, 1]
    assert abs(rank) < 0.4  # sorted batches: 0.99


@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ([4, 4, 4, 4], [[0, 1], [2, 3]]),  # 2 × 4 = 8 tokens, 3 × 4 would be 12
        ([1, 2, 3, 9, 2], [[0, 1], [2], [3], [4]]),  # padded to the longest: 2 × 2, then 3 × 3 would be 9; the ninth token stands alone
        ([2, 2, 2, 2], [[0, 1, 2, 3]]),
        ([100], [[0]]),
    ],
)
def test_batch_is_cut_by_padded_tokens_in_its_order(lengths: list[int], expected: list[list[int]]) -> None:
    assert parts(range(len(lengths)), lengths, 8) == expected
