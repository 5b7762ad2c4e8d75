"""Emulated ARM CPUs against numbers by hand: products of known size, an assembly program, answers of this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices import _toolchain, qemu
from edgedistill.errors import ConfigError, DeviceError
from edgedistill.measure import emulate

pytestmark = [pytest.mark.qemu]
M, K, N = 8, 64, 48
A, B = (np.random.default_rng(seed).integers(-100, 100, shape) for seed, shape in enumerate(((M, K), (K, N))))
KINDS = {"int8": (TensorProto.INT8, TensorProto.INT32, "MatMulInteger"), "float32": (TensorProto.FLOAT, TensorProto.FLOAT, "MatMul")}


@pytest.fixture(scope="session", autouse=True)
def tools() -> None:
    """Everything that emulation needs, fetched and built once; where something is missing its error is the reason to skip.

    Of a session, so that it comes before the project that some tests build.
    """
    try:
        for make in (_toolchain.qemu, _toolchain.arm_libraries, _toolchain.counter, lambda: _toolchain.runner("aarch64"), _toolchain.arm_library):
            make()
    except DeviceError as error:
        pytest.skip(str(error))


def save(file: Path, nodes: list[Any], kinds: tuple[int, int], tensors: dict[str, Any]) -> Path:
    ins, outs = ([helper.make_tensor_value_info(name, kind, None)] for name, kind in zip("ay", kinds, strict=True))
    graph = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(value, name) for name, value in tensors.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def product(folder: Path, kind: str) -> Path:
    """y = a · b with the constant b."""
    given, found, name = KINDS[kind]
    return save(folder / f"{kind}.onnx", [helper.make_node(name, ["a", "b"], ["y"])], (given, found), {"b": B.astype(kind)})


def job(model: Path, a: Any, wanted: Any) -> dict[str, Any]:
    feeds = [{"a": {"dtype": str(a.dtype), "values": a.tolist()}}]
    checks = {"picks": [{}], "golden": [wanted], "tolerance": 1e-3}
    return {"model": str(model), "feeds": feeds, "provider": "CPUExecutionProvider", "threads": 1, "min_runs": 3, "min_s": 0.1, **checks}


@pytest.mark.parametrize(
    ("kind", "cpu", "expected"),
    [
        ("int8", "cortex-a53", {"int_multiply": M * K * N // 8}),  # eight products an instruction, and no dot product
        ("int8", "cortex-a76", {"int_dot": M * K * N // 16}),
        ("int8", "i8mm", {"int_matrix": M * K * N // 32}),
        ("float32", "cortex-a76", {"float_multiply_add": M * K * N // 4}),
    ],
)
def test_products_are_counted_exactly_when_a_graph_is_one_product(tmp_path: Path, kind: str, cpu: str, expected: dict[str, int]) -> None:
    found = emulate.counts(product(tmp_path, kind), [{"a": A.astype(kind)}], cpu)
    other = found.pop("other")
    assert {name: count for name, count in found.items() if count} == expected
    assert 0 < other < M * K * N


def test_kernels_are_avx2s_when_the_cpu_is_a_haswell(tmp_path: Path) -> None:
    """256 bits are 32 products of int8, added by vpmaddubsw and once more by vpmaddwd, or 8 of fp32; the sums of rows are some more of the former."""
    mixed = save(tmp_path / "u8.onnx", [helper.make_node("MatMulInteger", ["a", "b"], ["y"])], (2, 6), {"b": B.astype(np.int8)})
    integers = emulate.counts(mixed, [{"a": (A + 100).astype(np.uint8)}], "haswell")
    assert 2 * M * K * N // 32 <= integers["int_multiply"] <= 1.05 * 2 * M * K * N // 32
    assert integers["int_dot"] == integers["float_multiply_add"] == 0
    floats = emulate.counts(product(tmp_path, "float32"), [{"a": A.astype(np.float32)}], "haswell")
    assert (floats["float_multiply_add"], floats["int_multiply"]) == (M * K * N // 8, 0)


def test_counts_repeat_when_a_graph_runs_again(tmp_path: Path) -> None:
    """Some hundred instructions of the runtime's own come and go; of a graph as large as a small model's they are below 0.01 %."""
    draw = np.random.default_rng(0)
    wide = {"b": draw.normal(size=(512, 512)).astype(np.float32)}
    model = save(tmp_path / "wide.onnx", [helper.make_node("MatMul", ["a", "b"], ["y"])], KINDS["float32"][:2], wide)
    feeds = [{"a": draw.normal(size=(rows, 512)).astype(np.float32)} for rows in (256, 128)]
    first, second = (sum(emulate.counts(model, feeds, "cortex-a53").values()) for _ in range(2))
    assert first > 192 * 512 * 512 / 4
    assert second == pytest.approx(first, rel=1e-4)


PROGRAM = """
.arch armv8.6-a+dotprod+i8mm+fp16+fp16fml
.global _start
_start: movz x8, #0x7ED1
mov x0, #7
svc #0
sdot v0.4s, v1.16b, v2.16b
udot v0.2s, v1.8b, v2.8b
sdot v0.4s, v1.16b, v2.4b[3]
usdot v0.4s, v1.16b, v2.16b
sudot v0.4s, v1.16b, v2.4b[2]
smmla v0.4s, v1.16b, v2.16b
usmmla v0.4s, v1.16b, v2.16b
smull v0.8h, v1.8b, v2.8b
umlal2 v0.4s, v1.8h, v2.8h
smlal v0.4s, v1.4h, v2.h[7]
umull2 v0.4s, v1.8h, v2.h[1]
fmla v0.4s, v1.4s, v2.4s
fmls v0.2d, v1.2d, v2.2d
fmla v31.4s, v30.4s, v29.s[1]
fmla v0.8h, v1.8h, v2.h[1]
fmls v0.8h, v1.8h, v2.8h
fmlal v0.4s, v1.4h, v2.4h
add v0.4s, v1.4s, v2.4s
mul v0.4s, v1.4s, v2.s[1]
fmul v0.4s, v1.4s, v2.s[1]
smlsl v0.8h, v1.8b, v2.8b
sadalp v0.4s, v1.8h
pmull v0.8h, v1.8b, v2.8b
sqdmlal v0.4s, v1.4h, v2.h[1]
fcvtzs v0.4s, v1.4s, #3
shl v0.4s, v1.4s, #3
fmadd s0, s1, s2, s3
madd x9, x9, x9, x9
mov x0, #-1
svc #0
mov x8, #93
mov x0, #0
svc #0
"""


def test_classes_are_right_when_the_instructions_are_written_by_hand(tmp_path: Path) -> None:
    if not shutil.which("aarch64-linux-gnu-gcc"):
        pytest.skip(_toolchain.INSTALL["libraries"])
    (tmp_path / "p.s").write_text(PROGRAM, encoding="ascii")
    subprocess.run(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "p.s", "-o", "p"], cwd=tmp_path, check=True)
    plugin = f"{_toolchain.counter()},out={tmp_path / 'counts'}"
    subprocess.run([_toolchain.qemu(), "-cpu", "max", "-plugin", plugin, str(tmp_path / "p")], check=True, timeout=60)
    numbers = [int(word) for word in (tmp_path / "counts").read_text(encoding="ascii").split()]
    assert numbers == [7, 5, 2, 4, 5, 14]  # the mark, the classes; the last mark's own two are among the other 14


def test_answers_are_this_machines_when_the_arithmetic_is_floating_point(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["x"]),
        helper.make_node("Erf", ["x"], ["e"]),
        helper.make_node("Mul", ["x", "e"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"], axis=-1),
    ]
    weights = {"b": draw.normal(size=(K, N)).astype(np.float32) / 8}
    model = save(tmp_path / "m.onnx", nodes, (TensorProto.FLOAT, TensorProto.FLOAT), weights)
    feeds = [{"a": draw.normal(size=(1, K)).astype(np.float32)} for _ in range(16)]
    found = emulate.parity(model, feeds, ["cortex-a53"])
    assert found["cortex-a53"].agreement == 1
    assert found["cortex-a53"].max_abs < 1e-4


def test_parity_counts_what_differs_when_answers_are_given_by_hand() -> None:
    ours = [np.array([[0.0, 1.0]]), np.array([[2.0, 0.0]])]
    theirs = [np.array([[0.0, 1.5]]), np.array([[2.0, 2.25]])]
    assert emulate.compare(theirs, ours, [{}, {}]) == emulate.Parity(max_abs=2.25, agreement=0.5)
    assert emulate.compare([np.array([[np.nan, 1.0]])], ours[:1], [{}]).max_abs == np.inf


def test_result_has_answers_and_memory_but_no_times_when_emulated(tmp_path: Path) -> None:
    model, a = product(tmp_path, "int8"), A.astype(np.int8)
    result = qemu.connect("cortex-a72").run(job(model, a, (A @ B).tolist()), 120).result
    assert (result["status"], result["worst_difference"], result["provenance"]) == ("ok", 0, "emulated")
    assert result["samples_ms"] == result["warmups_ms"] == []
    assert not {"load_ms", "first_ms", "import_ms"} & result.keys()
    assert 0 < result["peak_mib"] < 200


def test_status_is_wrong_when_a_golden_answer_is_off(tmp_path: Path) -> None:
    wanted = A @ B
    wanted[3, 5] += 2
    result = qemu.connect("cortex-a76").run(job(product(tmp_path, "int8"), A.astype(np.int8), wanted.tolist()), 120).result
    assert (result["status"], result["worst_difference"]) == ("wrong", 2)


def test_process_is_ended_at_its_deadline_when_the_model_hangs(tmp_path: Path) -> None:
    """A loop of 2⁶² turns."""
    turn = [helper.make_node("Identity", ["go_in"], ["go_out"]), helper.make_node("Add", ["x_in", "one"], ["x_out"])]
    state = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", 7), ("go_in", 9), ("x_in", 1), ("go_out", 9), ("x_out", 1))]
    body = helper.make_graph(turn, "body", state[:3], state[3:], [numpy_helper.from_array(np.float32(1), "one")])
    tensors = {"turns": np.array(2**62, np.int64), "go": np.array(True)}
    model = save(tmp_path / "loop.onnx", [helper.make_node("Loop", ["turns", "go", "a"], ["y"], body=body)], (1, 1), tensors)
    started = time.monotonic()
    result = qemu.connect("cortex-a76").run(job(model, np.float32(0), [[0.0]]), 15).result
    assert result["status"] == "timeout"
    assert time.monotonic() - started < 30


def test_facts_say_emulated_when_asked() -> None:
    for cpu, arch in (("cortex-a53", "aarch64"), ("haswell", "x86_64")):
        facts = qemu.connect(cpu).facts()
        assert (facts["arch"], facts["provenance"]) == (arch, "emulated")
        assert int(facts["qemu"].split(".")[0]) >= 7


@pytest.mark.parametrize("address", ["qemu", "qemu:", "qemu:cortex-a99"])
def test_address_is_refused_with_the_known_cpus_when_there_is_no_such(address: str) -> None:
    with pytest.raises(ConfigError, match="cortex-a76"):
        qemu.connect(address)


def door(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=600)


def test_bundle_agrees_with_this_machine_when_both_doors_emulate_it(built: dict[str, Any]) -> None:
    bundle = built["bundle"]
    found = door("edgedistill.measure.emulate", bundle, "--cpu", "cortex-a76", "--rows", "4", "--json")
    assert found.returncode == 0, found.stderr
    document = json.loads(found.stdout)
    (row,) = document["cpus"]
    assert (document["schema"], document["rows"], row["status"], row["provenance"]) == ("edgedistill.emulate/1", 4, "ok", "emulated")
    assert row["agreement"] == 1
    assert sum(row["instructions"].values()) > 10_000
    told = door("edgedistill", "bench", bundle, "--device", "qemu:cortex-a53").stdout
    assert "cortex-a53" in told
    assert " ms" not in told
    lost = door("edgedistill.measure.emulate", bundle, "--cpu", "cortex-a53", PATH="/nowhere")
    assert (lost.returncode, "apt-get install qemu-user" in lost.stderr) == (7, True)
