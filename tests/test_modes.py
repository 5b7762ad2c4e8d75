"""Modes, sweeps and shapes: how many jobs, what each times, and that its answers stay checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedistill.errors import ConfigError
from edgedistill.faces import sizes
from edgedistill.measure import agent, modes

ROWS = [{"ids": {"dtype": "int64", "values": [[1, 2, 3]]}, "scale": {"dtype": "float32", "values": [2.0]}}]
JOB: dict[str, Any] = {"model": "m.onnx", "feeds": ROWS, "golden": [[[1]]], "threads": 1}


@pytest.mark.parametrize("name", modes.MODES)
def test_processes_reach_the_modes_least_when_put_together(name: str) -> None:
    mode = modes.MODES[name]
    pace = modes.pace(mode)
    assert mode.processes * pace["min_runs"] >= mode.min_runs
    assert mode.processes * pace["min_s"] >= mode.min_s * 0.999


def test_modes_grow_when_named_in_order() -> None:
    assert list(modes.MODES) == ["smoke", "quick", "full", "sustained"]
    assert all(a.min_s < b.min_s for a, b in zip(list(modes.MODES.values()), list(modes.MODES.values())[1:], strict=False))
    full, sustained = modes.MODES["full"], modes.MODES["sustained"]
    assert (full.min_runs, full.min_s) == (1024, 60)
    assert (sustained.processes, sustained.min_s / sustained.minute_s) == (1, 10)


@pytest.mark.parametrize(("runs", "spent_ms", "gone"), [(0, 0.0, 0.0), (5, 2000.0, 0.5), (20, 500.0, 0.25), (10, 2000.0, 1.0)])
def test_way_is_the_slower_of_both_when_runs_and_seconds_are_asked(runs: int, spent_ms: float, gone: float) -> None:
    assert agent.way({"min_runs": 10, "min_s": 2.0}, runs, spent_ms) == gone


def test_jobs_are_every_pair_when_threads_and_batches_are_swept() -> None:
    jobs = modes.swept(JOB, threads=[1, 2], batches=[1, 4])
    found = [(job["threads"], len(job["timed"][0]["ids"]["values"]) if "timed" in job else 1) for job in jobs]
    assert found == [(1, 1), (1, 4), (2, 1), (2, 4)]
    assert all(job["golden"] == [[[1]]] and job["feeds"] == ROWS for job in jobs)
    np.testing.assert_array_equal(jobs[1]["timed"][0]["ids"]["values"], [[1, 2, 3]] * 4)


def test_values_go_round_when_a_shape_is_larger() -> None:
    (row,) = modes.shaped(JOB, sizes(["ids=2,5"]))["timed"]
    np.testing.assert_array_equal(row["ids"]["values"], [[1, 2, 3, 1, 2]] * 2)
    np.testing.assert_array_equal(row["scale"]["values"], [2.0])


@pytest.mark.parametrize("word", ["ids", "ids=", "=1,2", "ids=1,x", "ids=1,0", "ids=1,-2"])
def test_shape_is_refused_when_it_is_none(word: str) -> None:
    with pytest.raises(ConfigError, match="--shape") as caught:
        sizes([word])
    assert caught.value.exit_code == 2
    assert "--shape input=1,3,224,224" in str(caught.value)


@pytest.mark.parametrize(("word", "said"), [("id=1,2", "ids, scale"), ("ids=4", "2 axes, as in 1,3")])
def test_shape_is_refused_when_the_model_has_no_such_input(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        modes.shaped(JOB, sizes([word]))
    assert said in str(caught.value)
