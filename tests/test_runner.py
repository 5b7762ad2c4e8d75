"""The C runner beside the Python agent on the same jobs: the same keys, the same answers, the same verdicts."""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices import _runner, _toolchain
from edgedistill.devices.local import Local
from edgedistill.errors import DeviceError
from edgedistill.measure import agent, modes

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64" or not shutil.which("gcc"), reason="the runner is built by gcc on x86-64 Linux"
)
TABLE = np.arange(20, dtype=np.float32).reshape(10, 2)


def save(file: Path, nodes: list[Any], inputs: dict[str, int], outputs: dict[str, int], tensors: dict[str, Any]) -> Path:
    ins, outs = ([helper.make_tensor_value_info(name, kind, None) for name, kind in some.items()] for some in (inputs, outputs))
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logits = Σ over tokens of table[id], and a second output that nobody compares."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "axis"], ["logits"], keepdims=0),
    ]
    file = tmp_path_factory.mktemp("runner") / "summed.onnx"
    outputs = {"logits": TensorProto.FLOAT, "tokens": TensorProto.FLOAT}
    return save(file, nodes, {"input_ids": TensorProto.INT64}, outputs, {"table": TABLE, "axis": np.array([1], np.int64)})


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logits [1, s, 2] = table[id], an answer for each token."""
    file = tmp_path_factory.mktemp("runner") / "tokens.onnx"
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits"])]
    return save(file, nodes, {"input_ids": TensorProto.INT64}, {"logits": TensorProto.FLOAT}, {"table": TABLE})


def job(model: Path, **changes: Any) -> dict[str, Any]:
    golden = [[[0 + 2 + 4, 1 + 3 + 5]], [[18, 19]]]  # rows [0, 1, 2] and [9]
    feeds = [{name: {"dtype": "int64", "values": [ids]} for name in ("input_ids", "attention_mask")} for ids in ([0, 1, 2], [9])]
    base = {"model": str(model), "feeds": feeds, "picks": [{}, {}], "provider": "CPUExecutionProvider", "threads": 1}
    return {**base, "min_runs": 5, "min_s": 0.01, "golden": golden, "tolerance": 1e-6, **changes}


def run(job: dict[str, Any], deadline_s: float = 60, **changes: Any) -> _runner.Ended:
    place = _runner.Place(runner=_toolchain.runner("x86_64"), library=_toolchain.here_library())
    return _runner.execute(place, job, deadline_s, warm=changes.pop("warm", _runner.Warm(max_passes=50)), **changes)


def test_runner_says_what_the_agent_says_when_given_the_same_job(summed: Path) -> None:
    theirs, ours = agent.measure(job(summed)), run(job(summed)).result
    assert list(ours) == list(theirs)
    same = ("status", "worst_difference", "onnxruntime", "providers")
    assert {name: ours[name] for name in same} == {name: theirs[name] for name in same}
    assert len(ours["samples_ms"]) >= 5
    assert len(ours["samples_ms"]) % 2 == 0  # whole passes over both rows
    assert 4 <= len(ours["warmups_ms"]) <= 2 * agent.WARM_MAX_PASSES  # two windows at least
    assert 0 < np.median(ours["samples_ms"]) < ours["load_ms"]
    assert 0 < ours["peak_mib"] < 100
    for name in ("before", "after"):
        assert list(ours[name]) == list(theirs[name])
    for name, count in (("resident_mib", agent.QUARTERS + 1), ("probe_before_ms", agent.PROBES), ("probe_after_ms", agent.PROBES)):
        assert len(ours[name]) == len(theirs[name]) == count
        assert min(ours[name]) > 0
    assert 0.5 * ours["peak_mib"] < ours["resident_mib"][0] - ours["baseline_mib"] < 1.1 * ours["peak_mib"]
    ticks = [result["after"]["ticks"] - result["before"]["ticks"] for result in (theirs, ours)]
    assert min(ticks) >= 0


def test_runner_is_warm_when_the_agent_is() -> None:
    warm = _runner.Warm(max_passes=agent.WARM_MAX_PASSES)
    assert (warm.max_s, warm.min_s, warm.change) == (agent.WARM_MAX_S, agent.WARM_MIN_S, agent.WARM_CHANGE)


@pytest.mark.parametrize(
    ("golden", "status", "worst"),
    [
        ([[[6, 9]], [[18, 19]]], "ok", 0),
        ([[[6]], [[18]]], "ok", 0),  # more columns than golden ones are cut off
        ([[[6, 9]], [[18, 20]]], "wrong", 1),
        ([[[6, 9], [6, 9]], [[18, 19]]], "wrong", np.inf),
        ([[[6, 9, 0]], [[18, 19]]], "wrong", np.inf),
    ],
)
def test_verdicts_are_the_agents_when_the_golden_answers_differ(summed: Path, golden: Any, status: str, worst: float) -> None:
    asked = job(summed, golden=golden, min_s=0.0)
    for result in (agent.measure(asked), run(asked).result):
        assert (result["status"], result["worst_difference"]) == (status, worst)


@pytest.mark.parametrize(
    ("picks", "wanted"),
    [
        ({"row": [0, 0], "at": [2, 0]}, [[10, 11], [6, 7]]),
        ({"row": [[0, 0], [0, 0]], "at": [[0, 2], [1, 2]], "side": [[0, 0], [1, 1]]}, [[6, 10], [9, 11]]),
    ],
)
def test_answers_are_picked_as_numpy_does_when_only_some_count(tokens: Path, picks: dict[str, Any], wanted: list[list[int]]) -> None:
    feeds = [{"input_ids": {"dtype": "int64", "values": [[3, 4, 5]]}}]  # logits [[[6, 7], [8, 9], [10, 11]]]
    off = [wanted[0], [wanted[1][0], wanted[1][1] - 0.25]]
    for golden, status, worst in ((wanted, "ok", 0.0), (off, "wrong", 0.25)):
        asked = job(tokens, feeds=feeds, picks=[picks], golden=[golden], min_s=0.0)
        for result in (agent.measure(asked), run(asked).result):
            assert (result["status"], result["worst_difference"]) == (status, worst)


KINDS = [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32]
KINDS += [TensorProto.UINT32, TensorProto.INT64, TensorProto.UINT64, TensorProto.BOOL, TensorProto.FLOAT]


@pytest.mark.parametrize("kind", KINDS)
def test_every_output_is_checked_as_the_agent_does_when_the_model_is_foreign(tmp_path: Path, kind: int) -> None:
    """y is x in another type, z its sum: off by 0.5 at a scale of 4 is an eighth."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=kind), helper.make_node("ReduceSum", ["x"], ["z"], keepdims=0)]
    model = save(tmp_path / "cast.onnx", nodes, {"x": TensorProto.FLOAT}, {"y": kind, "z": TensorProto.FLOAT}, {})
    values = [[0.0, 1.0, 1.0]] if kind == TensorProto.BOOL else [[0.0, 3.0, 100.0]]
    feeds = [{"x": {"dtype": "float32", "values": values}}]
    total = sum(values[0])
    for y, z, status, worst in (
        (values, total, "ok", 0.0),
        ([[0.0, values[0][1] + 0.5, values[0][2]]], total, "wrong", 0.125),
        (values, total + 3.0, "wrong", 3.0),
        (values[0], total, "wrong", np.inf),
        ([values[0][:2]], total, "wrong", np.inf),  # here the whole output counts
        (values, [total], "wrong", np.inf),
    ):
        asked = job(model, feeds=feeds, golden=None, min_s=0.0, min_runs=0, tolerance=0.01)
        asked |= {"tensors": [[z, y]], "outputs": ["z", "y"], "scales": [1.0, 4.0]}
        for result in (agent.measure(asked), run(asked).result):
            assert (result["status"], result["worst_difference"]) == (status, worst)


