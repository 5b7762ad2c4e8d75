"""However slow a device is, or however many threads wait for each other on it, a bench ends, says where it was cut short, and keeps what it has."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_cases import feed, hanging, job
from test_visit import FACTS, MadeUp

from edgedistill.devices import Ended, _cores, _runner, _toolchain, local
from edgedistill.errors import DeviceError
from edgedistill.measure import modes, run, trust, turns, visit
from edgedistill.measure.subjects import Asked, Subject
from edgedistill.progress import Progress, silent

MODE = modes.Mode(min_runs=8, min_s=0.008, processes=4, most_s=10.0)


def took(each_s: float, runs: int = 2) -> dict[str, Any]:
    return {"warmups_ms": [each_s * 1e3], "samples_ms": [each_s * 1e3] * runs}


@pytest.mark.parametrize(("each_s", "made", "cut"), [(0.5, 4, ""), (2.0, 2, "after 2 of 4 processes: the slow ran for 12 s, and may for 10 s")])
def test_no_turn_begins_when_a_subjects_time_is_up(each_s: float, made: int, cut: str) -> None:
    """Three runs a process: 1.5 s four times, or 6 s until 12 s are more than 10."""
    taken = turns.take(["slow", "fast"], MODE, lambda name, turn: took(each_s if name == "slow" else 0.01))
    assert {name: len(some) for name, some in taken.results.items()} == {"slow": made, "fast": made}
    assert taken.cut.get("slow", "") == taken.cut.get("fast", "") == cut


def test_what_was_taken_is_kept_when_a_later_process_is_late() -> None:
    def late(name: str, turn: int) -> dict[str, Any]:
        if (name, turn) == ("b", 2):
            raise turns.LateError("timeout", "the b: no result in 9 s")
        return took(0.01)

    taken = turns.take(["a", "b"], MODE, late)
    assert {name: len(some) for name, some in taken.results.items()} == {"a": 2, "b": 2}
    assert taken.cut["a"] == "after 2 of 4 processes: the b: no result in 9 s"


def test_bench_has_nothing_when_the_first_process_is_late() -> None:
    def late(name: str, turn: int) -> dict[str, Any]:
        raise turns.LateError("timeout", "the a: no result in 9 s", "fewer threads")

    with pytest.raises(turns.LateError, match="no result in 9 s"):
        turns.take(["a"], MODE, late)


@pytest.mark.parametrize(("runs", "cut"), [(2, ""), (1, "4 runs in 0.0 s of at least 8 in 0 s, for the mode gives 10 s to a model")])
def test_missing_runs_are_told_when_processes_stopped_before_their_share(runs: int, cut: str) -> None:
    assert turns.take(["a"], MODE, lambda name, turn: took(0.01, runs)).cut.get("a", "") == cut


def test_status_is_cut_short_before_anything_else_when_it_was() -> None:
    noisy = [{"samples_ms": [value], "resident_mib": [9.0]} for value in (1.0, 2.0, 3.0)]
    assert trust.judged(noisy).status == "noisy"
    found = trust.judged(noisy, cut="after 3 of 8 processes: why")
    assert (found.status, found.why[0]) == ("cut short", "cut short: after 3 of 8 processes: why")


@pytest.mark.parametrize("agent", ["python", "c", "node"])
def test_agent_begins_no_second_pass_when_its_time_is_up(agent: str, tmp_path: Path) -> None:
    """Ten thousand runs of some 20 ms are asked for: two rows are warmed up and two are timed, whole passes all the same."""
    asked = job(hanging(tmp_path / "slow.onnx", 3_000), feeds=[feed(a=np.float32(value)) for value in (0, 1)], picks=[{}] * 2, golden=None)
    asked |= {"min_runs": 10_000, "min_s": 60.0, "max_s": 0.001}
    started = time.monotonic()
    if agent == "python":
        result = local.Local().run(asked, 60).result
    elif agent == "c":
        place = _runner.Place(runner=_toolchain.runner("x86_64"), library=_toolchain.here_library())
        result = _runner.execute(place, asked, 60, warm=_runner.Warm()).result
    else:
        from edgedistill import devices

        try:
            node = devices.connect("node")
        except DeviceError as error:
            pytest.skip(str(error))
        result = node.run(asked, 60).result
    assert result["status"] == "ok"
    assert (len(result["warmups_ms"]), len(result["samples_ms"])) == (2, 2)
    assert time.monotonic() - started < 30


def test_job_of_a_mode_has_its_share_of_the_time_when_it_is_run_in_processes() -> None:
    """Warm-up and samples each have half of a process's share."""
    for mode in modes.MODES.values():
        assert modes.pace(mode)["max_s"] * 2 * mode.processes == mode.most_s > 2 * mode.min_s
    assert [mode.last_s for mode in modes.MODES.values()] == [900, 900, 3600, 7200]


