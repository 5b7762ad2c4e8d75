"""What the agents read of a machine: a recorded tree of /proc and /sys by hand, memory against weights of known size, joules by hand."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices import Ended, _runner, _toolchain
from edgedistill.devices.local import AGENT, Local
from edgedistill.measure import agent, conditions, trust

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's counters are Linux's")
compiled = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("gcc"), reason="the runner is built by gcc on x86-64 Linux"
)
TREE = {
    "proc/loadavg": "1.25 0.80 0.40 2/345 6789",
    "proc/stat": "cpu  100 20 30 700 50 4 6 90 15 0\ncpu0 1 1 1 1 1 1 1 1 0 0",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1800000",
    "sys/devices/system/cpu/cpu4/cpufreq/scaling_cur_freq": "2400000",
    "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "3",
    "sys/devices/system/cpu/cpu4/thermal_throttle/core_throttle_count": "4",
    "sys/class/thermal/thermal_zone0/temp": "41500",
    "sys/class/thermal/thermal_zone1/temp": "63250",
    "sys/class/thermal/thermal_zone2/temp": "",  # asleep
    "sys/class/powercap/intel-rapl:0/energy_uj": "123456789",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/power_supply/battery/charge_counter": "2750000",
    "sys/class/power_supply/battery/voltage_now": "3850000",
}
SEEN = {
    "load_1min": 1.25,
    "governor": "schedutil",
    "mhz": 2100,
    "celsius": 63.25,
    "throttles": 7,
    "energy_uj": 123456789,
    "energy_wrap_uj": 262143328850,
    "battery_uah": 2750000,
    "battery_uv": 3850000,
    "ticks": 1000,
    "ticks_iowait": 50,
    "ticks_steal": 90,
}


def runner_job(job: dict[str, Any], deadline_s: float = 60) -> Ended:
    place = _runner.Place(runner=_toolchain.runner("x86_64"), library=_toolchain.here_library())
    return _runner.execute(place, job, deadline_s, warm=_runner.Warm(max_passes=agent.WARM_MAX_PASSES))


AGENTS = [
    pytest.param([sys.executable, "-I", str(AGENT)], id="agent"),
    pytest.param(None, id="runner", marks=compiled),
]
RUNS = [pytest.param(Local().run, id="agent"), pytest.param(runner_job, id="runner", marks=compiled)]


@pytest.mark.parametrize("command", AGENTS)
def test_readings_are_the_trees_when_a_machine_is_recorded(tmp_path: Path, command: list[str] | None) -> None:
    for place, text in TREE.items():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(text and f"{text}\n", encoding="ascii")
    told = subprocess.run([*(command or [str(_toolchain.runner("x86_64"))]), str(tmp_path)], capture_output=True, text=True, check=True).stdout
    found = json.loads(told)
    assert min(found.pop("preempted"), found.pop("cpu_s")) >= 0
    assert list(found) == list(SEEN)
    assert found == pytest.approx(SEEN)


@pytest.mark.parametrize("command", AGENTS)
def test_readings_are_absent_when_the_machine_gives_none(tmp_path: Path, command: list[str] | None) -> None:
    told = subprocess.run([*(command or [str(_toolchain.runner("x86_64"))]), str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert list(json.loads(told)) == ["cpu_s", "preempted"]


def test_device_tells_no_counters_when_asked_for_its_conditions() -> None:
    assert {"load_1min"} <= Local().conditions().keys() <= {"load_1min", "governor", "mhz", "celsius"}


def test_conditions_are_differences_when_two_readings_are_given() -> None:
    """By hand: 60 of 400 ticks were stolen and 20 waited, 50 samples of 80 ms took 3 J and 60 ms of a CPU."""
    before = {**SEEN, "preempted": 2, "cpu_s": 1.0}
    after = before | {"mhz": 1900, "throttles": 9, "ticks": 1400, "ticks_iowait": 70, "ticks_steal": 150, "preempted": 7, "cpu_s": 1.06}
    after["energy_uj"] += 3e6
    result = {"before": before, "after": after, "samples_ms": [1.0] * 20 + [2.0] * 30, "resident_mib": [40.0, 40.0, 41.0, 41.0, 41.5]}
    told = {"latency_ms": 2.0, "governor": "schedutil", "load_1min": 1.25, "celsius": 63.25, "mhz": 2000, "throttles": 2, "preempted": 5}
    told |= {"cpu_ms": 1.2, "cpu_share": 0.75}
    assert conditions.during(result) == pytest.approx({**told, "steal": 0.15, "iowait": 0.05, "joules": 0.06, "grown_mib": 1.5})


def test_joules_go_on_when_the_counter_starts_again() -> None:
    before, after = {"energy_uj": 9e6, "energy_wrap_uj": 10e6}, {"energy_uj": 1e6, "energy_wrap_uj": 10e6}
    assert conditions.joules(before, after) == pytest.approx(2.0)


def test_joules_are_charge_times_voltage_when_there_is_a_battery() -> None:
    """1 mAh is 3.6 C; at 3.9 V on the mean that is 14.04 J."""
    assert conditions.joules({"battery_uah": 5000, "battery_uv": 4.0e6}, {"battery_uah": 4000, "battery_uv": 3.8e6}) == pytest.approx(14.04)


@pytest.mark.parametrize("after", [{"battery_uah": 5000, "battery_uv": 4e6}, {"battery_uah": 6000, "battery_uv": 4e6}, {}])
def test_joules_are_absent_when_no_counter_moved(after: dict[str, float]) -> None:
    assert conditions.joules({"battery_uah": 5000, "battery_uv": 4e6}, after) is None


def test_empty_graph_is_one_identity_when_read_by_onnx() -> None:
    model = onnx.load(conditions.EMPTY)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    assert not model.graph.initializer


WEIGHTS_MIB = 64


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, Any]]:
    """A job on a model that reads one column of 64 MiB of weights, 1 KiB a row: every page of them; inside the file or beside it."""
    folder = tmp_path_factory.mktemp("weights")
    table = np.random.default_rng(0).normal(size=(WEIGHTS_MIB * 1024, 256)).astype(np.float32)

    @cache
    def make(beside: bool) -> dict[str, Any]:
        file = folder / f"{beside}.onnx"
        inputs, outputs = (helper.make_tensor_value_info(name, kind, None) for name, kind in (("at", TensorProto.INT64), ("y", TensorProto.FLOAT)))
        graph = helper.make_graph(
            [helper.make_node("Gather", ["table", "at"], ["y"], axis=1)], "g", [inputs], [outputs], [numpy_helper.from_array(table, "table")]
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
        onnx.save(model, file, save_as_external_data=beside, location=f"{beside}.weights")
        feeds = [{"at": {"dtype": "int64", "values": [3]}}]
        return {"model": str(file), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 5, "min_s": 0.0}

    return make


@linux
@pytest.mark.parametrize(("beside", "times"), [(True, 1), (False, 2)], ids=["mapped", "parsed and copied"])
def test_peak_is_the_weights_size_when_it_is_known(weights: Any, beside: bool, times: int) -> None:
    """Weights beside the file are mapped; those inside are in the parsed file and in the tensor at the same time. Both agents agree."""
    runs = [Local().run, *([runner_job] if shutil.which("gcc") and platform.machine() == "x86_64" else [])]
    job = weights(beside)
    peaks = []
    for run in runs:
        own = run({**job, "model": str(conditions.EMPTY), "feeds": [{"x": {"dtype": "float32", "values": [0.0]}}]}, 60).result["peak_mib"]
        peaks.append(run(job, 60).result["peak_mib"] - own)
        assert 5 < own < 20
    assert peaks == pytest.approx([times * WEIGHTS_MIB] * len(runs), rel=0.1)
    assert max(peaks) - min(peaks) < 0.05 * WEIGHTS_MIB


def test_own_memory_is_an_empty_sessions_when_asked_of_a_device(weights: Any) -> None:
    found = conditions.own_mib(Local(), weights(True))
    assert found is not None
    assert 1 < found < 20


@linux
def test_parent_is_idle_when_a_child_measures(weights: Any) -> None:
    job = {**weights(True), "min_s": 5.0}
    before, started = os.times(), time.perf_counter()
    result = Local().run(job, 60).result
    after, wall_s = os.times(), time.perf_counter() - started
    ours, child = ((after[at] + after[at + 1]) - (before[at] + before[at + 1]) for at in (0, 2))
    assert result["status"] == "ok"
    assert child > 1  # it measured, and its time is counted
    assert ours < 0.01 * wall_s


@linux
@pytest.mark.parametrize("run", RUNS)
def test_preemptions_are_counted_when_others_want_the_cpu(weights: Any, run: Any) -> None:
    """A spinner pinned to the same CPU: the process is put off it again and again."""
    cpu = min(os.sched_getaffinity(0))
    spin = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\nwhile True: pass"
    spinner = subprocess.Popen([sys.executable, "-c", spin])
    results: list[Any] = []
    try:
        thread = threading.Thread(target=lambda: (os.sched_setaffinity(0, {cpu}), results.append(run({**weights(True), "min_s": 1.0}, 60).result)))
        thread.start()
        thread.join()
    finally:
        spinner.kill()
        spinner.wait()
    assert conditions.during(results[0])["preempted"] >= 10


@linux
@pytest.mark.parametrize("run", RUNS)
def test_samples_do_not_count_as_a_leak_when_there_are_a_million(run: Any) -> None:
    """A graph of microseconds: eight bytes a sample are some MiB, and none of the model's."""
    feeds = [{"x": {"dtype": "float32", "values": [0.0]}}]
    job = {"model": str(conditions.EMPTY), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 600_000, "min_s": 0.0}
    assert np.diff(run(job, 120).result["resident_mib"]).min() < trust.LEAK_MIB
