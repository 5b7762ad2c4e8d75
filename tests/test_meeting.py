"""Losses held against teacher and student by their configs alone: what a training would refuse is refused before it, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from edgedistill.spec import Loss, Student
from edgedistill.stages import _meeting

BERT = {"model_type": "bert", "num_hidden_layers": 6, "hidden_size": 48, "num_attention_heads": 4, "intermediate_size": 96}
DISTIL = {"model_type": "distilbert", "n_layers": 6, "dim": 48, "n_heads": 4, "hidden_dim": 96}
RESNET = {"model_type": "resnet", "hidden_sizes": [8, 16], "depths": [1, 1]}


def said(loss: str, student: Student, teacher: dict[str, Any] = BERT, **options: Any) -> list[str]:
    return [f"{fault.where}: {fault.what}" for fault in _meeting.faults("rounds.1", {loss: Loss(**options)}, student, teacher)]


@pytest.mark.parametrize("teacher", [BERT, DISTIL], ids=["bert", "distilbert"])
@pytest.mark.parametrize(
    ("loss", "student", "options", "what"),
    [
        ("hidden-mse", Student(layers=3), {"layers": ((3, 7),)}, "the teacher has no layer 7"),
        ("hidden-mse", Student(layers=(0, 5)), {"layers": ((3, 6),)}, "the student has no layer 3"),
        ("hidden-cosine", Student(layers="uniform", depth=2), {"layers": ((3, 6),)}, "the student has no layer 3"),
        ("relation", Student(layers=3), {"heads": 7}, "7 relation heads do not divide the widths 48 and 48"),
        ("relation", Student(method=("width", "layers"), width=36, layers=3), {"heads": 4}, ""),  # 3 heads of 12
        ("attention", Student(method=("prune", "layers"), heads=3, layers=3), {}, "give the student 4 heads"),
        ("hidden-mse", Student(layers=3), {"layers": ((0, 0), (3, 6))}, ""),
        ("attention", Student(layers="auto", depth=2), {}, ""),
        ("crd", Student(method=("width", "layers"), width=24), {}, ""),
        ("relation", Student(layers=3), {}, ""),
        ("hidden-mse", Student(method="config", config={"hidden_size": 12}), {"layers": ((9, 9),)}, ""),  # only the method knows
        ("kl", Student(layers=3), {}, ""),
    ],
)
def test_loss_is_refused_when_it_does_not_suit_the_sizes(
    teacher: dict[str, Any], loss: str, student: Student, options: dict[str, Any], what: str
) -> None:
    found = said(loss, student, teacher, **options)
    assert len(found) == bool(what)
    assert all(one.startswith(f"rounds.1.losses.{loss}: ") and what in one for one in found)


@pytest.mark.parametrize("loss", ["hidden-mse", "hidden-cosine", "crd", "attention", "relation"])
def test_family_is_named_when_its_layers_are_not_known(loss: str) -> None:
    (found,) = said(loss, Student(method="config", config={"embedding_size": 4}), RESNET)
    assert found == f"rounds.1.losses.{loss}: reads the layers of a transformer, and none are known of the family 'resnet'"


def test_answers_are_compared_when_the_family_has_no_known_layers() -> None:
    assert said("kl", Student(method="config"), RESNET) == []
