"""Faults that were planted in real processes, each with its status and its exit code: wrong, crashed, hanging, leaking, slowed down, no library."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices import Ended, _runner, _toolchain
from edgedistill.devices.local import Local
from edgedistill.errors import DeviceError
from edgedistill.measure import agent, trust
from edgedistill.measure.run import failure

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("gcc"), reason="the faults are built by gcc on x86-64 Linux"
)
Run = Callable[[dict[str, Any], float], Ended]
LEAK = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static void *volatile lost;
int clock_gettime(clockid_t clock, struct timespec *into) {
    lost = malloc(32768);
    if (lost) memset(lost, 1, 32768);
    return (int)syscall(SYS_clock_gettime, clock, into);
}
"""
OLD = """
#include <stddef.h>
static const void *get_api(unsigned version) { (void)version; return NULL; }
static const char *get_version(void) { return "1.14.1"; }
static const struct { const void *(*get_api)(unsigned); const char *(*get_version)(void); } base = {get_api, get_version};
const void *OrtGetApiBase(void) { return &base; }
"""


def with_library(library: Path) -> Run:
    place = _runner.Place(runner=_toolchain.runner("x86_64"), library=library)
    return lambda job, deadline_s: _runner.execute(place, job, deadline_s, warm=_runner.Warm(max_passes=agent.WARM_MAX_PASSES))


RUNS = [
    pytest.param(Local().run, id="agent"),
    pytest.param(lambda job, deadline_s: with_library(_toolchain.here_library())(job, deadline_s), id="runner"),
]


def exit_code(result: dict[str, Any]) -> int:
    """What `bench` leaves with; 0 where the result is one."""
    found = failure({"devices": [{"device": "local", "status": result["status"], "detail": result.get("detail", "")}]})
    return found.exit_code if found else 0


def model(file: Path, nodes: list[Any], kinds: tuple[int, int], tensors: dict[str, Any] | None = None) -> Path:
    ins, outs = ([helper.make_tensor_value_info(name, kind, None)] for name, kind in zip("xy", kinds, strict=True))
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(value, name) for name, value in (tensors or {}).items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def job(file: Path, dtype: str = "float32", values: Any = (1.0, 2.0), **changes: Any) -> dict[str, Any]:
    feeds = [{"x": {"dtype": dtype, "values": list(values)}}]
    return {"model": str(file), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 5, "min_s": 0.0, **changes}


def compiled(folder: Path, name: str, source: str) -> Path:
    (folder / f"{name}.c").write_text(source, encoding="ascii")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(folder / f"{name}.so"), str(folder / f"{name}.c")], check=True)
    return folder / f"{name}.so"


