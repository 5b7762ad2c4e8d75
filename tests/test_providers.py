"""Providers: what a job asks for, who ran what by ONNX Runtime's own profile, and what becomes of those that are not there or fall back.

The real ones run in Pythons beside this one (tests/side_pythons.py): OpenVINO, Qualcomm's simulator, Debian's XNNPACK.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import side_pythons
from conftest import run_cli
from onnx import TensorProto, helper, numpy_helper

from edgedistill import plugins, providers
from edgedistill.devices.local import Local
from edgedistill.errors import ConfigError, DeviceError
from edgedistill.measure import agent, agent_session, placement

WEIGHTS = np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32)
X = np.random.default_rng(1).normal(size=(1, 4, 8)).astype(np.float32)
EIGHT_BITS = np.clip(np.round(WEIGHTS / 0.03) + 128, 0, 255).astype(np.uint8)
LINUX = {"os": "linux", "arch": "x86_64"}
PROFILE: dict[str, Any] = {
    "platform": LINUX,
    "runtime": {
        "provider": {"value": "OpenVINOExecutionProvider"},
        "threads": {"value": 3},
        "options": {"device_type": {"value": "NPU"}, "disable_dynamic_shapes": {"value": "true"}},
        "session": {"session.disable_cpu_ep_fallback": {"value": "1"}},
        "known_bad": [{"value": "1.21.0", "note": "it dies at import", "source": "issue 1"}],
    },
}


def save(file: Path, nodes: list[Any], tensors: dict[str, Any], shape: list[int]) -> Path:
    given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", [1, 4, 8]), ("z", shape)))
    graph = helper.make_graph(nodes, "g", [given], [found], [numpy_helper.from_array(np.array(value), name) for name, value in tensors.items()])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), file)
    return file


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three nodes, z = det(softmax(x · w)): no accelerator knows a determinant."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Softmax", ["y"], ["s"]),
        helper.make_node("Det", ["s"], ["z"]),
    ]
    return save(tmp_path_factory.mktemp("providers") / "split.onnx", nodes, {"w": WEIGHTS}, [1])


@pytest.fixture(scope="module")
def quantised(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """z = softmax(x · w) between Q/DQ pairs, 16-bit activations and 8-bit weights: nine nodes with the pairs at both ends."""
    scales = {"x": (8 / 65535, 32768), "y": (20 / 65535, 32768), "z": (1 / 65535, 0)}
    tensors: dict[str, Any] = {"w": EIGHT_BITS, "ws": np.float32(0.03), "wz": np.uint8(128)}
    tensors |= {f"{name}s": np.float32(scale) for name, (scale, _) in scales.items()} | {
        f"{name}z": np.uint16(zero) for name, (_, zero) in scales.items()
    }

    def pair(given: str, found: str, name: str) -> list[Any]:
        kinds = (("QuantizeLinear", given, f"{found}_q"), ("DequantizeLinear", f"{found}_q", found))
        return [helper.make_node(kind, [start, f"{name}s", f"{name}z"], [end], domain="com.microsoft") for kind, start, end in kinds]

    nodes = [
        *pair("x", "xd", "x"),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], domain="com.microsoft"),
        helper.make_node("MatMul", ["xd", "wd"], ["y"]),
        *pair("y", "yd", "y"),
        helper.make_node("Softmax", ["yd"], ["s"]),
        *pair("s", "z", "z"),
    ]
    return save(tmp_path_factory.mktemp("providers") / "quantised.onnx", nodes, tensors, [1, 4, 4])


def job(model: Path, provider: str, **changes: Any) -> dict[str, Any]:
    feeds = [{"x": {"dtype": "float32", "values": X}}]
    keys = providers.job_keys(providers.find(provider), {}, None)
    return {"model": str(model), "feeds": feeds, **keys, "min_runs": 5, "min_s": 0.0, "trace": True, "answers": True, **changes}


def known(weights: Any = WEIGHTS) -> Any:
    """softmax(x · w) by NumPy."""
    powers = np.exp(X @ weights)
    return powers / powers.sum(-1, keepdims=True)


def test_provider_is_found_by_both_of_its_names() -> None:
    assert providers.find("qnn") is providers.find("QNNExecutionProvider")


def test_jobs_session_is_the_profiles_when_device_and_provider_are() -> None:
    keys = placement.ask("openvino", PROFILE, LINUX, None, strict=False).keys
    assert keys["options"] == {"device_type": "NPU", "num_of_threads": "3", "disable_dynamic_shapes": "true"}
    assert keys["session"] == {"session.disable_cpu_ep_fallback": "1"}
    assert keys["threads"] == 3


def test_jobs_session_is_plain_when_the_provider_is_another_or_the_device_is() -> None:
    on_cpu = placement.ask("cpu", PROFILE, LINUX, None, strict=False).keys
    assert (on_cpu["options"], on_cpu["session"], on_cpu["threads"]) == ({}, {}, 3)
    elsewhere = placement.ask("openvino", PROFILE, {"os": "linux", "arch": "aarch64"}, None, strict=False).keys
    assert (elsewhere["options"]["device_type"], elsewhere["session"], elsewhere["threads"]) == ("CPU", {}, 1)
    assert placement.ask("cpu", PROFILE, LINUX, 2, strict=False).keys["threads"] == 2


def test_ask_raises_when_the_provider_has_no_such_system() -> None:
    with pytest.raises(DeviceError, match="CoreMLExecutionProvider does not exist on linux"):
        placement.ask("coreml", PROFILE, LINUX, None, strict=False)


def test_ask_names_the_nearest_when_the_provider_is_unknown() -> None:
    with pytest.raises(ConfigError, match="did you mean 'openvino'"):
        placement.ask("openvimo", PROFILE, LINUX, None, strict=False)


def test_times_are_called_a_simulators_when_the_hardware_is_not_there() -> None:
    assert "simulator" in providers.simulated("QNNExecutionProvider", "x86_64")
    assert providers.simulated("QNNExecutionProvider", "aarch64") == ""
    assert providers.simulated("OpenVINOExecutionProvider", "x86_64") == ""


def test_session_has_the_jobs_entries_and_no_profile_when_it_is_timed(split: Path, tmp_path: Path) -> None:
    entry = "session.intra_op.allow_spinning"
    asked = job(split, "cpu", session={entry: "0"})
    session = agent.open_session(onnxruntime, asked)
    assert session.get_session_options().get_session_config_entry(entry) == "0"
    assert not session.get_session_options().enable_profiling
    assert agent.open_session(onnxruntime, asked, str(tmp_path / "trace")).end_profiling().startswith(str(tmp_path))


def test_placement_is_the_profiles_when_counted_by_hand(split: Path, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "own")
    session = onnxruntime.InferenceSession(str(split), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": X})
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    by_hand = Counter(one["args"]["op_name"] for one in events if one["cat"] == "Node" and "kernel_time" in one["name"])
    assert by_hand == {"MatMul": 1, "Softmax": 1, "Det": 1}  # one run: each node once
    result = Local().run(job(split, "cpu"), 60).result
    assert result["status"] == "ok"
    assert result["placement"]["CPUExecutionProvider"] == {"nodes": 3, "time_share": 1.0, "ops": by_hand, "graph_ops": by_hand}
    assert len(result["placement"]) == 1


def test_shares_are_of_the_time_after_the_first_run_when_a_profile_has_two_providers() -> None:
    def kernel(name: str, provider: str, ts: int, dur: int) -> dict[str, Any]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": {"provider": provider, "op_name": name}}

    runs = [{"cat": "Session", "name": "model_run", "ts": ts, "dur": 90} for ts in (100, 200, 300)]
    first = [kernel("A", "One", 110, 5000), kernel("B", "Two", 120, 1)]
    later = [kernel("A", "One", 210, 3), kernel("B", "Two", 220, 1), kernel("A", "One", 310, 4), kernel("B", "Two", 320, 0)]
    found = agent_session.placed([*runs, *first, *later])
    assert found == {
        "One": {"nodes": 1, "time_share": 7 / 8.5, "ops": {"A": 1}},
        "Two": {"nodes": 1, "time_share": 1.5 / 8.5, "ops": {"B": 1}},
    }


def judged(result: dict[str, Any], subject: str = "bundle", strict: bool = False, version: str = "1.31.1", here: bool = True) -> list[str]:
    heard: list[str] = []
    device = LINUX if here else {"os": "linux", "arch": "aarch64"}
    placement.judge(subject, placement.ask("openvino", PROFILE, device, None, strict=strict), {"onnxruntime": version, **result}, heard.append)
    return heard


def fallen(nodes: int) -> dict[str, Any]:
    mine = {"OpenVINOExecutionProvider": {"nodes": nodes}} if nodes else {}
    return {"status": "fell_back", "detail": "who ran what", "placement": {**mine, "CPUExecutionProvider": {"nodes": 2}}}


def test_judge_raises_when_nothing_of_the_bundle_ran_there_and_warns_for_its_teacher() -> None:
    with pytest.raises(DeviceError, match="the bundle fell back: who ran what"):
        judged(fallen(0))
    assert judged(fallen(0), "teacher") == ["the teacher fell back: who ran what"]
    assert judged(fallen(1)) == ["the bundle fell back: who ran what"]
    with pytest.raises(DeviceError, match="the teacher fell back"):
        judged(fallen(1), "teacher", strict=True)
    assert judged({"status": "ok"}, strict=True) == []


@pytest.mark.parametrize("version", ["1.21.0", "1.21"])
def test_judge_refuses_a_version_when_the_profile_forbids_it_there_and_warns_elsewhere(version: str) -> None:
    with pytest.raises(DeviceError, match=r"must not be installed: it dies at import \(issue 1\)"):
        judged({"status": "ok"}, version=version)
    assert "it dies at import" in judged({"status": "ok"}, version=version, here=False)[0]
    assert judged({"status": "ok"}, version="1.21.1") == []


def test_run_raises_when_the_named_python_is_none(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEDISTILL_PYTHON", "/no/such/python")
    with pytest.raises(DeviceError, match="/no/such/python"):
        Local().run(job(split, "cpu"), 60)


@pytest.fixture(scope="module")
def bundle(split: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three nodes as a bundle, for a device of this machine's kind whose profile forbids no version."""
    return bundled(split, tmp_path_factory.mktemp("bundle"), "linux-x64", "--scheme", "fp32")


