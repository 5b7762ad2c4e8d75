"""Intervals against scipy, enumeration and machines whose truth is known; verdicts on runs that were made to drift, slow down and leak."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from edgedistill.measure import modes, trust

TRUTH = np.log(0.5)


def turns(benches: int, processes: int, kind: str) -> NDArray[np.float64]:
    """Log ratios [benches, processes] of two subjects on a made machine: whole turns that are slow, processes that differ, some that are hit."""
    draw = np.random.default_rng(7)
    common = draw.normal(0, 0.15, (benches, processes))  # a turn is slow for both
    ours, theirs = (draw.normal(0, 0.03, (benches, processes)) for _ in range(2))
    if kind == "hit":
        ours, theirs = (one + (draw.random(one.shape) < 0.1) * draw.exponential(0.3, one.shape) for one in (ours, theirs))
    if kind == "busy":
        ours, theirs = (one + draw.normal(0, 0.15, one.shape) for one in (ours, theirs))
    return (TRUTH + common + ours) - (common + theirs)


def result(**changes: Any) -> dict[str, Any]:
    probe = {"probe_before_ms": [1.0, 1.0], "probe_after_ms": [1.0, 1.0]}
    return {"samples_ms": [2.0] * 40, "resident_mib": [50.0] * 5, **probe, **changes}


@pytest.mark.parametrize("kind", ["calm", "hit", "busy"])
@pytest.mark.parametrize("processes", [6, 8, 50])
def test_interval_holds_the_truth_as_often_as_it_says_when_the_machine_is_made(kind: str, processes: int) -> None:
    found = [trust.interval(one) for one in turns(2000, processes, kind)]
    level = found[0].level
    assert level >= (0.99 if processes >= 8 else 0.96)
    held = np.mean([low <= TRUTH <= high for low, high, _ in found])
    assert abs(held - level) < 4 * np.sqrt(level * (1 - level) / 2000)


def test_interval_holds_nine_in_ten_when_neighbouring_turns_hang_together() -> None:
    """A correlation of one half from turn to turn, as turns on a machine with other work had; a bell curve's interval breaks there."""
    draw = np.random.default_rng(13)
    processes = modes.MODES["quick"].processes
    logs = draw.normal(size=(4000, processes))
    for turn in range(1, processes):
        logs[:, turn] = 0.5 * logs[:, turn - 1] + np.sqrt(0.75) * logs[:, turn]
    held = [low <= 0 <= high for low, high, _ in map(trust.interval, logs)]
    reach = stats.t.ppf(0.975, processes - 1) * logs.std(1, ddof=1) / np.sqrt(processes)
    assert np.mean(held) >= 0.9
    assert np.mean(np.abs(logs.mean(1)) <= reach) < 0.8


def test_interval_ends_where_scipys_test_does_when_the_median_crosses_it() -> None:
    draw = np.random.default_rng(5)
    for _ in range(20):
        logs = draw.normal(0.1, 0.05, 8)
        low, high, level = trust.interval(logs)
        p = [stats.binomtest(int((logs > shift).sum()), 8).pvalue for shift in (low - 1e-9, low + 1e-9, high - 1e-9, high + 1e-9)]
        assert p == pytest.approx([1 - level, 18 / 256, 18 / 256, 1 - level])  # at most one of eight beyond: 2 · (1 + 8) ÷ 2⁸


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
def test_level_is_that_of_all_signs_when_they_are_counted_one_by_one(n: int) -> None:
    """Every draw lies on either side with the same chance: of 2ⁿ patterns of signs so many put 0 outside the interval."""
    draw = np.random.default_rng(5)
    sizes = np.exp(draw.normal(size=n))
    inside = [low <= 0 <= high for low, high, _ in (trust.interval(sizes * signs) for signs in product((-1, 1), repeat=n))]
    assert np.mean(inside) == pytest.approx(trust.interval(sizes).level)


def test_extremes_are_left_out_when_there_are_many_draws() -> None:
    """Of 16 coins at most one is heads with a chance of 17 ÷ 2¹⁶, at most two of 137 ÷ 2¹⁶, three of 697 ÷ 2¹⁶, more than ½ %: the third."""
    draw = np.random.default_rng(5)
    low, high, level = trust.interval(draw.permutation(16).astype(float))
    assert (low, high) == (2, 13)
    assert level == pytest.approx(1 - 2 * 137 / 2**16)