@pytest.fixture
def product(tmp_path: Path) -> Path:
    """y = x · 2: about a tenth of a millisecond at [8, 512]."""
    weights = {"w": 2 * np.eye(512, dtype=np.float32)}
    return model(tmp_path / "product.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], (TensorProto.FLOAT, TensorProto.FLOAT), weights)


def product_job(product: Path, **changes: Any) -> dict[str, Any]:
    return job(product, values=[[1.0] * 512] * 8, picks=[{}], golden=[[[2.0] * 512] * 8], tolerance=1e-6, **changes)


@pytest.mark.parametrize("run", RUNS)
def test_code_is_6_when_the_weights_are_off(tmp_path: Path, run: Run) -> None:
    weights = {"w": 2.5 * np.eye(512, dtype=np.float32)}
    off = model(tmp_path / "off.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], (TensorProto.FLOAT, TensorProto.FLOAT), weights)
    result = run(product_job(off), 60).result
    assert (result["status"], result["worst_difference"], exit_code(result)) == ("wrong", 0.5, 6)


@pytest.mark.parametrize("run", RUNS)
def test_code_is_3_when_the_model_wants_more_memory_than_there_is(tmp_path: Path, run: Run) -> None:
    wide = model(tmp_path / "wide.onnx", [helper.make_node("ConstantOfShape", ["x"], ["y"])], (TensorProto.INT64, TensorProto.FLOAT))
    result = run(job(wide, "int64", [2**44]), 60).result
    assert (result["status"], exit_code(result)) == ("crashed", 3)
    assert "alloc" in result["detail"].lower()


def child(spawned: list[int], deadline_s: float = 20) -> int:
    """The process that a thread of this one has started."""
    until = time.monotonic() + deadline_s
    while time.monotonic() < until:
        for task in Path("/proc/self/task").iterdir():
            children = (task / "children").read_text(encoding="ascii").split() if (task / "children").is_file() else []
            if fresh := [int(pid) for pid in children if int(pid) not in spawned]:
                return fresh[0]
        time.sleep(0.01)
    raise AssertionError("no child was started")


def disturbed(run: Run, asked: dict[str, Any], disturb: Callable[[int], None]) -> dict[str, Any]:
    """The result of a job whose process is disturbed from outside."""
    _toolchain.runner("x86_64")  # else the compiler is the child
    there = [int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text(encoding="ascii").split()]
    results: list[dict[str, Any]] = []
    thread = threading.Thread(target=lambda: results.append(run(asked, 60).result))
    thread.start()
    disturb(child(there))
    thread.join()
    return results[0]


@pytest.mark.parametrize("run", RUNS)
def test_code_is_3_when_the_process_is_killed(product: Path, run: Run) -> None:
    def kill(pid: int) -> None:
        time.sleep(0.5)
        os.kill(pid, signal.SIGKILL)

    result = disturbed(run, product_job(product, min_s=30.0), kill)
    assert (result["status"], result["exit"], exit_code(result)) == ("crashed", -9, 3)
    assert "killed by SIGKILL" in result["detail"]


@pytest.mark.parametrize("run", RUNS)
def test_code_is_7_when_the_model_never_ends(tmp_path: Path, run: Run) -> None:
    """A loop of 2⁶² steps."""
    value = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (("i", 7, []), ("c", 9, []), ("a", 1, None))]
    out = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in (("d", 9, []), ("b", 1, None))]
    body = helper.make_graph([helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Neg", ["a"], ["b"])], "body", value, out)
    tensors = {"n": np.array(2**62, np.int64), "t": np.array(True)}
    hanging = model(
        tmp_path / "loop.onnx", [helper.make_node("Loop", ["n", "t", "x"], ["y"], body=body)], (TensorProto.FLOAT, TensorProto.FLOAT), tensors
    )
    result = run(job(hanging), 3).result
    assert (result["status"], exit_code(result)) == ("timeout", 7)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("leaks", [False, True])
def test_status_is_leaking_when_every_run_loses_memory(product: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, leaks: bool) -> None:
    """Every reading of the clock, two a run, loses 32 KiB: 100 runs lose 6.4 MiB. It is a result like others, with the code 0."""
    _toolchain.runner("x86_64")
    if leaks:
        monkeypatch.setenv("LD_PRELOAD", str(compiled(tmp_path, "leak", LEAK)))
    result = run(product_job(product, min_runs=100), 60).result
    found = trust.judged([result])
    grown = result["resident_mib"][-1] - result["resident_mib"][0]
    assert exit_code(result) == 0
    assert (found.status == "leaking") == leaks
    assert grown >= 100 * 2 * 32 / 1024 if leaks else grown < 1


@pytest.mark.parametrize("run", RUNS)
def test_status_is_throttled_when_the_process_gets_a_quarter_of_the_cpu_later(product: Path, run: Run) -> None:
    """Minutes of two seconds; from some time after the first one on, the process is stopped for 15 of every 20 ms."""

    def hold_back(pid: int) -> None:
        time.sleep(5.0)
        while Path(f"/proc/{pid}/task").is_dir():
            try:
                for one, seconds in ((signal.SIGSTOP, 0.015), (signal.SIGCONT, 0.005)):
                    os.kill(pid, one)
                    time.sleep(seconds)
            except ProcessLookupError:
                return

    result = disturbed(run, product_job(product, min_s=9.0), hold_back)
    found = trust.judged([result], minute_s=2.0)
    assert exit_code(result) == 0
    assert found.status == "throttled"
    assert found.figures["first_over_last"] > 1.3
    assert "in the last minute" in found.why[0]


def test_code_is_7_when_the_library_is_older_than_its_api(product: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"ONNX Runtime 1\.14\.1, whose API version is too old: 21") as caught:
        with_library(compiled(tmp_path, "old", OLD))(product_job(product), 60)
    assert caught.value.exit_code == 7


def test_code_is_7_when_the_library_is_of_32_bits(product: Path, tmp_path: Path) -> None:
    """The head of an ELF file of the other class: 32 bits, little-endian, a shared object for i386."""
    library = tmp_path / "libonnxruntime.so"
    library.write_bytes(
        b"\x7fELF" + bytes([1, 1, 1]) + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 3, 3, 1, 0, 52, 0, 0, 52, 32, 0, 40, 0, 0) + bytes(4096)
    )
    with pytest.raises(DeviceError, match="wrong ELF class: ELFCLASS32") as caught:
        with_library(library)(product_job(product), 60)
    assert caught.value.exit_code == 7


def test_code_is_7_when_the_library_is_not_onnx_runtime(product: Path, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="is not ONNX Runtime"):
        with_library(compiled(tmp_path, "other", "int nothing;"))(product_job(product), 60)


@pytest.mark.filterwarnings("ignore")
def test_code_is_7_when_the_provider_is_not_here(product: Path) -> None:
    result = Local().run(product_job(product, provider="CUDAExecutionProvider"), 60).result
    if "CUDAExecutionProvider" in result.get("providers", ()):
        pytest.skip("this machine has CUDA")
    assert (result["status"], exit_code(result)) == ("no_provider", 7)
    assert "CUDAExecutionProvider is not in this onnxruntime" in result["detail"]
    assert "samples_ms" not in result  # the CPU's time is not told under another's name
