"""The choice among schemes: planted losers lose, each with its reason; and the quantiser's files are what they say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedistill import plugins, runtime
from edgedistill.errors import StageError
from edgedistill.quantizers import onnxruntime as engine
from edgedistill.spec import Candidate
from edgedistill.stages import quantize
from edgedistill.stages.quantize import Params, Tried
from edgedistill.tasks import text_classification

ROWS = 1000  # validation rows of the planted candidates


def params(latency_counts: bool) -> Params:
    return Params(
        task="text-classification",
        engine="onnxruntime",
        allowed=(),
        forbidden=(),
        agreement=0.97,
        drop=0.01,
        latency_counts=latency_counts,
        max_length=8,
    )


def tried(scheme: str, size: int, score: float = 0.9, agreement: float = 1.0, latency: float | None = None) -> Tried:
    candidate = Candidate(scheme=scheme, bytes=size, score=score, agreement=agreement, latency_ratio=latency, chosen=False, reason="")
    fp32, correct = (np.repeat([1.0, 0.0], [round(share * ROWS), ROWS - round(share * ROWS)])[:, None] for share in (0.9, score))
    bench: Any = SimpleNamespace(task=text_classification, fp32_evidence=fp32)
    return Tried(candidate, Path(scheme), quantize._problem(bench, agreement, correct, params(False)))


def choose(rows: list[Tried], latency_counts: bool = False) -> tuple[str, dict[str, str]]:
    best = quantize._choose(rows, params(latency_counts))
    return best.candidate.scheme, {row.candidate.scheme: quantize._reason(row, best, params(latency_counts)) for row in rows}


def test_smallest_wins_when_all_hold() -> None:
    winner, reasons = choose([tried("large", 400), tried("small", 100), tried("middle", 101)])
    assert winner == "small"
    assert reasons["large"] == "lost: 4 × the bytes of small"


def test_small_and_wrong_loses_when_it_agrees_too_little() -> None:
    winner, reasons = choose([tried("wrong", 50, agreement=0.9), tried("right", 100)])
    assert winner == "right"
    assert "agrees with fp32 on 90.00%" in reasons["wrong"]


def test_small_and_worse_loses_when_its_score_falls() -> None:
    winner, reasons = choose([tried("worse", 50, score=0.87, agreement=0.98), tried("right", 100)])
    assert winner == "right"
    assert "0.8700 is worse than fp32's 0.9000 by more than 0.01 and chance" in reasons["worse"]


def test_small_wins_when_its_loss_may_be_chance() -> None:
    """Two rows of a thousand beyond the limit: lost = 0.012, its deviation √(0.012·0.988/1000) = 0.0034, the bound 0.0063 < 0.01."""
    assert choose([tried("small", 50, score=0.888, agreement=0.98), tried("right", 100)])[0] == "small"


def test_faster_wins_among_the_near_when_this_machine_is_of_the_targets_kind() -> None:
    rows = [tried("slow", 100, latency=0.9), tried("fast", 105, latency=0.4), tried("fastest but large", 400, latency=0.1)]
    winner, reasons = choose(rows, latency_counts=True)
    assert winner == "fast"
    assert reasons["slow"] == "lost: 0.9524 × the bytes of fast and 0.9 × fp32's latency, where fast has 0.4"
    assert reasons["fastest but large"].startswith("lost: 3.81 × the bytes")


def test_smallest_stays_when_another_is_faster_by_noise() -> None:
    assert choose([tried("small", 100, latency=0.41), tried("near", 101, latency=0.39)], latency_counts=True)[0] == "small"


def test_latency_says_nothing_when_the_target_is_another_kind_of_machine() -> None:
    assert choose([tried("slow", 100, latency=0.9), tried("fast", 105, latency=0.4)])[0] == "slow"


def test_every_reason_is_told_when_none_holds() -> None:
    with pytest.raises(StageError, match="no allowed scheme") as caught:
        choose([tried("one", 1, agreement=0.5), tried("two", 2, score=0.1, agreement=0.99)])
    assert "one: it agrees" in str(caught.value)
    assert "two: its validation score" in str(caught.value)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> engine.Exported:
    """Embeddings, a hidden layer and a head over the mean token: `input_ids` and `attention_mask` in, logits out."""
    random = np.random.default_rng(0)
    weights = {"table": random.normal(size=(200, 64)), "hidden": random.normal(size=(64, 128)) / 8, "head": random.normal(size=(128, 3)) / 11}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["tokens"]),
        helper.make_node("MatMul", ["tokens", "hidden"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["active"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["active", "column"], ["seen"]),
        helper.make_node("ReduceMean", ["seen"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "head"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "s"]) for name in ("input_ids", "attention_mask")]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors.append(numpy_helper.from_array(np.array([2], np.int64), "last"))
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])], tensors)
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return engine.Exported(plain=file, fused=file)


def feeds() -> list[dict[str, Any]]:
    random = np.random.default_rng(3)
    return [{"input_ids": random.integers(0, 200, (4, 9)), "attention_mask": np.ones((4, 9), np.int64)} for _ in range(8)]


@pytest.mark.parametrize("scheme", sorted(engine.SCHEMES))
def test_scheme_computes_what_it_says_when_run(scheme: str, exported: engine.Exported, tmp_path: Path) -> None:
    out = tmp_path / f"{scheme}.onnx"
    engine.SCHEMES[scheme](exported, out, feeds())
    run = runtime.open_session(out)
    reference = runtime.open_session(exported.fused)
    difference = max(np.abs(run.run(None, feed)[0] - reference.run(None, feed)[0]).max() for feed in feeds())
    kinds = Counter(node.op_type for node in onnx.load(out).graph.node)
    if scheme == "fp32":
        assert difference == 0
        return
    assert 0 < difference < 0.1
    assert out.stat().st_size < 0.5 * exported.fused.stat().st_size  # the embeddings went along
    integer = {"int8-dynamic": "MatMulInteger", "int8-dynamic-per-channel": "MatMulInteger"}.get(scheme, "QuantizeLinear")
    assert kinds[integer] >= 2


def test_list_of_schemes_is_long_enough() -> None:
    assert len(engine.SCHEMES) >= 5
    assert "onnxruntime" in plugins.names("quantizers")