def bundled(model: Path, folder: Path, target: str, *words: str) -> Path:
    run_cli("quantize", str(model), "--target", target, "--out", "bundle", *words, cwd=folder)
    return folder / "bundle"


def bench(bundle: Path, *words: str, check: int, **environment: str) -> Any:
    place = ["--store", str(bundle.parent / ".edgedistill"), "--mode", "smoke"]
    return run_cli("bench", str(bundle), *words, *place, cwd=bundle.parent, check=check, **environment)


def test_bench_exits_2_with_the_nearest_name_when_the_provider_is_unknown(bundle: Path) -> None:
    assert "did you mean 'openvino'" in bench(bundle, "--provider", "openvimo", check=2).stderr


@pytest.mark.skipif("XnnpackExecutionProvider" in onnxruntime.get_available_providers(), reason="this ONNX Runtime has XNNPACK")
def test_bench_exits_7_with_what_brings_it_when_the_provider_is_not_installed(bundle: Path) -> None:
    told = bench(bundle, "--provider", "xnnpack", check=7).stderr
    assert "XnnpackExecutionProvider is not in this onnxruntime" in told
    assert "python3-onnxruntime" in told
    if not any(map(Path.exists, [Path(place) / "onnxruntime_qnn" for place in onnxruntime.__path__])):
        assert "pip install onnxruntime-qnn" in bench(bundle, "--provider", "qnn", check=7, EDGEDISTILL_PYTHON="").stderr