@pytest.mark.parametrize("value", [0.0, -0.0, 1.5, -65504.0, 6e-8, 2.0**-14, np.inf])
def test_half_precision_is_read_as_numpy_does_when_an_answer_has_it(tmp_path: Path, value: float) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = save(tmp_path / "half.onnx", nodes, {"x": TensorProto.FLOAT16}, {"y": TensorProto.FLOAT16}, {})
    feeds = [{"x": {"dtype": "float16", "values": [value]}}]
    wanted = float(np.float16(value)) - 1.0 if np.isfinite(value) else 0.0
    asked = job(model, feeds=feeds, golden=None, min_s=0.0, min_runs=0, tensors=[[[wanted]]], outputs=["y"], scales=[1.0])
    assert run(asked).result["worst_difference"] == agent.measure(asked)["worst_difference"] == (1.0 if np.isfinite(value) else np.inf)


def test_job_is_refused_when_a_golden_output_is_none_of_the_models(summed: Path) -> None:
    asked = job(summed, golden=None, tensors=[[[[1.0]]]] * 2, outputs=["none"], scales=[1.0])
    result = run(asked).result
    assert result["status"] == "crashed"
    assert "none: is no output" in result["detail"]


@pytest.mark.parametrize("batch", [1, 64])
def test_batches_are_timed_and_single_rows_checked_when_a_batch_is_asked(tmp_path: Path, batch: int) -> None:
    """Every row goes through a 256 × 256 product sixteen times over, so 64 rows take far longer than one; the answer of one is checked by hand."""
    nodes = [helper.make_node("MatMul", [f"h{layer}", "eye"], [f"h{layer + 1}"]) for layer in range(16)]
    nodes[0].input[0], nodes[-1].output[0] = "x", "y"
    model = save(tmp_path / "deep.onnx", nodes, {"x": TensorProto.FLOAT}, {"y": TensorProto.FLOAT}, {"eye": 2 * np.eye(256, dtype=np.float32)})
    feeds = [{"x": {"dtype": "float32", "values": [[1.0] * 256]}}]
    (asked,) = modes.swept(job(model, feeds=feeds, picks=[{}], golden=[[[2.0**16] * 256]]), threads=[1], batches=[batch])
    for result in (Local().run(asked, 60).result, run(asked).result):
        assert (result["status"], result["worst_difference"]) == ("ok", 0)
        assert len(result["samples_ms"]) >= 5
        fastest = min(result["samples_ms"])
        assert fastest > 0.5 if batch == 64 else fastest < 0.5  # 64 rows: 134 million products and sums, 270 Gflop/s at 0.5 ms


