"""Sentence embeddings: pooling against numpy, Spearman of cosines against SciPy, and what a pair's score becomes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from task_cases import open_data, trained

from edgedistill import data, plugins
from edgedistill.losses import Batch, Outputs
from edgedistill.spec import Data
from edgedistill.tasks import sentence_embedding as task


def model(hidden: torch.Tensor, **config: Any) -> Any:
    def answer(**inputs: Any) -> Any:
        return SimpleNamespace(last_hidden_state=hidden)

    answer.config = SimpleNamespace(**config)  # type: ignore[attr-defined]
    return answer


def test_vector_is_the_mean_of_the_tokens_at_length_1_when_padded() -> None:
    hidden = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0]])
    found = task.forward(model(torch.from_numpy(hidden)), {"attention_mask": torch.from_numpy(mask)}).numpy()
    means = np.stack([hidden[0].mean(axis=0), hidden[1, :2].mean(axis=0)])
    np.testing.assert_allclose(found, means / np.linalg.norm(means, axis=1, keepdims=True), atol=1e-6)


def test_vector_is_the_first_token_when_the_config_says_cls() -> None:
    hidden = torch.tensor([[[3.0, 4.0], [9.0, 9.0]]])
    assert task.forward(model(hidden, pooling="cls"), {"attention_mask": torch.ones(1, 2)}).tolist() == [pytest.approx([0.6, 0.8])]


def test_score_is_spearmans_of_the_cosines_when_totalled() -> None:
    from scipy.stats import spearmanr
    from sklearn.metrics.pairwise import paired_cosine_distances

    random = np.random.default_rng(1)
    first, targets = random.normal(size=(80, 6)), random.uniform(0, 5, 80)
    second = first + random.normal(size=(80, 6)) * (5 - targets)[:, None]
    outputs = [[one[None], other[None]] for one, other in zip(first, second, strict=True)]
    found = task.total(task.evidence(outputs, [], [], targets.tolist(), []))
    assert found == pytest.approx(spearmanr(1 - paired_cosine_distances(first, second), targets).statistic)


def test_pair_has_two_rows_and_a_text_one_when_encoded() -> None:
    tokenizer = trained("wordpiece")
    pair, alone = task.encode(tokenizer, [{"text": "a green door", "pair": "a roof"}, {"text": "a roof"}], 16)
    assert [row.ids for row in pair] == [tokenizer.encode(text).ids for text in ("a green door", "a roof")]
    assert [row.ids for row in alone] == [pair[1].ids]
    assert not pair[0].types


def test_score_becomes_a_share_of_the_scale_when_it_is_a_label() -> None:
    names = task.names([5.0, 0.0, 2.5])
    np.testing.assert_array_equal(task.labels([0, 1], 1.25, names), [[0.25], [np.nan]])
    np.testing.assert_array_equal(task.labels([0, 1], 5.0, names), [[1.0], [np.nan]])
    assert np.isnan(task.labels([0], None, names)).all()


def test_training_loss_is_0_when_cosines_are_the_scores() -> None:
    """Two pairs with cosines 1 and 0, and scores of 5 and 0 on a scale of 0 to 5, with a transfer text between them."""
    names = task.names([0.0, 5.0])
    labels = np.concatenate([task.labels([0, 1], 5.0, names), task.labels([0], None, names), task.labels([0, 1], 0.0, names)])
    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.3, 0.4], [0.0, 1.0], [1.0, 0.0]])
    loss = plugins.load("losses", task.TRAINING_LOSS).loss
    assert float(loss(Outputs(vectors), Outputs(vectors), Batch(torch.from_numpy(labels)))) == 0
    turned = vectors[[0, 3, 2, 1, 4]]  # cosines 0 and 1: off by 1 both times
    assert float(loss(Outputs(turned), Outputs(turned), Batch(torch.from_numpy(labels)))) == pytest.approx(1.0)


def test_models_are_alike_when_cosines_are_though_vectors_are_not() -> None:
    """A pair is decided by its cosine: a model that turns all vectors decides the same."""
    ours, theirs = np.eye(2), np.eye(2)[::-1]
    assert task.alike([ours], [theirs]).tolist() == [1.0]
    assert task.alike([np.array([[1.0, 0.0], [1.0, 0.0]])], [theirs]).tolist() == [0.0]  # cosines 1 and 0
    assert task.alike([np.array([[0.6, 0.8]])], [np.array([[1.0, 0.0]])]).tolist() == [pytest.approx(0.6)]


def test_agreement_is_unknown_when_widths_differ() -> None:
    assert np.isnan(task.alike([np.ones((1, 3))], [np.ones((1, 4))])).all()


def test_answer_is_a_cosine_for_a_pair_and_a_vector_for_a_text_when_asked() -> None:
    found = task.answers([[np.array([[0.6, 0.8]]), np.array([[1.0, 0.0]])], [np.array([[0.6, 0.8]])]], [], [], [])
    assert found == [{"cosine": 0.6}, {"embedding": [0.6, 0.8]}]


@pytest.mark.data
def test_scores_are_the_whole_scale_when_the_set_is_stsb() -> None:
    spec = Data(source="dev.csv", columns=("sentence1", "sentence2", "score"))

    def make(line: int, values: Any) -> Any:
        example = task.example(values)
        yield task.target(values["label"], example, spec)

    targets = list(data.made(open_data("stsb_en/dev.csv.gz"), spec, task.COLUMNS, make))
    assert (len(targets), task.names(targets)) == (1500, ["0.0", "5.0"])