def test_bench_and_verify_exit_7_when_the_profile_forbids_this_version(split: Path, tmp_path: Path) -> None:
    bad = f'{{ value = "{onnxruntime.__version__}", source = "https://a.test", note = "it burns" }}'
    runtime, only = f"[runtime]\nknown_bad = [{bad}]", '[quantization]\nallowed = [{ scheme = "fp32", source = "https://a.test" }]'
    head = 'summary = "picky"\nstatus = "unmeasured"\nextends = "linux-x64"'
    (tmp_path / "picky.toml").write_text("\n".join([head, runtime, only]), encoding="utf-8")
    made = bundled(split, tmp_path, "picky.toml")
    assert "must not be installed: it burns (https://a.test)" in run_cli("verify", str(made), cwd=tmp_path, check=7).stderr
    assert "must not be installed: it burns (https://a.test)" in bench(made, check=7).stderr


def test_doctor_has_a_command_for_all_that_is_missing() -> None:
    parts = json.loads(run_cli("doctor", "--json", cwd=Path.cwd()).stdout)["parts"]
    by_kind = {kind: [one for one in parts if one["kind"] == kind] for kind in ("devices", "compilers", "providers", "packages")}
    assert [one["name"] for one in by_kind["devices"]] == plugins.names("devices")
    assert [one["name"] for one in by_kind["providers"]] == list(providers.PROVIDERS)
    elsewhere = {name for name, one in providers.PROVIDERS.items() if os.uname().sysname.lower() not in one.systems}
    assert all(one["ready"] or one["fix"] or one["name"] in elsewhere for one in parts)
    ready = {one["name"] for one in by_kind["providers"] if one["ready"]}
    assert {providers.PROVIDERS[name].name for name in ready} >= set(onnxruntime.get_available_providers()) & {"CPUExecutionProvider"}


