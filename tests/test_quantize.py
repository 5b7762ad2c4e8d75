"""The choice among schemes: planted losers lose, each with its reason."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedistill.errors import StageError
from edgedistill.spec import Candidate
from edgedistill.stages import quantize
from edgedistill.stages.quantize import Params, Tried
from edgedistill.tasks import text_classification

ROWS = 1000  # validation rows of the planted candidates


def params(latency_counts: bool) -> Params:
    return Params(
        task="text-classification",
        engine="onnxruntime",
        allowed=(),
        forbidden=(),
        agreement=0.97,
        drop=0.01,
        latency_counts=latency_counts,
        max_length=8,
    )


def tried(scheme: str, size: int, score: float = 0.9, agreement: float = 1.0, latency: float | None = None) -> Tried:
    candidate = Candidate(scheme=scheme, bytes=size, score=score, agreement=agreement, latency_ratio=latency, chosen=False, reason="")
    fp32, correct = (np.repeat([1.0, 0.0], [round(share * ROWS), ROWS - round(share * ROWS)])[:, None] for share in (0.9, score))
    bench: Any = SimpleNamespace(task=text_classification, fp32_evidence=fp32)
    return Tried(candidate, Path(scheme), quantize._problem(bench, agreement, correct, params(False)))


def choose(rows: list[Tried], latency_counts: bool = False) -> tuple[str, dict[str, str]]:
    best = quantize._choose(rows, params(latency_counts))
    return best.candidate.scheme, {row.candidate.scheme: quantize._reason(row, best, params(latency_counts)) for row in rows}


def test_smallest_wins_when_all_hold() -> None:
    winner, reasons = choose([tried("large", 400), tried("small", 100), tried("middle", 101)])
    assert winner == "small"
    assert reasons["large"] == "lost: 4 × the bytes of small"


def test_small_and_wrong_loses_when_it_agrees_too_little() -> None:
    winner, reasons = choose([tried("wrong", 50, agreement=0.9), tried("right", 100)])
    assert winner == "right"
    assert "agrees with fp32 on 90.00%" in reasons["wrong"]


def test_small_and_worse_loses_when_its_score_falls() -> None:
    winner, reasons = choose([tried("worse", 50, score=0.87, agreement=0.98), tried("right", 100)])
    assert winner == "right"
    assert "0.8700 is worse than fp32's 0.9000 by more than 0.01 and chance" in reasons["worse"]


def test_small_wins_when_its_loss_may_be_chance() -> None:
    """Two rows of a thousand beyond the limit: lost = 0.012, its deviation √(0.012·0.988/1000) = 0.0034, the bound 0.0063 < 0.01."""
    assert choose([tried("small", 50, score=0.888, agreement=0.98), tried("right", 100)])[0] == "small"


def test_faster_wins_among_the_near_when_this_machine_is_of_the_targets_kind() -> None:
    rows = [tried("slow", 100, latency=0.9), tried("fast", 105, latency=0.4), tried("fastest but large", 400, latency=0.1)]
    winner, reasons = choose(rows, latency_counts=True)
    assert winner == "fast"
    assert reasons["slow"] == "lost: 0.9524 × the bytes of fast and 0.9 × fp32's latency, where fast has 0.4"
    assert reasons["fastest but large"].startswith("lost: 3.81 × the bytes")


def test_smallest_stays_when_another_is_faster_by_noise() -> None:
    assert choose([tried("small", 100, latency=0.41), tried("near", 101, latency=0.39)], latency_counts=True)[0] == "small"


def test_latency_says_nothing_when_the_target_is_another_kind_of_machine() -> None:
    assert choose([tried("slow", 100, latency=0.9), tried("fast", 105, latency=0.4)])[0] == "slow"


def test_every_reason_is_told_when_none_holds() -> None:
    with pytest.raises(StageError, match="no allowed scheme") as caught:
        choose([tried("one", 1, agreement=0.5), tried("two", 2, score=0.1, agreement=0.99)])
    assert "one: it agrees" in str(caught.value)
    assert "two: its validation score" in str(caught.value)
