"""The agent in its own process on a model made by hand, and what becomes of wrong, crashing and hanging jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill.devices.local import Local
from edgedistill.measure import agent
from edgedistill.tasks import Row, question_answering, token_classification


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """logits = Σ over tokens of table[id]: the answer is a sum that the test does by hand."""
    table = np.arange(20, dtype=np.float32).reshape(10, 2)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("ReduceSum", ["tokens", "axis"], ["logits"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "s"])]
    tensors = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1], np.int64), "axis")]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 2])], tensors)
    file = tmp_path_factory.mktemp("agent") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file


def job(model: Path, **changes: Any) -> dict[str, Any]:
    golden = [[[0 + 2 + 4, 1 + 3 + 5]], [[18, 19]]]  # rows [0, 1, 2] and [9]
    feeds = [{name: {"dtype": "int64", "values": [ids]} for name in ("input_ids", "attention_mask")} for ids in ([0, 1, 2], [9])]
    base = {"model": str(model), "feeds": feeds, "picks": [{}, {}], "provider": "CPUExecutionProvider", "threads": 1}
    return {**base, "min_runs": 30, "min_s": 0.05, "golden": golden, "tolerance": 1e-6, **changes}


def test_samples_and_phases_are_apart_when_the_answers_are_right(model: Path) -> None:
    result = Local().run(job(model), deadline_s=60).result
    assert result["status"] == "ok"
    assert len(result["samples_ms"]) >= 30
    assert len(result["samples_ms"]) % 2 == 0  # whole passes over both rows
    assert result["warmups_ms"]
    assert 0 < np.median(result["samples_ms"]) < result["load_ms"]
    assert sum(result["samples_ms"]) >= 50  # at least min_s of running
    assert 0 < result["peak_mib"] < 200


def test_status_is_wrong_when_an_answer_is_off(model: Path) -> None:
    result = Local().run(job(model, golden=[[[6, 9]], [[18, 20]]]), deadline_s=60).result
    assert result["status"] == "wrong"
    assert result["worst_difference"] == 1


@pytest.mark.parametrize("golden", [[[[6, 9], [6, 9]], [[18, 19]]], [[[6, 9, 0]], [[18, 19]]]])
def test_status_is_wrong_when_there_are_fewer_answers_than_the_golden_ones(model: Path, golden: Any) -> None:
    result = Local().run(job(model, golden=golden), deadline_s=60).result
    assert (result["status"], result["worst_difference"]) == ("wrong", float("inf"))


def test_answers_are_the_tasks_when_picked_without_it() -> None:
    """The agent picks by itself, because it imports nothing of ours."""
    raw = np.random.default_rng(0).normal(size=(1, 7, 2))
    for task, row in (
        (token_classification, Row(ids=range(7), at=[1, 3, 6])),
        (question_answering, Row(ids=range(7), at=[0, 2, 4], until=[0, 3, 4])),
    ):
        picks = task.picks([row])
        np.testing.assert_allclose(agent.picked(np, raw, {name: value.tolist() for name, value in picks.items()}), task.pick(raw, picks))


def test_status_is_crashed_when_the_model_is_none(tmp_path: Path) -> None:
    result = Local().run(job(tmp_path / "none.onnx"), deadline_s=60).result
    assert result["status"] == "crashed"
    assert "none.onnx" in result["detail"]


def test_status_is_timeout_when_the_deadline_passes(model: Path) -> None:
    result = Local().run(job(model, min_s=60.0), deadline_s=2).result
    assert result["status"] == "timeout"


def test_facts_describe_this_machine_when_asked() -> None:
    facts = {**Local().facts(), **Local().conditions()}
    assert facts["cores"] >= 1
    assert facts["cpu"]