def test_devices_lists_every_way_when_nothing_is_named() -> None:
    listed = json.loads(run_cli("devices", "--json", cwd=Path.cwd()).stdout)
    assert list(listed["devices"]) == plugins.names("devices")
    assert "edgedistill.device/1" in run_cli("devices", "show", "local", "--json", cwd=Path.cwd()).stdout


# The real ones


@pytest.fixture
def side(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The agent runs in that other Python; where it cannot be had here, its error is the reason to skip."""
    try:
        found = str(side_pythons.python(request.param))
    except DeviceError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("EDGEDISTILL_PYTHON", found)
    return found


TAKEN = [  # OpenVINO compiles its two nodes to one; XNNPACK multiplies matrices of two axes only
    ("openvino", "1.24.1", {"OpenVINO-EP-subgraph_2": 1}, {"Det": 1}, 2),
    ("xnnpack", "1.21", {"Softmax": 1}, {"MatMul": 1, "Det": 1}, 1),
]


@pytest.mark.provider
@pytest.mark.parametrize(("side", "version", "there", "here", "count"), TAKEN, indirect=["side"])
def test_rest_falls_back_when_the_provider_lacks_an_operator(
    side: str, version: str, there: dict[str, int], here: dict[str, int], count: int, split: Path, request: pytest.FixtureRequest
) -> None:
    provider = providers.find(request.node.callspec.params["side"])
    ended = Local().run(job(split, provider.name), 120)
    found = ended.result
    assert (found["status"], found["onnxruntime"]) == ("fell_back", version)
    assert found["placement"][provider.name]["ops"] == there
    assert found["placement"]["CPUExecutionProvider"]["ops"] == here
    assert sum(one["time_share"] for one in found["placement"].values()) == pytest.approx(1)
    assert found["detail"].startswith(f"{provider.name} ran {count} of 3 nodes")
    assert len(found["samples_ms"]) >= 5
    np.testing.assert_allclose(ended.answers[0], np.linalg.det(known()), atol=1e-4)


@pytest.mark.provider
@pytest.mark.parametrize("side", ["openvino"], indirect=True)
def test_bench_keeps_a_fallback_and_exits_7_when_strict(side: str, bundle: Path, tmp_path: Path) -> None:
    told = bench(bundle, "--provider", "openvino", "--strict", check=7).stderr
    assert "OpenVINOExecutionProvider ran 2 of 3 nodes" in told
    assert "Det × 1" in told
    document = json.loads(bench(bundle, "--provider", "openvino", "--json", "--out", str(tmp_path), check=0).stdout)
    (entry,) = document["devices"]
    assert (entry["provider"], entry["onnxruntime"]) == ("OpenVINOExecutionProvider", "1.24.1")
    assert entry["placement"]["bundle"]["CPUExecutionProvider"]["ops"] == {"Det": 1}
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "the bundle did not run on OpenVINOExecutionProvider alone" in report


@pytest.mark.provider
@pytest.mark.parametrize("side", ["plugins"], indirect=True)
def test_quantised_graph_runs_whole_on_the_simulator_when_it_may_not_fall_back(side: str, quantised: Path) -> None:
    ended = Local().run(job(quantised, "qnn", session={"session.disable_cpu_ep_fallback": "1"}), 120)
    found = ended.result["placement"]
    assert ended.result["status"] == "ok"
    assert list(found) == ["QNNExecutionProvider"]
    assert found["QNNExecutionProvider"]["graph_ops"] == {"QuantizeLinear": 3, "DequantizeLinear": 4, "MatMul": 1, "Softmax": 1}
    np.testing.assert_allclose(ended.answers[0], known((EIGHT_BITS - 128.0) * 0.03), atol=1e-3)


@pytest.mark.provider
@pytest.mark.parametrize("side", ["plugins"], indirect=True)
def test_both_ends_fall_back_when_the_simulator_leaves_them(side: str, quantised: Path) -> None:
    found = Local().run(job(quantised, "qnn"), 120).result
    assert found["status"] == "fell_back"
    assert found["placement"]["CPUExecutionProvider"]["ops"] == {"QuantizeLinear": 1, "DequantizeLinear": 1}
    assert found["placement"]["QNNExecutionProvider"]["graph_ops"] == {"QuantizeLinear": 2, "DequantizeLinear": 3, "MatMul": 1, "Softmax": 1}
    assert found["placement"]["QNNExecutionProvider"]["time_share"] > 0.5


@pytest.mark.provider
@pytest.mark.parametrize("side", ["plugins"], indirect=True)
def test_nothing_is_measured_under_the_simulators_name_when_it_takes_nothing(side: str, tmp_path: Path) -> None:
    """ONNX Runtime names the provider among the session's, though it runs no node: only the profile tells."""
    model = save(tmp_path / "alone.onnx", [helper.make_node("Hardmax", ["x"], ["z"])], {}, [1, 4, 8])
    found = Local().run(job(model, "qnn"), 120).result
    assert found["status"] == "fell_back"
    assert found["providers"][0] == "QNNExecutionProvider"
    assert list(found["placement"]) == ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match="QNNExecutionProvider ran 0 of 1 nodes"):
        placement.judge("bundle", placement.ask("qnn", PROFILE, LINUX, 1, strict=False), found, lambda sentence: None)
    refused = Local().run(job(model, "qnn", session={"session.disable_cpu_ep_fallback": "1"}), 120).result
    assert refused["status"] == "no_provider"
    assert "fallback to CPU EP has been explicitly disabled" in refused["detail"]