def test_answers_come_back_whole_when_they_are_asked_for(tokens: Path) -> None:
    feeds = [{"input_ids": {"dtype": "int64", "values": [ids]}} for ids in ([3, 4, 5], [0])]
    found = run(job(tokens, feeds=feeds, golden=None, answers=True), warm=_runner.NOT).answers
    assert [one.tolist() for one in found] == [[[[6, 7], [8, 9], [10, 11]]], [[[0, 1]]]]
    assert {one.dtype for one in found} == {np.dtype("float32")}


def test_status_is_wrong_when_an_answer_is_no_number(tmp_path: Path) -> None:
    model = save(tmp_path / "log.onnx", [helper.make_node("Log", ["x"], ["y"])], {"x": TensorProto.FLOAT}, {"y": TensorProto.FLOAT}, {})
    feeds = [{"x": {"dtype": "float32", "values": [[-1.0, 1.0]]}}]
    result = run(job(model, feeds=feeds, picks=[{}], golden=[[[0.0, 0.0]]], tolerance=1e9)).result
    assert (result["status"], result["worst_difference"]) == ("wrong", np.inf)


def test_nothing_is_timed_when_nothing_is_to_be(summed: Path) -> None:
    result = run(job(summed, min_runs=0, min_s=0.0), warm=_runner.NOT).result
    assert (result["status"], result["samples_ms"], result["warmups_ms"]) == ("ok", [], [])
    untimed = agent.measure(job(summed, min_runs=0, min_s=0.0))
    empty = ("samples_ms", "warmups_ms", "resident_mib", "before", "after", "probe_before_ms", "probe_after_ms")
    assert {name: result[name] for name in empty} == {name: untimed[name] for name in empty}
    assert not any(result[name] for name in empty)


def test_status_is_crashed_when_the_model_is_none(tmp_path: Path) -> None:
    result = run(job(tmp_path / "none.onnx")).result
    assert result["status"] == "crashed"
    assert "none.onnx" in result["detail"]


def test_status_is_timeout_when_the_deadline_passes(summed: Path) -> None:
    assert run(job(summed, min_s=60.0), deadline_s=2).result["status"] == "timeout"


def test_job_is_refused_when_the_runner_has_no_such_provider(summed: Path) -> None:
    with pytest.raises(DeviceError, match="CUDAExecutionProvider"):
        run(job(summed, provider="CUDAExecutionProvider"))


@pytest.mark.parametrize(
    ("make", "command"),
    [
        (lambda: _toolchain.runner("x86_64"), "apt-get install gcc"),
        (lambda: _toolchain.runner("aarch64"), "apt-get install g++-aarch64-linux-gnu"),
        (_toolchain.qemu, "apt-get install qemu-user"),
        (_toolchain.arm_libraries, "apt-get install g++-aarch64-linux-gnu"),
        (_toolchain.arm_library, "pip download"),
    ],
)
def test_error_names_the_command_when_a_tool_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Any, command: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("EDGEDISTILL_TOOLS", str(tmp_path / "tools"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr(_toolchain, "ARM_ROOT", tmp_path)
    monkeypatch.setattr(_toolchain, "find_spec", lambda name: None)
    with pytest.raises(DeviceError) as caught:
        make()
    assert caught.value.exit_code == 7
    assert command in caught.value.hint
    assert not list(tmp_path.glob("tools/*"))


def test_tool_is_made_once_when_its_sources_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGEDISTILL_TOOLS", str(tmp_path))
    first = _toolchain.runner("x86_64")
    made = first.stat().st_mtime_ns
    assert _toolchain.runner("x86_64") == first
    assert first.stat().st_mtime_ns == made
    assert [file.name for file in tmp_path.iterdir()] == [first.parent.name]  # nothing unfinished is left
