"""A foreign graph made ready for quantisers: every change is held against the original's answers, and undone where they differ.

In turn: weights out of the inputs and the IR version that the target reads; the operators' version, up to what quantisers need or down to
what the target has; constants folded and shapes inferred (`plain`); attention and its surroundings fused (`fused`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedistill import graphs, runtime
from edgedistill.errors import ConfigError
from edgedistill.files import unwritten

QUANTISABLE = 13  # the first operator version with one scale for each channel
LOWEST_IR = 4  # the first whose weights need not be inputs
IR_OF_TYPES: Mapping[int, int] = {17: 9, 18: 9, 19: 9, 20: 9, 21: 10, 22: 10, 23: 11, 24: 12, 25: 13, 26: 13}  # float8, int4, float4, e8m0, int2
FUSIBLE = {"Softmax", "LayerNormalization", "ReduceMean", "Erf"}
DATA = "model.onnx.data"

Same = Callable[[Path], str]  # "" where a file answers as the original does, else how it differs


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The fp32 graphs, the version of their operators, and what was done or left."""

    plain: Path
    fused: Path
    opset: int
    ir_version: int
    notes: tuple[str, ...]


def prepare(original: Path, scratch: Path, opset_max: int, ir_max: int, same: Same) -> Prepared:
    """Write `plain.onnx` and perhaps `fused.onnx` to scratch. Raises ConfigError where the target is too old for the model."""
    import onnx

    notes: list[str] = []
    large = graphs.size(original) > graphs.LARGE  # nothing is rewritten
    model = onnx.load(str(original), format="protobuf")
    _tidy(model, ir_max, notes)
    now = scratch / "tidy.onnx"
    graphs.save(model, now, DATA)
    if differs := same(now):
        raise ConfigError(f"{original} answers differently once its weights are no inputs: {differs}")
    now = _at_version(now, model, scratch, opset_max, large, same, notes)
    del model
    plain = scratch / "plain.onnx"
    if large:
        notes.append("over 1.8 GB: weights stay beside the graph, which is quantised as it came")
        return _done(now, now, notes)
    _try("folding constants", lambda: _fold(now, plain, ir_max), plain, same, notes)
    plain = plain if plain.is_file() else now
    fused = scratch / "fused.onnx"
    if {node.op_type for node in onnx.load(str(plain)).graph.node} & FUSIBLE:
        _try("fusing attention", lambda: _fuse(plain, fused, ir_max), fused, same, notes)
    return _done(plain, fused if fused.is_file() else plain, notes)


def _done(plain: Path, fused: Path, notes: list[str]) -> Prepared:
    import onnx

    model = onnx.load(str(fused), load_external_data=False)
    return Prepared(plain=plain, fused=fused, opset=_opset(model), ir_version=model.ir_version, notes=tuple(notes))


def _opset(model: Any) -> int:
    return max((int(one.version) for one in model.opset_import if one.domain in ("", "ai.onnx")), default=1)


def _tidy(model: Any, ir_max: int, notes: list[str]) -> None:
    """Weights are no inputs, and the file is of a version that the target reads. Raises ConfigError where that cannot be."""
    weights = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in weights]
    if len(kept) < len(model.graph.input):
        notes.append(f"{len(model.graph.input) - len(kept)} weights were inputs too, and are no longer")
        del model.graph.input[:]
        model.graph.input.extend(kept)
    needed = max([LOWEST_IR, *(IR_OF_TYPES.get(tensor.data_type, 0) for tensor in model.graph.initializer)])
    if needed > ir_max:
        raise ConfigError(f"the model holds numbers of IR version {needed}, and the target reads files up to {ir_max}")
    if model.ir_version > ir_max:
        notes.append(f"IR version {model.ir_version} lowered to {ir_max}, which the target reads; nothing in the file needs more")
    model.ir_version = min(max(model.ir_version, needed), ir_max)


def _at_version(now: Path, model: Any, scratch: Path, opset_max: int, large: bool, same: Same, notes: list[str]) -> Path:
    """The graph in operators that quantisers know and the target has; as it is where that is so, or where newer ones change its answers."""
    have = _opset(model)
    wanted = min(have, opset_max) if have >= QUANTISABLE else min(QUANTISABLE, opset_max)
    if wanted == have:
        return now
    converted = scratch / "converted.onnx"
    if large:
        notes.append(f"opset {have}: a file of this size is not converted")
    else:
        _try(f"opset {have} converted to {wanted}", lambda: _convert(model, wanted, converted), converted, same, notes)
    if converted.is_file():
        notes.append(f"opset {have} converted to {wanted}")
    elif have > opset_max:
        why = notes[-1] if notes else ""
        raise ConfigError(f"the model is of opset {have}, and the target takes {opset_max} at most ({why})", hint=f"export it with opset {opset_max}")
    return converted if converted.is_file() else now


def _convert(model: Any, version: int, out: Path) -> None:
    import onnx
    from onnx import version_converter

    converted = version_converter.convert_version(model, version)
    converted.ir_version = model.ir_version
    onnx.save(converted, str(out))


def _try(what: str, change: Callable[[], None], out: Path, same: Same, notes: list[str]) -> None:
    """Change the graph; where that fails or changes answers, remove the file and say so."""
    logging.disable(logging.WARNING)  # tools that speak through loggers of many names
    try:
        change()
        differs = same(out) if out.is_file() else ""
    except Exception as error:  # tools raise whatever an odd graph provokes: the graph then stays as it is
        if unwritten(error):
            raise
        differs = runtime.said(error)
    finally:
        logging.disable(logging.NOTSET)
    if differs:
        out.unlink(missing_ok=True)
        notes.append(f"left out: {what} ({differs})")


def _fold(file: Path, out: Path, ir_max: int) -> None:
    """Fold constants and infer shapes, as ONNX Runtime's quantisers ask for."""
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    quant_pre_process(str(file), str(out), skip_symbolic_shape=True)
    model = onnx.load(str(out))
    model.ir_version = min(model.ir_version, ir_max)
    onnx.save(model, str(out))


def _fuse(plain: Path, out: Path, ir_max: int) -> None:
    """Attention, layer norms and GELU as one operator each; no file where there are none. Skip connections stay apart: fused they are slower."""
    import onnx
    from onnxruntime.transformers import optimizer
    from onnxruntime.transformers.fusion_options import FusionOptions

    options = FusionOptions("bert")
    options.enable_skip_layer_norm = options.enable_bias_skip_layer_norm = False
    fused = optimizer.optimize_model(str(plain), model_type="bert", num_heads=0, hidden_size=0, opt_level=0, optimization_options=options)
    if any(fused.get_fused_operator_statistics().values()):
        fused.model.ir_version = min(fused.model.ir_version, ir_max)
        onnx.save(fused.model, str(out))