def test_slow_model_ends_in_its_bound_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run takes some 20 ms, eight are a pass, and the mode gives 0.3 s: a pass of warm-up and one of samples a process, in one or two of 50."""
    monkeypatch.setitem(modes.MODES, "smoke", modes.Mode(10_000, 100.0, processes=50, most_s=0.3, last_s=60.0))  # type: ignore[misc]
    started = time.monotonic()
    document = run.measure_file(hanging(tmp_path / "slow.onnx", 3_000), run.Plan(mode="smoke"), Progress(silent, "bench"))
    assert time.monotonic() - started < 60
    (entry,) = document["devices"]
    assert entry["trust"]["model"]["status"] == "cut short"
    assert "of 50 processes" in entry["trust"]["model"]["why"][0]
    latency = next(one for one in document["measurements"] if one["metric"] == "latency_ms")
    assert len(latency["samples"]) % 8 == 0
    assert 8 <= len(latency["samples"]) < 10_000
    assert run.failure(document) is None


def test_device_error_names_the_limit_and_the_way_out_when_there_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modes.MODES, "smoke", modes.Mode(64, 6.0, last_s=2.0))  # type: ignore[misc]
    document = run.measure_file(hanging(tmp_path / "slow.onnx"), run.Plan(mode="smoke"), Progress(silent, "bench"))
    failed = run.failure(document)
    assert isinstance(failed, DeviceError)
    assert "timeout: the model: no result in 2 s" in str(failed)
    assert "--threads 1" in failed.hint
    assert "--mode full" in failed.hint


class Small(MadeUp):
    """Two cores; says how many threads each job had."""

    def facts(self) -> dict[str, Any]:
        return {**FACTS, "cores": 2}

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        self.threads = job["threads"]
        return super().run(job, deadline_s)


@pytest.mark.parametrize(("threads", "said"), [(2, []), (16, ["made-up has 2 usable cores for 16 threads, which wait for each other: --threads 2"])])
def test_device_is_named_with_its_cores_when_more_threads_are_asked_for(threads: int, said: list[str]) -> None:
    heard: list[str] = []
    device = Small({"model": 1.0}, own_mib=9.0)
    asked = Asked(subjects=[Subject(name="model", job={"model": "model", "feeds": []}, bytes=1)], baseline="model", note="", about={})
    visit.visit(device, asked, visit.Pace(mode=MODE, threads=threads), lambda *_: None, heard.append)
    assert [one.partition(" is the most")[0] for one in heard] == said
    assert device.threads == threads


@pytest.mark.parametrize(
    ("group", "files", "cores"),
    [
        ("0::/a/b", {"a/b/cpu.max": "150000 100000", "a/cpu.max": "max 100000"}, [1.5]),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, [0.5]),
        ("0::/", {"cpu.max": "300000 100000"}, [3.0]),
        ("0::/", {"unified/cpu.max": "300000 100000"}, [3.0]),
        ("2:cpu,cpuacct:/a", {"cpu,cpuacct/a/cpu.cfs_quota_us": "250000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"}, [2.5]),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, []),
        ("8:pids:/", {"pids/cpu.cfs_quota_us": "1000", "pids/cpu.cfs_period_us": "100000"}, []),
        ("0::/", {"cpu.max": "junk"}, []),
    ],
)
def test_quota_is_read_of_every_group_around_when_either_version_has_one(
    group: str, files: dict[str, str], cores: list[float], tmp_path: Path
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group + "\n", encoding="ascii")
    for name, text in files.items():
        place = tmp_path / "sys/fs/cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text + "\n", encoding="ascii")
    assert sorted(set(_cores.quotas(tmp_path))) == cores
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert _cores.usable(tmp_path) == max(1, min([here, *(int(np.ceil(one)) for one in cores)]))


def test_bench_with_more_threads_than_cores_warns_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(modes.MODES, "smoke", modes.Mode(8, 0.001, processes=1, most_s=0.1, last_s=60.0))  # type: ignore[misc]
    heard: list[str] = []
    progress = Progress(lambda event: heard.append(event.text), "bench")
    document = run.measure_file(hanging(tmp_path / "x.onnx", 10), run.Plan(mode="smoke", threads=[local.cores() + 1]), progress)
    assert document["devices"][0]["status"] == "ok"
    assert any(
        f"local has {local.cores()} usable core" in one and f"for {local.cores() + 1} threads, which wait for each other" in one for one in heard
    )
