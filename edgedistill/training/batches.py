"""Batches of like length in an order that depends on the seed alone: a killed run can go on at any step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BUCKET = 50  # batches that are sorted by length together: enough to save the padding, few enough to keep the order random
MOST_TOKENS = 4096  # padded tokens that go through a model at once on a CPU: 64 texts of 64; more are no faster, and memory grows with them


def bucketed(lengths: Sequence[int], batch_size: int, epochs: float, seed: int, frequency: Sequence[float] | None = None) -> list[list[int]]:
    """Row numbers of every batch of a whole training, epoch after epoch; a fraction of an epoch is its first batches.

    Within an epoch each row appears once, or as often as its `frequency` says (a fraction is a chance, drawn anew for each epoch). Rows
    are shuffled, cut into buckets of `BUCKET` batches, sorted by length inside each, and the batches shuffled again. Raises ValueError
    when there is no row.
    """
    if not len(lengths):
        raise ValueError("there is no row to make batches of")
    size = np.asarray(lengths)
    random = np.random.default_rng(seed)
    often = None if frequency is None or all(one == 1.0 for one in frequency) else np.asarray(frequency, np.float64)
    epoch = len(size) if often is None else max(1, round(float(often.sum())))
    wanted = max(1, round(epochs * -(-epoch // batch_size)))
    batches: list[list[int]] = []
    while len(batches) < wanted:
        batches += _epoch(size, batch_size, random, often)
    return batches[:wanted]


def parts(batch: Sequence[int], lengths: Sequence[int], most: int = MOST_TOKENS) -> list[list[int]]:
    """A batch cut into pieces of at most `most` tokens each, padding included, in its order; an example longer than that stands alone.

    What a model must remember for its gradient grows with the tokens of a piece, whatever the batch size.
    """
    found: list[list[int]] = [[]]
    longest = 0
    for index in batch:
        longest = max(longest, lengths[index])
        if found[-1] and longest * (len(found[-1]) + 1) > most:
            found.append([])
            longest = lengths[index]
        found[-1].append(index)
    return found


def _epoch(size: NDArray[np.int64], batch_size: int, random: np.random.Generator, often: NDArray[np.float64] | None) -> list[list[int]]:
    seen = np.arange(len(size)) if often is None else np.repeat(np.arange(len(size)), np.floor(often + random.random(len(often))).astype(int))
    shuffled = random.permutation(seen if len(seen) else np.arange(len(size)))
    batches = []
    for start in range(0, len(shuffled), batch_size * BUCKET):
        bucket = shuffled[start : start + batch_size * BUCKET]
        bucket = bucket[np.argsort(size[bucket], kind="stable")]
        batches += [bucket[at : at + batch_size].tolist() for at in range(0, len(bucket), batch_size)]
    return [batches[index] for index in random.permutation(len(batches))]
