"""ONNX through torch's TorchScript exporter in eager attention, then ONNX Runtime's transformer optimiser.

The one route on which a BERT's attention fuses (419 nodes become 36); the newer exporter leaves it in pieces. Two files come of it:
`model.onnx` as exported, cleaned, for static quantisers, which know the plain operators; `fused.onnx` for everything else. Weights that one
file cannot hold lie beside it.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgedistill import graphs, surgery
from edgedistill.exporters import _lean

OPTIMISER = {
    "bert": "bert",
    "roberta": "bert",
    "distilbert": "bert",
    "electra": "bert",
    "mpnet": "bert",
    "xlm-roberta": "bert",
    "vit": "vit",
    "deit": "vit",
}  # model family → optimiser's name for its graph


def export(model: Any, forward: Any, sample: Mapping[str, Any], out: Path, *, opset: int, ir_version: int) -> dict[str, Any]:
    """Write `model.onnx` and `fused.onnx` into `out`; `forward(model, inputs)` is what the graph does, `sample` inputs like its own.

    The batch is dynamic, and so is the length of whatever is counted in tokens. Returns node counts and the fused operators.
    """
    plain = out / "model.onnx"
    with tempfile.TemporaryDirectory(dir=out) as folder:  # the tracer writes a file for each weight of a large model
        traced = Path(folder) / "traced.onnx"
        _trace(model, forward, sample, traced, opset)
        _clean(traced, plain, ir_version)
    fused = _fuse(model, plain, out / "fused.onnx", ir_version)
    return {"opset": opset, "nodes": _node_count(plain), "fused_nodes": _node_count(out / "fused.onnx"), "fusions": fused}


def _trace(model: Any, forward: Any, sample: Mapping[str, Any], file: Path, opset: int) -> None:
    import torch

    class Answer(torch.nn.Module):  # positional inputs in, one tensor out: what a graph has
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            return forward(self.model, dict(zip(sample, tensors, strict=True)))

    wrapper = Answer().eval()  # the exporter restores the outermost module's mode: left in training, it would export dropout
    tensors = tuple(torch.from_numpy(value) for value in sample.values())
    with torch.no_grad():
        answer = wrapper(*tensors)
    axes = {name: {0: "batch", 1: "sequence"} if value.ndim == 2 else {0: "batch"} for name, value in sample.items()}
    axes["logits"] = {0: "batch", 1: "sequence"} if answer.ndim == 3 else {0: "batch"}
    loud = logging.getLogger("torch.onnx").level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns of every shape that it takes for constant; parity on other shapes is what decides
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            wrapper,
            tensors,
            str(file),
            dynamo=False,
            opset_version=opset,
            input_names=list(sample),
            output_names=["logits"],
            dynamic_axes=axes,
        )
    logging.getLogger("torch.onnx").setLevel(loud)


def _clean(traced: Path, out: Path, ir_version: int) -> None:
    """Fold constants and infer shapes, as ONNX Runtime's quantisers ask for."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    one_file = {"save_as_external_data": True, "all_tensors_to_one_file": True, "external_data_location": "cleaned.data"}
    cleaned = traced.with_name("cleaned.onnx")
    quant_pre_process(str(traced), str(cleaned), skip_symbolic_shape=True, **(one_file if graphs.beside(traced) else {}))
    model = onnx.load(str(cleaned))
    model.ir_version = min(model.ir_version, ir_version)
    graphs.save(model, out)


def _fuse(model: Any, plain: Path, file: Path, ir_version: int) -> dict[str, int]:
    """Fuse attention and its surroundings where ONNX Runtime's optimiser knows the family; else the graph stays as it is."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    config = model.config
    kind = OPTIMISER.get(config.model_type)
    if kind is None:
        graphs.save(onnx.load(str(plain)), file)
        return {}
    # a pruned student's own number: the config's would fuse into an attention that cuts its heads elsewhere, and answers wrongly
    pruned = surgery.plan(config).get("heads", 0)
    heads = pruned or getattr(config, "num_attention_heads", 0)
    options = FusionOptions(kind)
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    width = pruned * surgery.plan(config).get("head_size", 0) or (config.hidden_size if heads else 0)
    logging.disable(logging.WARNING)  # it speaks through loggers of many names, and of narrow attention as if it were a mistake
    try:
        fused = optimizer.optimize_model(str(plain), model_type=kind, num_heads=heads, hidden_size=width, opt_level=1, optimization_options=options)
    finally:
        logging.disable(logging.NOTSET)
    _keep_residuals_apart(fused.model)
    _lean.trim(fused.model)
    fused.model.ir_version = min(fused.model.ir_version, ir_version)
    graphs.save(fused.model, file)
    return {name: count for name, count in fused.get_fused_operator_statistics().items() if count}


def _keep_residuals_apart(model: Any) -> None:
    """Write the residual additions as `Sum`, which ONNX Runtime does not fuse with the layer norm behind it.

    Its fused SkipLayerNormalization takes 29 % of an int8 student's time on x86 (benchmarks/LOG.md); apart they take a fifth of that.
    """
    makers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        residual = makers.get(node.input[0]) if node.op_type == "LayerNormalization" else None
        if residual is not None and residual.op_type == "Add":
            residual.op_type = "Sum"


def _node_count(file: Path) -> int:
    import onnx

    return len(onnx.load(str(file), load_external_data=False).graph.node)
