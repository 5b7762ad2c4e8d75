"""What a fused graph computes for nobody is left out, and the answers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from engine_cases import BERT, answers, export_bert, texts
from onnx import TensorProto, helper, numpy_helper

from edgedistill.exporters import _lean, torchscript
from edgedistill.tasks import text_classification

WIDTH = 4


def graph_of(nodes: list[Any], constants: dict[str, np.ndarray], inputs: dict[str, list[Any]], outputs: dict[str, list[Any]]) -> Any:
    """A model of hand-made nodes: float inputs and outputs by name and shape."""
    made = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in some.items()] for some in (inputs, outputs)]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", made[0], made[1], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)], ir_version=8)


def picked_at_the_end(index: int, *, watched: bool = False) -> Any:
    """x → a fused norm → MatMul, bias, residual, norm → the token at `index`."""
    random = np.random.default_rng(0)
    ones = np.ones(WIDTH, np.float32)
    constants = {"w": random.normal(size=(WIDTH, WIDTH)).astype(np.float32), "b": ones * 2, "g": ones, "index": np.array(index)}
    nodes = [
        helper.make_node("SkipLayerNormalization", ["x", "x", "g", "b"], ["base"], name="base", domain="com.microsoft"),
        helper.make_node("MatMul", ["base", "w"], ["product"], name="product"),
        helper.make_node("Add", ["b", "product"], ["wide"], name="wide"),
        helper.make_node("Sum", ["wide", "base"], ["residual"], name="residual"),
        helper.make_node("LayerNormalization", ["residual", "g", "b"], ["normed"], name="normed", axis=-1),
        helper.make_node("Gather", ["normed", "index"], ["answer"], name="pick", axis=1),
    ]
    outputs = {"answer": ["n", WIDTH]} | ({"wide": ["n", "s", WIDTH]} if watched else {})
    return graph_of(nodes, constants, {"x": ["n", "s", WIDTH]}, outputs)


def saved(model: Any, folder: Path, name: str) -> Path:
    onnx.save(model, folder / name)
    return folder / name


@pytest.mark.parametrize("index", [0, 2, -1])
def test_one_token_goes_through_the_end_when_only_one_is_read(index: int, tmp_path: Path) -> None:
    feeds = {"x": np.random.default_rng(1).normal(size=(3, 5, WIDTH)).astype(np.float32)}
    before = answers(saved(picked_at_the_end(index), tmp_path, "before.onnx"), feeds)
    model = picked_at_the_end(index)
    _lean.one_token(model.graph)
    after = saved(model, tmp_path, "after.onnx")
    assert np.abs(answers(after, feeds) - before).max() < 1e-6
    gathers = [list(node.input) for node in model.graph.node if node.op_type == "Gather"]
    assert gathers == [["base", "pick_token"], ["normed", "pick_only"]]
    assert all("base" not in node.input for node in model.graph.node if node.op_type != "Gather")


def test_graph_stays_as_it_is_when_it_does_not_begin_with_tokens() -> None:
    """What comes in is a graph's input: whether its second axis counts tokens is not known."""
    model = picked_at_the_end(0)
    del model.graph.node[0]
    model.graph.input[0].name = "base"
    before = model.SerializeToString()
    _lean.one_token(model.graph)
    assert model.SerializeToString() == before


def test_tokens_stay_when_somebody_else_reads_them(tmp_path: Path) -> None:
    """`wide` leaves the graph: what it is made of must keep all tokens, what is behind it need not."""
    model = picked_at_the_end(0, watched=True)
    _lean.one_token(model.graph)
    feeds = {"x": np.random.default_rng(1).normal(size=(2, 5, WIDTH)).astype(np.float32)}
    import onnxruntime as ort

    session = ort.InferenceSession(str(saved(model, tmp_path, "after.onnx")))
    assert [output.shape for output in session.run(["answer", "wide"], feeds)] == [(2, WIDTH), (2, 5, WIDTH)]


def bert(folder: Path, forward: Any, feeds: dict[str, np.ndarray]) -> Path:
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**BERT, initializer_range=0.1)).eval()
    model.set_attn_implementation("eager")
    torchscript.export(model, forward, feeds, folder, opset=17, ir_version=10)
    return folder / "fused.onnx"


def test_fused_bert_answers_as_the_plain_graph_and_has_no_token_types(tmp_path: Path) -> None:
    plain, fused = export_bert(tmp_path)
    for feeds in (texts(1, 3, 9), texts(2, 1, 16)):
        assert np.abs(answers(fused, feeds) - answers(plain, feeds)).max() < 1e-5
    nodes = onnx.load(fused).graph.node
    embedding = next(node for node in nodes if node.op_type == "EmbedLayerNormalization")
    assert (embedding.input[1], embedding.input[4]) == ("", "")
    assert not {"Shape", "ConstantOfShape", "Expand"} & {node.op_type for node in nodes}
    last = [node for node in nodes if node.op_type == "Attention"][-1]
    assert [node.op_type for node in nodes if last.output[0] in node.input] == ["Gather"]


def test_token_types_stay_when_they_are_an_input(tmp_path: Path) -> None:
    feeds = {**texts(1, 2, 9), "token_type_ids": np.array([[0] * 4 + [1] * 5] * 2)}
    fused = bert(tmp_path, text_classification.forward, feeds)
    embedding = next(node for node in onnx.load(fused).graph.node if node.op_type == "EmbedLayerNormalization")
    assert embedding.input[1]
    assert embedding.input[4]
    assert np.abs(answers(fused, feeds) - answers(tmp_path / "model.onnx", feeds)).max() < 1e-5
