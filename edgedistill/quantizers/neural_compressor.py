"""Intel Neural Compressor's static int8 for PyTorch: its observers choose the scales, its tuning the way of observing.

The torch model is captured with `torch.export`, observed on the calibration inputs and converted by neural-compressor's PT2E path
(`StaticQuantConfig`, activations u8 with a zero point, weights s8). `autotune` tries the ways of `WAYS` in their order, each judged as the
ONNX file that would be shipped, and stops at the first that holds; where none does, it returns the one that diverges least.

The scales, zero points and int8 weights that it ends with go onto the plain fp32 graph as QuantizeLinear and DequantizeLinear, each at the
operator with the same weight. torch's own export of a converted model is not used: it starts at opset 18, above what the profiles allow, and
has other names and shapes. PT2E leaves embeddings in fp32; their tables are kept in u8 with neural-compressor's observer per tensor.

Source: https://github.com/intel/neural-compressor/blob/v3.10/docs/source/3x/PT_StaticQuant.md (PT2E) and autotune.md (tuning).
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import StageError
from edgedistill.quantizers import Feeds, Source, _coverage, _qdq

WAYS = (
    {"act_algo": "minmax", "w_granularity": "per_channel"},
    {"act_algo": "kl", "w_granularity": "per_channel"},
    {"act_algo": "minmax", "w_granularity": "per_tensor"},
)  # a moving average of ranges, a histogram cut where it costs least, and one scale for a whole weight


def makes(scheme: str) -> bool:
    """Whether `make` knows the scheme."""
    return scheme == "int8-pt2e"


def make(scheme: str, source: Source, out: Path) -> dict[str, Any]:
    """Write the graph with neural-compressor's numbers; the facts tell of every way that was tried.

    Raises ImportError without neural-compressor, StageError for a model that is there as ONNX alone.
    """
    if source.torch_model is None or source.forward is None:
        raise StageError("neural-compressor quantises torch models, and this one came as ONNX")
    with _quiet():
        best, trials = _tuned(source, out)
        kept = _write(best, source, out)
    return {"calibration": trials[-1]["way"], "trials": trials, "weights": _coverage.weights(out), **kept}


def _tuned(source: Source, out: Path) -> tuple[Any, list[dict[str, Any]]]:
    """The converted model that neural-compressor's tuning settles on, and what it tried; the last entry is the one it took."""
    from neural_compressor.torch.quantization import StaticQuantConfig, TuningConfig, autotune

    ways = [StaticQuantConfig(**way) for way in WAYS]
    trials: list[dict[str, Any]] = []

    def score(model: Any) -> float:
        """1 for what could be shipped, and for fp32, which is asked first; less the more it diverges elsewhere."""
        if not _is_converted(model):
            return 1.0
        _write(model, source, out)
        divergence, holds = source.divergence(out), source.holds(out)
        way = WAYS[len(trials)]
        trials.append({"way": f"{way['act_algo']}, weights {way['w_granularity']}", "divergence": round(divergence, 6), "holds": holds})
        return 1.0 if holds else 1.0 / (2.0 + divergence)

    captured = _captured(source)
    tuning = TuningConfig(config_set=ways, tolerable_loss=0.0, max_trials=len(ways))
    best = autotune(captured, tuning, score, run_fn=lambda model: _calibrate(model, source))
    taken = min(trials, key=lambda trial: (not trial["holds"], trial["divergence"]))
    return best, [trial for trial in trials if trial is not taken] + [taken]


def _captured(source: Source) -> Any:
    """The torch model as a graph of operators, its batch and length free."""
    import torch
    from neural_compressor.torch.export import export

    assert source.torch_model is not None, "make has looked"
    assert source.forward is not None
    model, answer, names = source.torch_model(), source.forward, _qdq.inputs(source.plain)

    class Answer(torch.nn.Module):  # the graph's inputs by place, one tensor out
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            return answer(self.model, dict(zip(names, tensors, strict=True)))

    sample = _tensors(next(source.calibration()), names)
    free = torch.export.Dim.AUTO
    shapes = (tuple({0: free, 1: free} if tensor.ndim == 2 else {0: free} for tensor in sample),)
    return export(Answer().eval(), example_inputs=sample, dynamic_shapes=shapes)


def _calibrate(model: Any, source: Source) -> None:
    """Show the calibration inputs to the observers. A last batch of one row is shown as two: captured graphs with a free batch take no other."""
    names, many = _qdq.inputs(source.plain), None
    for feeds in source.calibration():
        tensors = _tensors(feeds, names)
        many = len(tensors[0]) > 1 if many is None else many
        model(*(tensor.repeat_interleave(2, dim=0) if many and len(tensor) == 1 else tensor for tensor in tensors))


def _tensors(feeds: Feeds, names: list[str]) -> tuple[Any, ...]:
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(feeds[name])) for name in names)


def _write(model: Any, source: Source, out: Path) -> dict[str, Any]:
    """The plain graph with the model's numbers, in `out`."""
    return _qdq.write(source.plain, list(_linears(model)), _table, out, source.sizes)


def _is_converted(model: Any) -> bool:
    return next(_linears(model), None) is not None


def _linears(model: Any) -> Iterator[_qdq.Linear]:
    """What the converted graph says of each linear map with int8 on both sides, in the order in which they run."""
    import torch

    for node in model.graph.nodes:
        if node.target is not torch.ops.aten.linear.default:
            continue
        seen, weight = node.args[0], node.args[1]
        if not (_dequantizes(seen) and _dequantizes(weight)):
            continue
        scale, zero, low = seen.args[1], seen.args[2], seen.args[3]
        original, scales, zeros, *rest = (_value(model, one) for one in weight.args[0].args)
        with torch.no_grad():
            integers = weight.args[0].target(original, scales, zeros, *rest)
        yield _qdq.Linear(
            original=original.detach().numpy(),
            integers=integers.numpy(),
            scales=np.atleast_1d(np.asarray(scales, np.float32)),
            seen_scale=float(scale),
            seen_zero=int(zero),
            seen_signed=low < 0,
        )


def _dequantizes(node: Any) -> bool:
    return "dequantize_per" in str(getattr(node, "target", "")) and "quantize_per" in str(getattr(node.args[0], "target", ""))


def _value(model: Any, argument: Any) -> Any:
    """An argument of a node: a constant, or the tensor that an attribute of the model holds."""
    if getattr(argument, "op", None) != "get_attr":
        return argument
    found = model
    for part in argument.target.split("."):
        found = getattr(found, part)
    return found


def _table(values: NDArray[np.float32]) -> _qdq.Table:
    """An embedding table in u8 with one scale and zero point, by neural-compressor's observer per tensor."""
    import torch
    from neural_compressor.torch.algorithms.pt2e_quant.utility import create_quant_spec_from_config

    spec = create_quant_spec_from_config("uint8", sym=False, granularity="per_tensor", algo="minmax")
    observer = spec.observer_or_fake_quant_ctr(dtype=spec.dtype, qscheme=spec.qscheme, quant_min=spec.quant_min, quant_max=spec.quant_max)
    table = torch.from_numpy(values)
    observer(table)
    scale, zero = observer.calculate_qparams()
    integers = torch.clamp(torch.round(table / scale) + zero, spec.quant_min, spec.quant_max).to(torch.uint8)
    return _qdq.Table(integers=integers.numpy(), scale=float(scale), zero=int(zero))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """neural-compressor tells of every trial in tables, torch of every guess while it captures; stdout is the answer's."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
