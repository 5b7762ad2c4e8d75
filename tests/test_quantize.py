"""The search and its choice: planted losers lose, each with its reason, and nothing is done that has no point."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedistill import quantizers, search
from edgedistill.errors import StageError
from edgedistill.progress import Progress, silent
from edgedistill.search import Limits
from edgedistill.spec import Candidate
from edgedistill.stages import quantize as stage

LIMITS = Limits(agreement=0.97, bytes=1e9)


def candidate(
    scheme: str, size: int, latency: float | None = None, status: Any = "lost", reason: str = "", divergence: float | None = None
) -> Candidate:
    """Of an fp32 of 400 bytes."""
    cost = None if latency is None else size / 400 * latency
    judged: Any = {"score": 0.9, "agreement": 1.0, "divergence": divergence}
    return Candidate(scheme=scheme, engine="e", status=status, reason=reason, bytes=size, latency_ratio=latency, cost=cost, **judged)


def chosen(rows: list[Candidate]) -> tuple[str, dict[str, str]]:
    placed = search.choose(rows)
    return next(one.scheme for one in placed if one.chosen), {one.scheme: one.reason for one in placed}


def test_planted_losers_lose_each_with_its_reason() -> None:
    """Products of shares: right 100/400 · 0.3 = 0.075; small 90/400 · 0.9 = 0.2025; large 380/400 · 0.2 = 0.19; wrong is not asked."""
    wrong = candidate("fast and wrong", 50, 0.05, "out", "out: it agrees with fp32 on 90.00% of the texts, below 97.00%")
    winner, reasons = chosen(
        [candidate("smaller but slower", 90, 0.9), candidate("larger but faster", 380, 0.2), wrong, candidate("right", 100, 0.3)]
    )
    assert winner == "right"
    assert reasons["smaller but slower"] == "lost: 0.9 × the bytes of right at 3 × its latency"
    assert reasons["larger but faster"] == "lost: 3.8 × the bytes of right at 0.667 × its latency"
    assert "agrees with fp32 on 90.00%" in reasons["fast and wrong"]
    assert reasons["right"] == "chosen: the least bytes × latency, 0.075 of fp32's"


def test_nearest_to_fp32_wins_when_costs_are_alike() -> None:
    """Costs 0.1, 0.1025 and 0.1125: the third is an eighth above the least, and its nearness buys nothing."""
    rows = [candidate("cheap", 100, 0.40, divergence=0.0027), candidate("near", 100, 0.41, divergence=0.0011)]
    winner, reasons = chosen([*rows, candidate("dear", 100, 0.45, divergence=0.0001)])
    assert winner == "near"
    nearer = "the answers of near are nearer to fp32's, off by 0.0011 of their variance, not 0.0027"
    assert reasons["near"] == (
        "chosen: bytes × latency, 0.102 of fp32's, is the same within 10% for cheap; of all these it is the profile's first among the nearest "
        "to fp32's answers, off by 0.0011 of their variance"
    )
    assert reasons["cheap"] == f"lost: 1 × the bytes of near at 0.976 × its latency: the same within 10%, and {nearer}"
    assert reasons["dear"] == "lost: 1 × the bytes of near at 1.1 × its latency"


@pytest.mark.parametrize(("first", "second"), [(None, None), (0.002, 0.002), (0.002, 0.0011)])
def test_profiles_order_decides_when_costs_and_answers_are_alike(first: float | None, second: float | None) -> None:
    """0.002 and 0.0011 are 2.6 dB apart: nobody would notice."""
    winner, reasons = chosen([candidate("first", 100, 0.41, divergence=first), candidate("second", 100, 0.40, divergence=second)])
    assert winner == "first"
    assert "is the same within 10% for second; of all these it is the profile's first among the nearest" in reasons["first"]
    assert reasons["second"] == "lost: 1 × the bytes of first at 0.976 × its latency: the same within 10%, and the profile names first first"


def test_profiles_order_decides_when_the_machine_is_another() -> None:
    winner, reasons = chosen([candidate("out", 10, status="out", reason="out: wrong"), candidate("first", 105), candidate("smaller", 100)])
    assert winner == "first"
    assert "latency on this device is unmeasured" in reasons["first"]
    assert reasons["smaller"] == "lost: the profile puts first first; 0.952 × the bytes of first, latency unmeasured"


def test_each_loser_has_its_own_reason_when_three_cost_the_same() -> None:
    """Twice the least divergence is 0.002: far is beyond it, though within twice of middle's; middle stands before nearest in the profile."""
    rows = [candidate("far", 100, 0.4, divergence=0.003), candidate("middle", 100, 0.4, divergence=0.0018)]
    winner, reasons = chosen([*rows, candidate("nearest", 100, 0.4, divergence=0.001)])
    assert winner == "middle"
    assert reasons["far"].endswith("the answers of middle are nearer to fp32's, off by 0.0018 of their variance, not 0.003")
    assert reasons["nearest"].endswith("the profile names middle first")


