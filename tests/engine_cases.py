"""Graphs, inputs and judges for the tests of engines: a small BERT, a small ViT with planted outliers, a small network of convolutions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import transformers
from onnx import TensorProto, helper, numpy_helper

from edgedistill import runtime
from edgedistill.exporters import torchscript
from edgedistill.quantizers import Source
from edgedistill.tasks import text_classification

WORDS = 600
BERT = {"vocab_size": WORDS, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 160, "num_labels": 3}
VIT = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 16, "patch_size": 4}
SIZES = {"batch": 1, "sequence": 16}


def texts(seed: int, rows: int = 16, length: int = 16) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.ones((rows, length), np.int64)
    mask[::2, -length // 3 :] = 0
    return {"input_ids": random.integers(5, WORDS, (rows, length)), "attention_mask": mask}


def pictures(seed: int, rows: int = 16) -> dict[str, np.ndarray]:
    return {"pixel_values": np.random.default_rng(seed).normal(size=(rows, 3, 16, 16)).astype(np.float32)}


def answers(file: Path, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    found: np.ndarray = runtime.open_session(file).run(None, dict(feeds))[0]
    return found


def divergence(file: Path, fp32: Path, feeds: Mapping[str, np.ndarray]) -> float:
    """Mean squared difference as a share of the variance."""
    ours, theirs = answers(file, feeds), answers(fp32, feeds)
    return float(((ours - theirs) ** 2).mean() / theirs.var())


def source(
    plain: Path, fused: Path, make: Callable[[int], dict[str, np.ndarray]], holds: Callable[[Path], bool] = lambda file: True, **changed: Any
) -> Source:
    judged = make(99)
    known = {"weights": None, "calibration": lambda: iter([make(seed) for seed in range(4)]), "sizes": SIZES}
    return Source(plain=plain, fused=fused, divergence=lambda file: divergence(file, fused, judged), holds=holds, **known | changed)


def export_bert(folder: Path) -> tuple[Path, Path]:
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(transformers.BertConfig(**BERT, initializer_range=0.1)).eval()
    model.set_attn_implementation("eager")
    torchscript.export(model, text_classification.forward, texts(0, 2, 8), folder, opset=17, ir_version=10)
    return folder / "model.onnx", folder / "fused.onnx"


def export_vit(folder: Path, outliers: bool) -> tuple[Path, Path]:
    """Where outliers are planted, one channel of two norms is 400 × larger, and what reads it divides by 400: fp32 answers stay."""
    torch.manual_seed(0)
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, num_labels=3, initializer_range=0.12)).eval()
    model.set_attn_implementation("eager")
    if outliers:
        with torch.no_grad():
            _plant(model)
    torchscript.export(model, text_classification.forward, {"pixel_values": pictures(0, 2)["pixel_values"]}, folder, opset=17, ir_version=10)
    return folder / "model.onnx", folder / "fused.onnx"


def _plant(model: Any, factor: float = 400.0) -> None:
    norms = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)}
    linears = {name: module for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    before, behind = ("query", "key", "value", "q_proj", "k_proj", "v_proj"), ("intermediate", "fc1")
    for norm, layer, read, channel in (("layernorm_before", 1, before, 7), ("layernorm_after", 2, behind, 11)):
        module = next(found for name, found in norms.items() if name.endswith(norm) and f".{layer}." in name)
        module.weight[channel] *= factor
        module.bias[channel] *= factor
        readers = [found for name, found in linears.items() if f".{layer}." in name and any(part in name.split(".") for part in read)]
        assert len(readers) == (3 if norm == "layernorm_before" else 1), list(linears)
        for reader in readers:
            reader.weight[:, channel] /= factor


def convolutions(file: Path) -> Path:
    """Conv, Relu, Conv, a shortcut, Relu, pooling, Gemm."""
    random = np.random.default_rng(0)
    weights = {
        "first": random.normal(size=(16, 3, 3, 3)) / 5,
        "first_bias": random.normal(size=16),
        "second": random.normal(size=(16, 16, 3, 3)) / 12,
        "second_bias": random.normal(size=16),
        "head": random.normal(size=(3, 16)) / 4,
        "head_bias": random.normal(size=3),
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "first", "first_bias"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "second", "second_bias"], ["c"], name="second", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["b", "c"], ["d"], name="shortcut"),
        helper.make_node("Relu", ["d"], ["e"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["e"], ["f"], name="pool"),
        helper.make_node("Flatten", ["f"], ["g"], name="flat"),
        helper.make_node("Gemm", ["g", "head", "head_bias"], ["logits"], name="head", transB=1),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 16, 16])]
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), file)
    return file
