"""A graph of one shape: inputs are filled up to it, and longer ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from edgedistill import runtime
from edgedistill.errors import StageError


def test_inputs_are_filled_up_when_the_graph_has_one_shape() -> None:
    feeds = {"input_ids": np.array([[5, 6]]), "attention_mask": np.array([[1, 1]]), "more": np.array([[9]])}
    found = runtime.filled(feeds, {"input_ids": [1, 4], "attention_mask": ["batch", 4]}, 7)
    assert {name: value.tolist() for name, value in found.items()} == {"input_ids": [[5, 6, 7, 7]], "attention_mask": [[1, 1, 0, 0]]}


def test_inputs_are_left_alone_when_the_graph_takes_any_shape() -> None:
    feeds = {"input_ids": np.array([[5, 6]])}
    assert runtime.filled(feeds, {"input_ids": ["batch", "sequence"]}, 7)["input_ids"] is feeds["input_ids"]


def test_input_is_refused_when_it_is_longer_than_the_graph() -> None:
    with pytest.raises(StageError, match=r"an input of \[1, 3\] does not fit a graph of \[1, 2\]"):
        runtime.filled({"input_ids": np.zeros((1, 3), int)}, {"input_ids": [1, 2]}, 0)