def test_the_only_candidate_is_not_said_to_have_won() -> None:
    assert chosen([candidate("alone", 100, 0.41)]) == ("alone", {"alone": "chosen: nothing else was to be tried"})


def test_choice_comes_out_again_when_a_receipt_is_asked() -> None:
    rows = search.choose([candidate("a", 100, 0.5), candidate("b", 400, 1.0)])
    assert search.choose([Candidate(**asdict(one)) for one in rows]) == rows


def test_every_reason_is_told_when_none_holds() -> None:
    rows = [candidate("one", 1, status="out", reason="out: it agrees too little"), candidate("two", 2, status="not made", reason="not made: why")]
    with pytest.raises(StageError, match="no allowed scheme") as caught:
        search.choose(rows, "this would help")
    assert caught.value.hint == "this would help"
    assert "one: out: it agrees too little" in str(caught.value)
    assert "two: not made: why" in str(caught.value)


def asked(tmp_path: Path, judge: Any, wanted: list[str], made: list[str], limits: Limits = LIMITS, clock: Any = None) -> dict[str, Candidate]:
    """A search over files of 100 bytes, fp32's of 400, with what was made written down."""
    (tmp_path / "fused.onnx").write_bytes(bytes(400))
    engine = SimpleNamespace(__name__="x.planted", make=lambda scheme, source, out: made.append(scheme) or (out.write_bytes(bytes(100)) and {}))
    source: Any = SimpleNamespace(fused=tmp_path / "fused.onnx")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantizers, "engine_of", lambda scheme: None if scheme == "fp16" else engine)
        found = search.find(wanted, source, judge, limits, clock, tmp_path, Progress(silent, "quantize"))
    return {one.scheme: one for one in found.candidates}


def right(file: Path, first: int | None = None) -> search.Judged:
    return search.Judged(score=0.9, agreement=1.0, divergence=0.0, rows=first or 512, problem="")


def test_mixed_is_not_tried_when_its_base_holds(tmp_path: Path) -> None:
    made: list[str] = []
    found = asked(tmp_path, right, ["int8-dynamic-mixed", "int8-dynamic", "fp16"], made)
    assert made == ["int8-dynamic"]
    assert found["int8-dynamic-mixed"].status == "not tried"
    assert found["int8-dynamic"].chosen
    assert found["fp16"].reason == "no engine here makes it"


