"""How much each row and each loss counts: transfer sets by weight, rows by the teacher's confidence, losses by the share of the training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedistill import ragged
from edgedistill.losses import Batch, Outputs
from edgedistill.losses.kl import loss as kl
from edgedistill.progress import Event, Progress
from edgedistill.spec import Loss, Schedule
from edgedistill.stages._splits import Split, read_sources, write_split
from edgedistill.stages._terms import Terms, weight_at
from edgedistill.stages._training import _confidence
from edgedistill.training.batches import bucketed
from edgedistill.training.loop import Plan, train


def seen(batches: list[list[int]]) -> Counter[int]:
    return Counter(row for batch in batches for row in batch)


def test_sets_are_seen_as_often_as_their_weights_say_when_mixed() -> None:
    # 40 labelled rows of weight 1, 30 of weight 2, 80 of weight ½: an epoch is 40 + 60 + 40 = 140 rows, ten batches of 14
    weights = [1.0] * 40 + [2.0] * 30 + [0.5] * 80
    epochs = 20
    counts = seen(bucketed([5] * 150, 14, epochs, 3, weights))
    total = sum(counts.values())
    shares = [sum(counts[row] for row in part) / total for part in (range(40), range(40, 70), range(70, 150))]
    assert shares == pytest.approx([40 / 140, 60 / 140, 40 / 140], abs=0.02)
    # the halves are drawn for each epoch, so that the epochs' sizes, and with them where the last one is cut, vary a little around 140
    assert all(epochs - 1 <= counts[row] <= epochs + 1 for row in range(40))
    assert all(2 * epochs - 2 <= counts[row] <= 2 * epochs + 2 for row in range(40, 70))
    assert np.mean([counts[row] for row in range(70, 150)]) == pytest.approx(epochs / 2, abs=1)
    assert len({counts[row] for row in range(70, 150)}) > 3, "which of them is seen is drawn anew for each epoch"


def test_rows_come_exactly_as_often_when_weights_are_whole() -> None:
    assert seen(bucketed([1, 2, 3], 2, 1, 0, [1.0, 3.0, 2.0])) == {0: 1, 1: 3, 2: 2}


def test_weights_of_all_sets_are_read_back_in_their_order_when_written(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [{"text": "a"}, {"text": "b"}], [0, 1])
    write_split(tmp_path, "transfer", [{"text": "c"}, {"text": "d"}], [None, None], [2.0, 0.5])
    whole = sum(read_sources(tmp_path).values(), Split(examples=[], targets=[], frequency=[]))
    assert [one["text"] for one in whole.examples] == ["a", "b", "c", "d"]
    assert whole.frequency == [1.0, 1.0, 2.0, 0.5]


LOGITS = [[math.log(3.0), 0.0], [0.0, 0.0], [math.log(9.0), 0.0], [60.0, 0.0]]  # shares ¾, ½, 9/10 and 1 of two classes
SURE = [1 - 0.8112781, 0.0, 1 - 0.4689956, 1.0]  # 1 − entropy in bits, from the tables: H(¾) = 0.8113, H(½) = 1, H(0.9) = 0.4690


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_confidence_is_the_entropys_complement_to_a_power_when_computed_by_hand(tmp_path: Path, power: float) -> None:
    ragged.save(tmp_path / "a.npz", [np.array([row], np.float32) for row in LOGITS])
    found = _confidence(ragged.load(tmp_path / "a.npz"), range(4), power)
    assert found.tolist() == pytest.approx([value**power for value in SURE], abs=1e-5)


def test_confidence_is_the_mean_over_answers_when_a_row_has_several(tmp_path: Path) -> None:
    ragged.save(tmp_path / "a.npz", [np.array(LOGITS[:2], np.float32)])
    assert _confidence(ragged.load(tmp_path / "a.npz"), range(1), 1.0).tolist() == pytest.approx([SURE[0] / 2], abs=1e-5)


def test_loss_that_follows_the_teacher_weighs_rows_by_confidence_when_told() -> None:
    teacher, student = torch.tensor(LOGITS[:2]), torch.zeros(2, 2)
    hard = {"labels": torch.tensor([0, 0])}
    # against an even student a row's KL is log 2 − H; the second is as even as the student: 0
    first = math.log(2) * SURE[0]
    plain = kl(Outputs(student), Outputs(teacher), Batch(**hard), temperature=1.0)
    weighed = kl(Outputs(student), Outputs(teacher), Batch(**hard, weights=torch.tensor([3.0, 1.0])), temperature=1.0)
    assert float(plain) == pytest.approx(first / 2, abs=1e-6)
    assert float(weighed) == pytest.approx(3 * first / 4, abs=1e-6)


POINTS = ((0.0, 1.0), (0.5, 0.0), (0.75, 4.0))


@pytest.mark.parametrize(("share", "weight"), [(0.0, 1.0), (0.25, 0.5), (0.5, 0.0), (0.625, 2.0), (0.75, 4.0), (1.0, 4.0)])
def test_weight_is_on_the_straight_line_when_scheduled(share: float, weight: float) -> None:
    assert weight_at(POINTS, share) == pytest.approx(weight)
    assert weight_at(2.5, share) == 2.5


class Still(nn.Module):
    """A model that answers evenly whatever it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.config = SimpleNamespace(type_vocab_size=1)

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(logits=torch.zeros(len(x), 2) + 0 * self.weight)


def test_losses_follow_their_schedules_through_a_training(tmp_path: Path) -> None:
    """The model stays even, so a term is its weight times a constant: log 2 for ce, and log 2 − H(¾) for kl."""
    terms = Terms(losses={"ce": Loss(weight=((0.0, 1.0), (1.0, 0.0))), "kl": Loss(weight=((0.0, 0.0), (0.5, 0.0), (1.0, 2.0)), temperature=1.0)})
    task = SimpleNamespace(forward=lambda model, inputs: model(**inputs).logits, pick=lambda raw, picks: raw)

    def collate(rows: list[int]) -> Mapping[str, Tensor]:
        return {
            "input x": torch.zeros(len(rows), 1),
            "labels": torch.zeros(len(rows), dtype=torch.int64),
            "teacher": torch.tensor(LOGITS[:1] * len(rows)),
        }

    plan = Plan(
        lengths=[1] * 40,
        frequency=[1.0] * 40,
        collate=collate,
        loss=lambda model, extras, batch, share: terms(task, model, extras, batch, share),
        score=lambda model: 0.0,
        higher=True,
        schedule=Schedule(epochs=10, batch_size=10, evaluations=1, weight_decay=0.0),
        seed=0,
        extras=terms.extras,
    )
    heard: list[Event] = []
    train(Still(), plan, tmp_path, Progress(heard.append, "distil"))
    read = {event.step: event.values for event in heard if event.kind == "measure" and "loss" in event.values}
    assert list(read) == [10, 20, 30, 40]
    for step, values in read.items():
        share = (step - 1) / 40  # of the training, before this step
        assert values["loss/ce"] == pytest.approx((1 - share) * math.log(2), abs=1e-5)
        assert values["loss/kl"] == pytest.approx(max(0.0, share - 0.5) * 4 * math.log(2) * SURE[0], abs=1e-5)
    assert [event.step for event in heard if event.kind == "measure" and "validation" in event.values] == [40]
