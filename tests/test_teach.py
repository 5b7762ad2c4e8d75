"""The teacher's fresh head on several classes at once: before any step it says how rare each class is."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from edgedistill.stages.teach import start_at_shares


def model() -> BertForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 30}
    return BertForSequenceClassification(BertConfig(**sizes, num_labels=3, problem_type="multi_label_classification"))


def test_answers_are_the_shares_when_the_features_say_nothing() -> None:
    """Of seven rows three have class 0, none class 1, all class 2; half a row is added to either side."""
    made = model()
    start_at_shares(made, [[0, 2]] * 3 + [[2]] * 4, 3)
    assert torch.sigmoid(made.classifier.bias).tolist() == pytest.approx([3.5 / 8, 0.5 / 8, 7.5 / 8])


def test_head_keeps_its_biases_when_it_has_learned() -> None:
    made = model()
    with torch.no_grad():
        made.classifier.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    start_at_shares(made, [[0]], 3)
    assert made.classifier.bias.tolist() == [1.0, 0.0, 0.0]