def test_mixed_is_not_tried_when_its_base_is_too_large(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(StageError, match="fp32 operators make it larger") as caught:
        asked(tmp_path, right, ["int8-dynamic-mixed", "int8-dynamic", "fp32"], made, Limits(agreement=0.97, bytes=99))
    assert made == ["fp32", "int8-dynamic"]
    assert "model_mb" in caught.value.hint


def test_hopeless_candidate_is_left_after_the_first_rows(tmp_path: Path) -> None:
    """0.70 of 64 rows: the upper bound 0.70 + 2.33 · √(0.21 / 64) = 0.834 is below 0.97; 0.95 of 64 may be 0.97 of all."""
    asked_rows: list[int | None] = []

    def judge(file: Path, first: int | None = None) -> search.Judged:
        asked_rows.append(first)
        share = {"fp32": 1.0, "int8-dynamic": 0.70, "int8-static-s8s8": 0.95}[file.stem]
        return search.Judged(score=share, agreement=share, divergence=1 - share, rows=first or 512, problem="" if share == 1 else "too little")

    found = asked(tmp_path, judge, ["int8-dynamic", "int8-static-s8s8", "fp32"], [])
    assert asked_rows == [search.FIRST, None, search.FIRST, search.FIRST, None]
    assert (found["int8-dynamic"].rows, found["int8-static-s8s8"].rows) == (search.FIRST, 512)
    assert "first 64 rows" in found["int8-dynamic"].reason


@pytest.mark.parametrize(
    ("first", "whole", "rows", "held"),
    [(0.2, "", [search.FIRST], False), (0.99, "", [search.FIRST, None], True), (1.0, "no", [search.FIRST, None], False)],
)
def test_file_holds_when_all_rows_say_so_unless_the_first_settle_it(first: float, whole: str, rows: list[Any], held: bool, tmp_path: Path) -> None:
    seen: list[Any] = []

    def judge(file: Path, some: int | None = None) -> search.Judged:
        seen.append(some)
        return search.Judged(score=first, agreement=first, divergence=1 - first, rows=some or 512, problem=whole)

    assert search.holds(judge, tmp_path, 0.97) is held
    assert seen == rows


def test_file_beyond_the_budget_is_not_judged(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the target allows"):
        asked(tmp_path, None, ["int8-dynamic"], [], Limits(agreement=0.97, bytes=50))


def test_costs_are_shares_of_bytes_times_shares_of_latency(tmp_path: Path) -> None:
    """fp32 in 4 s, both candidates' 100 of 400 bytes; 2 s and 1 s: costs 1/8 and 1/16."""
    times = {"fused": 4.0, "int8-dynamic": 2.0, "int8-static-s8s8": 1.0}
    clock = lambda files: [search.Pace(samples=np.full((3, 8), times[file.stem])) for file in files]  # noqa: E731
    found = asked(tmp_path, right, ["int8-dynamic", "int8-static-s8s8"], [], clock=clock)
    assert found["int8-static-s8s8"].chosen
    assert (found["int8-dynamic"].latency_ratio, found["int8-dynamic"].latency_interval, found["int8-dynamic"].cost) == (0.5, (0.5, 0.5), 0.125)
    assert (found["int8-dynamic"].latency, found["int8-dynamic"].facts) == ("measured", {})


def test_latency_is_of_all_inputs_and_of_each_the_median_pass(tmp_path: Path) -> None:
    """fp32 takes 1 and 5 s, a pass that was held up left out: 6 s. The candidate takes 1 and 2: 3 ÷ 6, where medians over everything say 1.5 ÷ 4."""
    times = {"fused": [[1.0, 5.0], [1.0, 5.0], [3.0, 5.0]], "int8-dynamic": [[1.0, 2.0], [1.0, 2.0], [1.0, 9.0]]}
    clock = lambda files: [search.Pace(samples=np.array(times[file.stem])) for file in files]  # noqa: E731
    found = asked(tmp_path, right, ["int8-dynamic"], [], clock=clock)["int8-dynamic"]
    assert (found.latency_ratio, found.latency_interval, found.cost) == (0.5, (0.4, 1.0), 0.125)


def test_facts_of_a_count_go_to_its_candidate_and_the_order_decides_when_there_is_none(tmp_path: Path) -> None:
    """fp32 in 40 instructions, both candidates in 10 and 20, of 100 of 400 bytes."""
    counts = {"fused": 40.0, "int8-dynamic": 20.0, "int8-static-s8s8": 10.0}

    def clock(files: Any) -> list[search.Pace]:
        return [search.Pace(samples=np.full((1, 2), counts[file.stem]), latency="emulated", facts={"of": file.stem}) for file in files]

    wanted = ["int8-dynamic", "int8-static-s8s8"]
    found = asked(tmp_path, right, wanted, [], clock=clock)["int8-static-s8s8"]
    assert (found.chosen, found.latency, found.cost, found.facts) == (True, "emulated", 0.0625, {"of": "int8-static-s8s8"})
    nothing = asked(tmp_path, right, wanted, [], clock=lambda files: [])["int8-dynamic"]
    assert (nothing.chosen, nothing.latency, nothing.cost) == (True, "unmeasured", None)


def test_divergence_is_the_noises_share_of_the_variance_over_the_rows_that_were_asked() -> None:
    """Noise (4 − 2)² + (7 − 5)² = 8; 1, 4 and 7 vary by 9 + 0 + 9 = 18. The third row was not asked."""
    fp32 = [[np.array([1.0, 4.0], np.float32)], [np.array([7.0], np.float32)], [np.array([99.0], np.float32)]]
    ours = [[np.array([1.0, 2.0], np.float32)], [np.array([5.0], np.float32)]]
    assert stage._divergence(ours, fp32) == pytest.approx(8 / 18)
    assert stage._divergence(fp32, fp32) == 0.0
    assert stage._divergence([[np.array([np.nan], np.float32)]], [[np.array([1.0], np.float32)]]) == stage.FARTHEST