@pytest.mark.provider
@pytest.mark.parametrize("side", ["plugins"], indirect=True)
def test_openvinos_plugin_runs_on_intel_and_says_so_elsewhere(side: str, split: Path) -> None:
    found = Local().run(job(split, "openvino"), 120).result
    if "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        assert found["status"] == "fell_back"
        assert found["placement"]["CPUExecutionProvider"]["ops"] == {"Det": 1}
    else:
        assert found["status"] == "no_provider"
        assert "onnxruntime_ep_openvino is here, but sees no CPU of its kind" in found["detail"]


def test_strict_refuses_a_device_when_it_does_not_tell_who_ran_what() -> None:
    """A browser runs on WebGPU, and tells no placement: strict asks for more than it can know."""
    keys = {"provider": "WebGpuExecutionProvider", "strict": True}
    asked = placement.Asked(keys=keys, runtime={}, here=False)
    with pytest.raises(DeviceError, match="does not tell which provider"):
        placement.judge("bundle", asked, {"status": "ok"}, print, traced=True)
    placement.judge("bundle", asked, {"status": "ok"}, print)


def test_doctor_goes_on_when_the_named_python_cannot_be_run() -> None:
    done = run_cli("doctor", "--json", cwd=Path.cwd(), EDGEDISTILL_PYTHON="/nowhere/python")
    parts = {one["name"]: one for one in json.loads(done.stdout)["parts"]}
    assert "/nowhere/python" in parts["cpu"]["found"]
    assert parts["local"]["kind"] == "devices"
