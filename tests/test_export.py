"""The exported graphs against torch, on shapes that the trace never saw."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import transformers

from edgedistill import graphs, runtime
from edgedistill.exporters import torchscript
from edgedistill.tasks import question_answering, text_classification

forward = text_classification.forward
FAMILIES = {
    "bert": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, num_labels=3)
    ),
    "roberta": lambda: transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(vocab_size=50, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, num_labels=3)
    ),
    "distilbert": lambda: transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(vocab_size=50, dim=32, n_layers=2, n_heads=4, hidden_dim=64, num_labels=3)
    ),
}


def batch(rows: int, length: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows * 100 + length)
    mask = np.ones((rows, length), np.int64)
    mask[0, -(length // 3) :] = 0  # right padding in the first row
    return {"input_ids": random.integers(5, 50, (rows, length)), "attention_mask": mask}


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_logits_equal_torch_when_shapes_differ_from_the_trace(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = FAMILIES[family]().eval()
    model.set_attn_implementation("eager")
    facts = torchscript.export(model, forward, batch(2, 8), tmp_path, opset=17, ir_version=10)
    for name in ("model.onnx", "fused.onnx"):
        session = runtime.open_session(tmp_path / name)
        for shape in ((1, 3), (2, 16), (5, 31)):
            feeds = batch(*shape)
            with torch.no_grad():
                expected = model(**{key: torch.from_numpy(value) for key, value in feeds.items()}).logits.numpy()
            np.testing.assert_allclose(session.run(None, feeds)[0], expected, atol=1e-5)
    assert facts["fused_nodes"] < facts["nodes"]
    for name in ("model.onnx", "fused.onnx"):
        found = onnx.load(tmp_path / name)
        assert found.ir_version <= 10
        assert next(entry.version for entry in found.opset_import if entry.domain in ("", "ai.onnx")) == 17


@pytest.mark.parametrize("family", ["bert", "unknown"])
def test_logits_equal_torch_when_the_weights_lie_beside_the_graph(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf's limit is lowered to a small model's size; each file then has its own weights, and nothing else is left."""
    monkeypatch.setattr("edgedistill.graphs.LARGE", 10_000)
    if family == "unknown":
        monkeypatch.setattr(torchscript, "OPTIMISER", {})
    torch.manual_seed(0)
    model = FAMILIES["bert"]().eval()
    model.set_attn_implementation("eager")
    torchscript.export(model, forward, batch(2, 8), tmp_path, opset=17, ir_version=10)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fused.onnx", "fused.onnx.data", "model.onnx", "model.onnx.data"]
    feeds = batch(5, 31)
    with torch.no_grad():
        expected = model(**{key: torch.from_numpy(value) for key, value in feeds.items()}).logits.numpy()
    for name in ("model.onnx", "fused.onnx"):
        assert graphs.size(tmp_path / name) > 4 * sum(one.numel() for one in model.parameters())
        np.testing.assert_allclose(runtime.open_session(tmp_path / name).run(None, feeds)[0], expected, atol=1e-5)


def test_attention_fuses_and_layer_norms_stay_apart_when_the_family_is_bert(tmp_path: Path) -> None:
    model = FAMILIES["bert"]().eval()
    model.set_attn_implementation("eager")
    torchscript.export(model, forward, batch(2, 8), tmp_path, opset=17, ir_version=10)
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "fused.onnx").graph.node)
    assert (kinds["Attention"], kinds["BiasGelu"]) == (2, 2)
    assert (kinds["Sum"], kinds["LayerNormalization"], kinds["SkipLayerNormalization"]) == (4, 4, 0)


def test_both_ends_are_one_tensor_when_the_task_is_question_answering(tmp_path: Path) -> None:
    sizes = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    torch.manual_seed(0)
    model = transformers.BertForQuestionAnswering(transformers.BertConfig(**sizes)).eval()
    model.set_attn_implementation("eager")
    inputs = {**batch(2, 8), "token_type_ids": np.tile([0, 1], (2, 4))}
    torchscript.export(model, question_answering.forward, inputs, tmp_path, opset=17, ir_version=10)
    session = runtime.open_session(tmp_path / "fused.onnx")
    for shape in ((1, 4), (3, 26)):
        feeds = {**batch(*shape), "token_type_ids": np.tile([0, 1], (shape[0], shape[1] // 2))}
        with torch.no_grad():
            expected = model(**{key: torch.from_numpy(value) for key, value in feeds.items()})
        found = session.run(None, feeds)[0]  # [b, s, 2]
        np.testing.assert_allclose(found[:, :, 0], expected.start_logits.numpy(), atol=1e-5)
        np.testing.assert_allclose(found[:, :, 1], expected.end_logits.numpy(), atol=1e-5)


def test_length_is_fixed_and_the_batch_is_not_when_the_input_is_an_image(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16, "patch_size": 8}
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, num_labels=3)).eval()
    model.set_attn_implementation("eager")
    pixels = np.random.default_rng(0).normal(size=(5, 3, 16, 16)).astype(np.float32)
    torchscript.export(model, forward, {"pixel_values": pixels[:2]}, tmp_path, opset=17, ir_version=10)
    session = runtime.open_session(tmp_path / "fused.onnx")
    assert [isinstance(size, int) for size in session.get_inputs()[0].shape] == [False, True, True, True]
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels)).logits.numpy()
    np.testing.assert_allclose(session.run(None, {"pixel_values": pixels})[0], expected, atol=1e-5)
