"""The comparison with other tools: its statistics against values worked out by hand, its page, its environments; shapes of a profiled graph."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
PEERS = sorted(file.parent for file in (BENCHMARKS / "peers").glob("*/make.py"))


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


table = load(BENCHMARKS / "peers" / "table.py")


def test_ratio_is_the_median_over_turns_and_its_interval_reaches_where_chance_does() -> None:
    """Turns 0.5, 1, 1.5: a resample of three has the median 0.5 when two or three of it are 0.5, in 7 of 27 cases; so too for 1.5."""
    found, interval = table.ratio([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert found == 1.0
    assert interval == (0.5, 1.5)


def test_ratio_ignores_a_slow_turn_when_it_was_slow_for_both() -> None:
    found, interval = table.ratio([1.0, 10.0, 1.0, 4.0], [2.0, 20.0, 2.0, 8.0])
    assert (found, interval) == (0.5, (0.5, 0.5))


def test_difference_is_paired_by_row() -> None:
    """One row of four is ours alone: of 4 draws, 0 hit it in 0.316, 3 or more in 0.051, 4 in 0.004 of the cases; so 0 to 3/4."""
    gap, interval = table.difference([1, 1, 0, 0], [1, 0, 0, 0])
    assert gap == 0.25
    assert interval == (0.0, 0.75)


def test_reason_is_the_last_line_without_folders_of_this_machine() -> None:
    process = load(BENCHMARKS / "peers" / "process.py")
    said = "Traceback\nInvalidProtobuf: Load model from /somewhere/work/m.onnx failed\n\n"
    error = subprocess.CalledProcessError(1, ["/venv/bin/python", "-I", "/peers/agent.py", "job.json"], output=said)
    assert process.reason(error) == "agent.py: InvalidProtobuf: Load model from m.onnx failed"


def row(**changed: Any) -> dict[str, Any]:
    said = {"versions": {"tool": "1.0"}, "scheme": "dynamic int8", "bytes": 2_500_000, "accuracy": 0.8, "median_ms": 1.25}
    shares = {"ratio": 0.75, "ratio_interval": (0.7, 0.8), "cpu_ratio": 0.72, "cpu_ratio_interval": (0.7, 0.75)}
    return {**said, **shares, "difference": 0.01, "difference_interval": (-0.01, 0.03), **changed}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "met: no slower; no less accurate"),
        ({"ratio": 1.2, "ratio_interval": (1.1, 1.3)}, "not met: slower; no less accurate"),
        ({"ratio": 1.01, "ratio_interval": (0.9, 1.1)}, "not met: slower, within the noise; no less accurate"),
        ({"ratio": 0.98, "ratio_interval": (0.9, 1.1)}, "met: no slower, within the noise; no less accurate"),
        ({"difference": -0.001, "difference_interval": (-0.01, 0.01)}, "not met: no slower; less accurate, within chance"),
        ({"difference": -0.1, "difference_interval": (-0.12, -0.08)}, "not met: no slower; less accurate"),
    ],
)
def test_verdict_says_which_half_fails_and_whether_chance_could_turn_it(changed: dict[str, Any], said: str) -> None:
    assert table.verdict(row(**changed)) == said


def test_page_has_every_peer_and_the_reason_of_one_that_failed() -> None:
    conditions = {"turns": 9, "passes": 20, "threads": 1, "timed_rows": 32, "test_rows": 2000, "cores": 2, "cpu": "a CPU", "load": [0.1, 0.2]}
    conditions |= {"python": "3.11.7", "date": "2026-11-21"}
    peers = {"first": row(), "second": {"failed": "pip: no matching | distribution"}}
    page = table.render({"bundle": "default for linux-x64", "conditions": conditions, "ours": row(), "peers": peers})
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == 5  # head, rule, ours, two peers
    assert {line.count("|") for line in lines} == {11}
    assert "| first | tool 1.0 | dynamic int8 | 2.50 | 0.8000 | 1.250 | 0.750 (0.700 to 0.800) | 0.720 (0.700 to 0.750) |" in lines[3]
    assert lines[4].endswith("| not measured: pip: no matching / distribution |")


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_requirements_are_pinned(peer: Path) -> None:
    lines = (peer / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) >= 5
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []


def test_peers_are_the_three_that_are_asked_for() -> None:
    assert [peer.name for peer in PEERS] == ["olive", "openvino", "optimum"]


def test_products_have_the_rows_that_reach_them_when_the_graph_cuts_its_input(tmp_path: Path) -> None:
    """Five tokens of width 4 into 3; then the first token alone into 2, with its weight transposed."""
    operators = load(BENCHMARKS / "operators.py")
    arrays = {"a": np.ones((4, 3), np.float32), "b": np.ones((2, 3), np.float32), "zero": np.array(0)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="up"),
        helper.make_node("Gather", ["h", "zero"], ["first"], name="first", axis=1),
        helper.make_node("Gemm", ["first", "b"], ["y"], name="head", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, "tokens", 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in arrays.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), str(tmp_path / "small.onnx"))
    shapes, attended = operators.products(tmp_path / "small.onnx", {"x": np.ones((1, 5, 4), np.float32)}, tmp_path)
    assert shapes == {(5, 4, 3): 1, (1, 3, 2): 1}
    assert attended == 0
