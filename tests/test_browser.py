"""What only a browser has: a page that is isolated, threads in it, processes that die one by one, and WebGPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from device_cases import until
from processes import alive, command, pids, threads, watched
from script_models import bert, ids, job, save, tokens

from edgedistill import devices
from edgedistill.devices import _npm, browser
from edgedistill.errors import ConfigError, DeviceError

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not any(map(shutil.which, browser.NAMES)), reason=f"none of {browser.NAMES} is here")]


@pytest.fixture(scope="module")
def wasm() -> Any:
    try:
        _npm.package("onnxruntime-web")
    except DeviceError as error:
        pytest.skip(str(error))
    return devices.connect("browser:wasm")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


def test_page_is_isolated_when_it_is_served(wasm: Any) -> None:
    facts = wasm.facts()
    assert facts["cross_origin_isolated"] is True
    assert facts["timer_us"] == pytest.approx(5, abs=0.01)  # 100 where it is not
    assert facts["browser"].split()[-1].split(".")[0] in facts["user_agent"]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_page_has_as_many_threads_as_were_asked_for(wasm: Any, tmp_path: Path, temporary: Path, count: int) -> None:
    """The page's own and workers, which Chromium names so."""
    workers: list[int] = []

    def look(commands: Mapping[int, str]) -> None:
        pages = [pid for pid, words in commands.items() if "--type=renderer" in words]
        workers.append(max((threads(pid).count("DedicatedWorker") for pid in pages), default=0))

    asked = job(bert(tmp_path / "bert.onnx"), ids(range(20)), threads=count, min_s=1.0, answers=True)
    ended, _ = watched(lambda: wasm.run(asked, 60), temporary, look)
    assert max(workers) == count - 1
    here = onnxruntime.InferenceSession(asked["model"], providers=["CPUExecutionProvider"]).run(None, ids(range(20))[0])[0]
    np.testing.assert_allclose(ended.answers[0], here, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "detail"), [("--type=renderer", "the page's process died"), ("--user-data-dir", "the browser ended with -9|page's process")]
)
def test_status_is_crashed_when_a_process_of_the_browser_is_killed(wasm: Any, tmp_path: Path, temporary: Path, kind: str, detail: str) -> None:
    looks = 0

    def kill(commands: Mapping[int, str]) -> None:
        nonlocal looks
        chosen = [pid for pid, words in commands.items() if kind in words and ("--type" in words) == ("--type" in kind) and alive(pid)]
        looks += bool(chosen)
        for pid in chosen if looks > 10 else ():  # about two seconds after its start the page is at work
            os.kill(pid, signal.SIGKILL)

    asked = job(tokens(tmp_path / "tokens.onnx"), ids([1]), min_s=600.0)
    ended, seen = watched(lambda: wasm.run(asked, 60), temporary, kill)
    assert ended.result["status"] == "crashed"
    assert re.search(detail, ended.result["detail"])
    assert not [pid for pid in seen if alive(pid)]
    assert list(temporary.iterdir()) == []


def test_browser_ends_when_whoever_started_it_is_killed(wasm: Any, tmp_path: Path, temporary: Path) -> None:
    code = "import json, sys, tempfile; from edgedistill import devices\n"
    code += "tempfile.tempdir = sys.argv[2]; devices.connect('browser:wasm').run(json.loads(sys.argv[1]), 600)"
    asked = json.dumps(job(tokens(tmp_path / "tokens.onnx"), ids([1]), min_s=600.0))
    starter = subprocess.Popen([sys.executable, "-c", code, asked, str(temporary)])
    browsers = lambda: [pid for pid in pids() if f"--user-data-dir={temporary}" in command(pid) and alive(pid)]  # noqa: E731
    until(lambda: any("--type=renderer" in command(pid) for pid in pids() if str(temporary) in command(pid)), 60)
    assert browsers()
    starter.kill()
    starter.wait()
    until(lambda: not browsers(), 20)


def test_two_jobs_share_nothing_when_they_run_at_once(wasm: Any, tmp_path: Path) -> None:
    model = tokens(tmp_path / "tokens.onnx")
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda row: wasm.run(job(model, ids([row]), answers=True), 60).answers[0], [1, 7]))
    np.testing.assert_array_equal(found, [[[[2, 3]]], [[[14, 15]]]])


@pytest.mark.parametrize(("flags", "detail"), [("wasm", "has no WebGPU adapter"), ("swiftshader", "swiftshader, which is software")])
def test_error_names_the_flags_when_there_is_no_adapter_of_hardware(wasm: Any, monkeypatch: pytest.MonkeyPatch, flags: str, detail: str) -> None:
    monkeypatch.delenv("EDGEDISTILL_WEBGPU", raising=False)
    monkeypatch.setitem(browser.FLAGS, "webgpu", browser.FLAGS[flags])
    with pytest.raises(DeviceError, match=detail) as caught:
        devices.connect("browser:webgpu")
    assert caught.value.exit_code == 7
    assert browser.FLAGS[flags][0] in caught.value.hint
    assert "EDGEDISTILL_WEBGPU=swiftshader" in caught.value.hint


@pytest.fixture(scope="module")
def software(wasm: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDISTILL_WEBGPU", "swiftshader")
        try:
            return devices.connect("browser:webgpu")
        except DeviceError as error:
            pytest.skip(str(error))


def test_answers_are_right_and_untimed_when_the_adapter_is_software(software: Any, tmp_path: Path) -> None:
    model, feeds = bert(tmp_path / "bert.onnx"), ids([3, 1, 4, 1, 5], [9])
    ended = software.run(job(model, feeds, provider="WebGpuExecutionProvider", min_runs=4, min_s=0.1, answers=True), 120)
    result = ended.result
    assert (result["status"], result["provenance"], result["peak_mib"]) == ("ok", "emulated", None)
    assert result["providers"][0] == "WebGpuExecutionProvider"
    assert result["samples_ms"] == result["warmups_ms"] == []
    assert not {"import_ms", "load_ms", "first_ms"} & result.keys()
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for found, one in zip(ended.answers, feeds, strict=True):
        np.testing.assert_allclose(found, session.run(None, one)[0], rtol=0, atol=1e-3)
    facts = software.facts()
    assert facts["provenance"] == "emulated"
    assert "software adapter" in facts["gpu"]


def test_error_says_who_did_the_work_when_the_gpu_did_none(software: Any, tmp_path: Path) -> None:
    """WebGPU has no 64-bit numbers: the CPU takes the only node."""
    kind = onnx.TensorProto.INT64
    model = save(tmp_path / "neg.onnx", [onnx.helper.make_node("Neg", ["x"], ["y"])], {"x": kind}, {"y": kind}, {})
    with pytest.raises(DeviceError, match="the work was done by CPUExecutionProvider, nothing by WebGpuExecutionProvider"):
        software.run(job(model, [{"x": np.array([1])}], provider="webgpu"), 120)


def test_error_says_what_is_wrong_when_the_named_browser_is_none(wasm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDISTILL_BROWSER", "/nowhere/chromium")
    with pytest.raises(DeviceError, match="EDGEDISTILL_BROWSER=/nowhere/chromium is not here"):
        devices.connect("browser:wasm")
    monkeypatch.setenv("EDGEDISTILL_BROWSER", "/bin/false")
    with pytest.raises(DeviceError, match="/bin/false does not answer: the browser ended with 1"):
        devices.connect("browser:wasm")
    monkeypatch.setenv("EDGEDISTILL_WEBGPU", "lavapipe")
    with pytest.raises(ConfigError, match="EDGEDISTILL_WEBGPU=lavapipe is not known"):
        devices.connect("browser:webgpu")