def test_ratio_ignores_slow_turns_when_they_are_slow_for_both() -> None:
    slow = np.array([1.0, 3.0, 1.0, 9.0, 1.0, 2.0, 1.0])
    found = trust.ratio(2.0 * slow, 8.0 * slow)
    assert (found["median_ratio"], found["interval"]) == (pytest.approx(0.25), [pytest.approx(0.25)] * 2)


def test_figures_are_ok_when_nothing_changes() -> None:
    assert trust.judged([result()] * 7).status == "ok"


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        ("leaking", {"resident_mib": [50.0, 50.3, 50.6, 50.9, 51.2]}),
        ("ok", {"resident_mib": [50.0, 58.0, 58.0, 58.0, 58.0]}),  # once is no leak
        ("ok", {"resident_mib": [50.0, 50.3, 50.6, 50.7, 51.2]}),
        ("noisy", {"before": {"cpu_s": 1.0}, "after": {"cpu_s": 1.075}}),  # 75 of 80 ms
        ("ok", {"before": {"cpu_s": 1.0}, "after": {"cpu_s": 1.077}}),
        ("ok", {"before": {"cpu_s": 1.0}, "after": {"cpu_s": 1.16}}),  # two threads
        ("noisy", {"probe_after_ms": [1.06, 1.06]}),
        ("ok", {"probe_after_ms": [1.04, 1.04]}),
    ],
)
def test_status_is_the_fault_when_it_is_in_every_process(status: str, changes: dict[str, Any]) -> None:
    assert trust.judged([result(**changes)] * 7).status == status


@pytest.mark.parametrize(("factor", "status"), [(1.04, "ok"), (1.12, "noisy")])
def test_status_is_noisy_when_the_medians_leave_more_than_a_twentieth_of_doubt(factor: float, status: str) -> None:
    """Three processes a factor below the middle one and three above it: the interval reaches from the ones to the others."""
    found = trust.judged([result(samples_ms=[2.0 * factor**step] * 40) for step in (-1, -1, -1, 0, 1, 1, 1)])
    assert found.status == status
    assert found.figures["half_width"] == pytest.approx(factor - 1, rel=1e-6)
    assert len(found.why) == (status == "noisy")


def test_throttling_is_its_factor_when_the_last_minute_is_slower() -> None:
    draw = np.random.default_rng(5)
    noise = np.exp(draw.normal(0, 0.1, 6000))
    fast = noise[:3000] * 10.0
    found = trust.slowdown([*fast, *(noise[3000:] * 13.0)], minute_s=10.0)
    assert found is not None
    first_over_last, (low, high, _) = found
    assert first_over_last == pytest.approx(1.3, rel=0.02)
    assert np.exp(low) < 1.3 < np.exp(high)
    assert np.exp(high - low) < 1.05


@pytest.mark.parametrize(("factor", "status"), [(1.0, "ok"), (1.03, "ok"), (1.3, "throttled")])
def test_status_is_throttled_when_the_fall_is_beyond_a_twentieth(factor: float, status: str) -> None:
    draw = np.random.default_rng(5)
    samples = [*(np.exp(draw.normal(0, 0.1, 3000)) * 10.0), *(np.exp(draw.normal(0, 0.1, 3000)) * 10.0 * factor)]
    assert trust.judged([result(samples_ms=samples)], minute_s=10.0).status == status


def test_false_alarms_are_rare_when_nothing_is_throttled() -> None:
    """At a fall of exactly a twentieth one alarm in forty is chance; windows of one minute wander together here, as a busy machine's do."""
    draw = np.random.default_rng(11)
    alarms = 0
    for _ in range(400):
        windows = np.repeat(np.exp(draw.normal(0, 0.03, 24)), 50)
        alarms += trust.judged([result(samples_ms=10.0 * windows * np.exp(draw.normal(0, 0.05, 1200)))], minute_s=6.0).status == "throttled"
    assert alarms <= 4


def test_status_is_unmeasured_when_nothing_was_timed() -> None:
    assert trust.judged([result(samples_ms=[], resident_mib=[], probe_before_ms=[], probe_after_ms=[])]).status == "unmeasured"


def test_figures_are_judged_by_the_rest_when_an_agent_tells_no_state() -> None:
    found = trust.judged([{"samples_ms": [2.0 * 1.2**step] * 10} for step in range(7)])
    assert (found.status, list(found.figures)) == ("noisy", ["half_width"])


def test_minutes_are_not_compared_when_the_run_has_no_two() -> None:
    assert trust.slowdown([10.0] * 100, minute_s=0.6) is None
