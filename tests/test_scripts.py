"""Node.js and Chromium as devices: the agent's phases, keys and verdicts, on sums done by hand and beside ONNX Runtime's answers here."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from foreign_models import endless
from onnxruntime.quantization import QuantType, quantize_dynamic
from processes import alive, watched
from script_models import LONGEST, WORDS, bert, ids, job, same, save, summed, tokens

from edgedistill import devices
from edgedistill.devices import _npm, browser
from edgedistill.errors import ConfigError, DeviceError
from edgedistill.measure import agent, trust

PACKAGES = {"node": ("onnxruntime-node", "onnxruntime-common"), "browser:wasm": ("onnxruntime-web",)}
TOOLS = {"node": ("node",), "browser:wasm": browser.NAMES}
GOLDEN = [[[0 + 2 + 4, 1 + 3 + 5]], [[18, 19]]]  # of rows [0, 1, 2] and [9]


@pytest.fixture(scope="module", params=[pytest.param("node", marks=pytest.mark.node), pytest.param("browser:wasm", marks=pytest.mark.browser)])
def device(request: pytest.FixtureRequest) -> Iterator[Any]:
    if not any(map(shutil.which, TOOLS[request.param])):
        pytest.skip(f"none of {', '.join(TOOLS[request.param])} is here")
    try:
        _npm.package(*PACKAGES[request.param])
    except DeviceError as error:
        pytest.skip(str(error))
    with closing(devices.connect(request.param)) as found:
        yield found


def golden_job(folder: Path, **changes: Any) -> dict[str, Any]:
    feeds = ids([0, 1, 2], [9])
    return job(summed(folder / "summed.onnx"), feeds, picks=[{}, {}], golden=GOLDEN, tolerance=1e-6, **changes)


def test_it_says_what_the_agent_says_when_given_the_same_job(device: Any, tmp_path: Path) -> None:
    asked = golden_job(tmp_path, min_runs=30, min_s=0.05)
    theirs, ours = agent.measure(asked), device.run(asked, 60).result
    assert list(ours) == list(theirs)
    same_ones = ("status", "worst_difference", "providers")
    assert {name: ours[name] for name in same_ones} == {name: theirs[name] for name in same_ones}
    assert ours["onnxruntime"] == _npm.PACKAGES["onnxruntime-web"].version
    assert len(ours["samples_ms"]) >= 30
    assert len(ours["samples_ms"]) % 2 == 0  # whole passes over both rows
    assert sum(ours["samples_ms"]) >= 50  # at least min_s inside them
    assert 4 <= len(ours["warmups_ms"]) <= 2 * agent.WARM_MAX_PASSES
    assert 0 < np.median(ours["samples_ms"]) < ours["first_ms"] < ours["load_ms"]
    assert ours["import_ms"] > 1


def test_nothing_is_timed_when_nothing_is_to_be(device: Any, tmp_path: Path) -> None:
    result = device.run(golden_job(tmp_path), 60).result
    assert (result["status"], result["samples_ms"], result["warmups_ms"]) == ("ok", [], [])


@pytest.mark.parametrize(
    ("golden", "worst"),
    [
        ([[[6, 9]], [[18, 20]]], 1),
        ([[[6, 9], [6, 9]], [[18, 19]]], np.inf),  # two answers wanted, one given
        ([[[6]], [[18]]], 0),  # the first classes count
    ],
)
def test_verdict_is_the_agents_when_the_golden_answers_differ(device: Any, tmp_path: Path, golden: Any, worst: float) -> None:
    asked = golden_job(tmp_path) | {"golden": golden}
    ours, theirs = device.run(asked, 60).result, agent.measure(asked)
    assert (ours["status"], ours["worst_difference"]) == (theirs["status"], theirs["worst_difference"]) == ("wrong" if worst else "ok", worst)


def test_answers_are_picked_as_numpy_does_when_only_some_count(device: Any, tmp_path: Path) -> None:
    """Ids 3, 0, 7 answer [6, 7], [0, 1], [14, 15]."""
    feeds = ids([3, 0, 7])
    picks = [{"row": [0, 0], "at": [2, 0]}, {"row": [[0, 0], [0, 0]], "at": [[0, 1], [1, 2]], "side": [[0, 0], [1, 1]]}]
    golden = [[[14, 15], [6, 7]], [[6, 0], [1, 15]]]
    asked = job(tokens(tmp_path / "tokens.onnx"), feeds * 2, picks=picks, golden=golden, tolerance=0.0)
    assert device.run(asked, 60).result["worst_difference"] == 0
    assert agent.measure(asked)["worst_difference"] == 0


def test_every_output_is_held_against_its_scale_when_a_model_is_foreign(device: Any, tmp_path: Path) -> None:
    """Of [1, 3]: tokens [[2, 3], [6, 7]], logits [8, 10]."""
    known = {"tensors": [[[[[2, 3], [6, 7.5]]], [[8, 9]]]], "outputs": ["tokens", "logits"], "scales": [10.0, 4.0], "tolerance": 0.3}
    asked = job(summed(tmp_path / "summed.onnx"), [{"input_ids": np.array([[1, 3]])}], **known)
    ours = device.run(asked, 60).result
    assert (ours["status"], ours["worst_difference"]) == ("ok", 0.25)  # 0.5 ÷ 10 and 1 ÷ 4
    assert agent.measure(asked)["worst_difference"] == 0.25


def test_status_is_wrong_when_an_answer_is_no_number(device: Any, tmp_path: Path) -> None:
    nodes = [onnx.helper.make_node("Log", ["x"], ["y"])]
    kind = onnx.TensorProto.FLOAT
    model = save(tmp_path / "log.onnx", nodes, {"x": kind}, {"y": kind}, {})
    asked = job(model, [{"x": np.array([[-1.0]], np.float32)}], picks=[{}], golden=[[[0.0]]], tolerance=1e9)
    result = device.run(asked, 60).result
    assert (result["status"], result["worst_difference"]) == ("wrong", np.inf)


EXTREMES = {
    "float16": [0.1, -2.0, 65504.0, 65520.0, 6e-8, 2**-14, 1.0009765625, 1.00048828125, -0.0, np.inf, np.nan],
    "float32": [0.1, -3.4e38, 1e-45, -0.0, np.inf, -np.inf, np.nan],
    "int64": [2**53 - 1, -(2**53) + 1, 0],
}


@pytest.mark.parametrize("dtype", EXTREMES)
def test_answers_are_the_inputs_to_the_bit_when_the_model_hands_them_on(device: Any, tmp_path: Path, dtype: str) -> None:
    with np.errstate(over="ignore"):  # 65520 is the first that a half rounds to infinity
        value = np.array(EXTREMES[dtype], dtype)
    asked = job(same(tmp_path / "same.onnx", dtype), [], answers=True)
    feed = {"x0": {"dtype": dtype, "values": EXTREMES[dtype]}}  # rounded there as numpy rounds here
    (answer,) = device.run(asked | {"feeds": [feed]}, 60).answers
    assert answer.dtype == value.dtype
    assert answer.tobytes() == value.tobytes()


def test_every_type_goes_there_and_back_when_the_model_hands_it_on(device: Any, tmp_path: Path) -> None:
    types = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64", "float64")
    rows = {name: [0, 1] if name == "bool" else [0, np.finfo(name).max] if name == "float64" else ends(name) for name in types}
    feeds = [{f"x{index}": np.array([rows[name]], name) for index, name in enumerate(types)}]
    known = {"tensors": [[[rows[name]] for name in types]], "outputs": [f"y{index}" for index in range(len(types))], "scales": [1.0] * len(types)}
    asked = job(same(tmp_path / "same.onnx", *types), feeds, **known, tolerance=0.0)
    assert device.run(asked, 60).result["worst_difference"] == 0
    known["tensors"][0][types.index("uint16")] = [[0, 2**16 - 1.5]]
    assert device.run(asked | known, 60).result["worst_difference"] == 0.5


def ends(name: str) -> list[int]:
    """The least and the largest number of a type, as far as JavaScript reads them from JSON."""
    return [int(np.iinfo(name).min), min(int(np.iinfo(name).max), 2**53 - 1)]


def test_status_is_crashed_when_an_input_is_beyond_what_javascript_reads(device: Any, tmp_path: Path) -> None:
    asked = job(same(tmp_path / "same.onnx", "int64"), [{"x0": np.array([2**53 + 1])}])
    result = device.run(asked, 60).result
    assert result["status"] == "crashed"
    assert "exactly" in result["detail"]


@pytest.mark.parametrize("quantised", [False, True])
def test_answers_are_those_of_onnx_runtime_here_when_lengths_differ(device: Any, tmp_path: Path, quantised: bool) -> None:
    model = bert(tmp_path / "bert.onnx")
    if quantised:
        quantize_dynamic(model, tmp_path / "int8.onnx", weight_type=QuantType.QInt8)
        model = tmp_path / "int8.onnx"
        kinds = [node.op_type for node in onnx.load(model).graph.node]
        assert kinds.count("MatMulInteger") == 7  # all but the two products of activations
    draw = np.random.default_rng(1)
    feeds = ids(*[draw.integers(0, WORDS, length).tolist() for length in range(1, LONGEST + 1)])
    feeds += [{**one, "attention_mask": (draw.random(one["attention_mask"].shape) < 0.7).astype(np.int64)} for one in feeds]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    here = np.concatenate([session.run(None, one)[0] for one in feeds])
    there = np.concatenate(device.run(job(model, feeds, answers=True), 60).answers)
    assert np.ptp(here, axis=0).min() > 1  # the answers are not all alike
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


def test_peak_is_what_the_weights_take_when_there_are_many(device: Any, tmp_path: Path) -> None:
    result = device.run(job(tokens(tmp_path / "big #1 %20 größer.onnx", rows=2**23), ids([0])), 60).result  # 2²³ rows of two fp32: 64 MiB
    assert result["status"] == "ok"
    assert 64 <= result["peak_mib"] <= 4 * 64


@pytest.mark.parametrize("content", [b"this is no model", None])
def test_status_is_crashed_when_the_model_is_damaged_or_none(device: Any, tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "damaged.onnx"
    if content is not None:
        file.write_bytes(content)
    result = device.run(job(file, ids([0])), 60).result
    assert result["status"] == "crashed"
    assert re.search(r"protobuf|damaged\.onnx", result["detail"])


@pytest.mark.parametrize("how", ["long", "endless"])
def test_nothing_is_left_when_the_deadline_passes(device: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    ones = np.ones((1, 2), np.int64)
    asked = golden_job(tmp_path, min_s=600.0) if how == "long" else job(endless(tmp_path / "endless"), [{"ids": ones, "mask": ones}])
    deadline_s = 6.0
    started = time.monotonic()
    ended, seen = watched(lambda: device.run(asked, deadline_s), tmp_path / "temporary")
    assert ended.result["status"] == "timeout"
    assert deadline_s <= time.monotonic() - started < deadline_s + 10
    assert len(seen) >= (8 if "browser" in device.address else 1)
    assert not [pid for pid in seen if alive(pid)]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_job_is_refused_when_it_asks_for_another_provider(device: Any, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=f"{device.address} has no CUDAExecutionProvider") as caught:
        device.run(golden_job(tmp_path) | {"provider": "CUDAExecutionProvider"}, 60)
    assert caught.value.exit_code == 7


def test_facts_describe_the_device_when_asked(device: Any) -> None:
    facts, conditions = device.facts(), device.conditions()
    assert facts.keys() >= {"device", "os", "arch", "cpu", "cores", "kernel", "provenance", "timer_us"}
    assert (facts["device"], facts["provenance"], facts["cores"]) == (device.address, "measured", len(os.sched_getaffinity(0)))
    assert 0 < facts["timer_us"] <= 5.001  # a page that is not isolated has steps of 100
    assert conditions["load_1min"] >= 0


@pytest.mark.parametrize("address", ["node:x", "browser", "browser:webgl"])
def test_address_is_refused_when_it_says_something_else(address: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown device '{address}"):
        devices.connect(address)


def test_error_names_the_command_when_there_is_no_node_or_browser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="apt-get install nodejs npm"):
        devices.connect("node")
    with pytest.raises(DeviceError, match="apt-get install chromium"):
        devices.connect("browser:wasm")


def test_samples_do_not_count_as_a_leak_when_there_are_many(device: Any, tmp_path: Path) -> None:
    """A graph of microseconds: eight bytes a sample are some MiB, and none of the model's."""
    resident = device.run(job(same(tmp_path / "same.onnx", "float32"), [{"x0": np.zeros(1, np.float32)}], min_runs=300_000), 120).result[
        "resident_mib"
    ]
    assert np.diff(resident).min() < trust.LEAK_MIB
