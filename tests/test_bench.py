"""bench on several devices, on bundles and on any ONNX file: one document, one table, and an exit that says what went wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from conftest import run_cli
from device_cases import hanging, until
from device_cases import summed as sums
from onnx import TensorProto, helper, numpy_helper
from processes import alive, command, group, pids

from edgedistill import samples
from edgedistill.devices.local import AGENT
from edgedistill.errors import DeviceError, IntegrityError, StageError
from edgedistill.faces.bench import text
from edgedistill.measure import table
from edgedistill.measure.run import failure

DOCUMENT: dict[str, Any] = {
    "baseline": "teacher",
    "metric": "accuracy",
    "inputs": "real texts",
    "subjects": [
        {"name": "teacher", "bytes": 90_000_000, "score": 0.9, "agreement": 1.0},
        {"name": "bundle", "bytes": 9_000_000, "score": 0.88, "agreement": 0.95},
    ],
    "devices": [
        {
            "device": "local",
            "threads": 1,
            "batch": 1,
            "status": "ok",
            "trust": {"teacher": {"status": "ok", "why": []}, "bundle": {"status": "noisy", "why": ["noisy: others had the CPU"]}},
            "ratios": {"bundle": {"median_ratio": 0.25, "interval": [0.2, 0.3]}},
            "answers": {"rows": 64, "score": 0.875, "agreement_with_here": 1.0, "max_abs": 0.0},
        },
        {
            "device": "qemu:cortex-a53",
            "threads": 1,
            "batch": 1,
            "status": "ok",
            "instructions": {"teacher": {"other": 300, "int_dot": 100}, "bundle": {"other": 60, "int_dot": 40}},
            "instruction_ratios": {"bundle": 0.25},
        },
        {"device": "ssh:gone", "status": "unmeasured", "detail": "nobody answers", "hint": "ssh gone"},
    ],
    "measurements": [
        {"subject": "teacher", "metric": "latency_ms", "samples": [4.0, 8.0, 6.0], "conditions": {"device": "local", "threads": 1, "batch": 1}},
        {"subject": "bundle", "metric": "latency_ms", "samples": [1.0, 2.0, 1.5], "conditions": {"device": "local", "threads": 1, "batch": 1}},
        {"subject": "teacher", "metric": "instructions", "samples": [400.0], "conditions": {"device": "qemu:cortex-a53", "threads": 1, "batch": 1}},
        {"subject": "bundle", "metric": "instructions", "samples": [100.0], "conditions": {"device": "qemu:cortex-a53", "threads": 1, "batch": 1}},
    ],
}


def test_rows_hold_medians_and_shares_of_their_own_device_when_there_are_several() -> None:
    found = {(row["device"], row["subject"]): row for row in table.rows(DOCUMENT)}
    assert found["local", "teacher"]["latency_ms"] == 6.0
    assert found["local", "bundle"]["latency_ratio"] == 0.25
    assert found["local", "bundle"]["score_there"] == 0.875
    assert found["local", "bundle"]["instructions"] is None
    assert found["local", "bundle"]["status"] == "noisy"
    assert found["local", "teacher"]["status"] == "ok"
    assert found["qemu:cortex-a53", "bundle"]["instructions"] == 100
    assert found["qemu:cortex-a53", "bundle"]["latency_ms"] is None
    assert found["ssh:gone", ""]["detail"] == "nobody answers"
    assert len(found) == 5


def test_table_leaves_out_columns_when_no_row_has_them() -> None:
    only = {**DOCUMENT, "devices": DOCUMENT["devices"][:1]}
    assert "M instructions" in text(DOCUMENT)
    assert "M instructions" not in text(only)
    assert "unmeasured" in text(DOCUMENT)


@pytest.mark.parametrize(("score", "of"), [(0.875, "64 test rows"), (None, "64 golden examples")])
def test_note_says_what_was_answered_there_when_it_was_golden_examples(score: float | None, of: str) -> None:
    answers = {**DOCUMENT["devices"][0]["answers"], "score": score}
    document = {**DOCUMENT, "devices": [{**DOCUMENT["devices"][0], "answers": answers}]}
    assert f"“there” is on {of}, answered on the device" in text(document)


@pytest.mark.parametrize(
    ("status", "kind"), [("wrong", IntegrityError), ("crashed", StageError), ("timeout", DeviceError), ("unmeasured", DeviceError)]
)
def test_error_is_of_the_first_device_that_failed_when_another_is_well(status: str, kind: type[Exception]) -> None:
    well = DOCUMENT["devices"][0]
    found = failure({"devices": [well, {"device": "ssh:pi", "status": status, "detail": "why"}, {"device": "x", "status": "wrong", "detail": "z"}]})
    assert type(found) is kind
    assert "ssh:pi" in str(found)
    assert failure({"devices": [well]}) is None


@pytest.fixture(scope="module")
def summed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = Σ over a row of table[id]; ids at or above 10 would not run."""
    nodes = [helper.make_node("Gather", ["table", "ids"], ["found"]), helper.make_node("ReduceSum", ["found", "axis"], ["y"], keepdims=0)]
    tensors = [
        numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(10, 2), "table"),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
    ]
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, [1, "s"])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])], tensors)
    file = tmp_path_factory.mktemp("bench") / "summed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def test_any_model_is_measured_on_made_up_inputs_and_says_so(summed: Path, tmp_path: Path) -> None:
    done = run_cli("bench", str(summed), "--mode", "smoke", "--shape", "ids=1,7", "--json", "--out", "out", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["schema"] == "edgedistill.bench/2"
    assert "SYNTHETIC" in document["inputs"]
    assert "ids [1, 7]" in document["inputs"]
    (entry,) = document["devices"]
    assert entry["status"] == "ok"
    latency = next(one for one in samples.unpacked(document)["measurements"] if one["metric"] == "latency_ms")
    assert len(latency["samples"]) >= 64
    assert json.loads((tmp_path / "out" / "bench.json").read_text(encoding="utf-8")) == document


def test_every_unknown_way_is_named_when_devices_are_asked_for(summed: Path, tmp_path: Path) -> None:
    told = run_cli("bench", str(summed), "--device", "locl", "--device", "bluetooth:x", cwd=tmp_path, check=2).stderr
    assert "locl" in told
    assert "did you mean" in told or "local" in told
    assert "bluetooth:x" in told


def test_device_is_unmeasured_and_the_exit_7_when_it_is_not_here_and_the_others_are_measured(summed: Path, tmp_path: Path) -> None:
    words = ("bench", str(summed), "--mode", "smoke", "--device", "local", "--device", "qemu:cortex-a53", "--json")
    done = run_cli(*words, cwd=tmp_path, check=7, PATH="/nonexistent")
    first, second = json.loads(done.stdout)["devices"]
    assert (first["status"], second["status"]) == ("ok", "unmeasured")
    assert "qemu" in second["detail"]
    assert "apt-get install" in done.stderr


def test_place_is_named_when_there_is_neither_a_bundle_nor_a_model(tmp_path: Path) -> None:
    assert "nowhere.onnx" in run_cli("bench", "nowhere.onnx", cwd=tmp_path, check=2).stderr


def test_each_pair_is_an_entry_when_threads_and_batches_are_swept(summed: Path, tmp_path: Path) -> None:
    words = ("bench", str(summed), "--mode", "smoke", "--threads", "1", "--threads", "2", "--batch", "1", "--json")
    document = json.loads(run_cli(*words, cwd=tmp_path).stdout)
    assert [(one["threads"], one["batch"]) for one in document["devices"]] == [(1, 1), (2, 1)]
    assert {one["conditions"]["threads"] for one in document["measurements"]} == {1, 2}


def two_inputs(file: Path) -> Path:
    """y = mean of (ids + mask) over the last axis: both must be as long."""
    nodes = [
        helper.make_node("Add", ["ids", "mask"], ["sum"]),
        helper.make_node("Cast", ["sum"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real"], ["y"], axes=[1], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in ("ids", "mask")]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b"])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def test_inputs_that_share_a_size_go_along_when_one_of_them_is_stated(tmp_path: Path) -> None:
    words = ("bench", str(two_inputs(tmp_path / "two.onnx")), "--mode", "smoke", "--shape", "ids=1,48", "--json")
    document = json.loads(run_cli(*words, cwd=tmp_path).stdout)
    assert "mask [1, 48]" in document["inputs"]
    assert document["devices"][0]["status"] == "ok"


def test_nothing_is_measured_when_one_of_the_addresses_cannot_be_read(summed: Path, tmp_path: Path) -> None:
    words = ("bench", str(summed), "--device", "local", "--device", "qemu:cortexa53", "--device", "local:x", "--json")
    done = run_cli(*words, cwd=tmp_path, check=2)
    assert done.stdout == ""
    assert "cortex-a53" in done.stderr
    assert "local:x" in done.stderr


@pytest.mark.parametrize(
    ("words", "told"), [(["model.bin"], "is not a model"), (["x.onnx", "--device", "ssh:"], "'ssh:' is no address"), (["nowhere"], "nor a file")]
)
def test_exit_is_2_at_once_when_the_request_is_wrong(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_text("no model", encoding="utf-8")
    sums(tmp_path / "x.onnx")
    done = run_cli("bench", *words, cwd=tmp_path, check=2)
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked for in /proc")
@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_agent_ends_when_the_bench_is_ended(how: signal.Signals, code: int, tmp_path: Path) -> None:
    hanging(tmp_path / "hanging.onnx")
    words = [sys.executable, "-m", "edgedistill", "bench", "hanging.onnx", "--mode", "smoke"]
    bench = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    agents = lambda: [pid for pid in pids() if group(pid) == bench.pid and pid != bench.pid and "agent.py" in command(pid) and alive(pid)]  # noqa: E731
    until(lambda: bool(agents()), 60)
    bench.send_signal(how)
    assert bench.wait(20) == code
    until(lambda: not agents(), 20)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an agent is not bound to who asked")
def test_agent_does_not_begin_when_whoever_asked_is_gone_already(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "job.json").write_text('{"look": {}}', encoding="utf-8")
    command = [sys.executable, "-I", str(AGENT), str(tmp_path / "job.json"), str(tmp_path / "result.json")]
    asked = {
        asker: subprocess.run(command, env={**os.environ, "EDGEDISTILL_ASKER": str(asker)}, check=False).returncode
        for asker in (gone.pid, os.getpid())
    }
    assert (asked[gone.pid] != 0, asked[os.getpid()]) == (True, 0)
