"""Quantisation with ONNX Runtime's own tools: fp32 as it is, dynamic int8, static int8 as QDQ.

Dynamic int8 quantises the embeddings too (`Gather`): leaving them out keeps most of a small student's bytes in
fp32. QOperator S8S8 is not offered: on x86 it was measured 50 to 115 times slower than QDQ (microsoft/onnxruntime, quantize.py warns).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgedistill.quantizers import Feeds, Source
from edgedistill.schemes import parse

WEIGHTED = ["MatMul", "Gemm", "Attention", "EmbedLayerNormalization", "Gather"]


def makes(scheme: str) -> bool:
    """Whether `make` knows the scheme."""
    return scheme == "fp32" or parse(scheme).base in ("int8-dynamic", "int8-static-s8s8", "int8-static-u8s8")


def make(scheme: str, source: Source, out: Path) -> dict[str, Any]:
    """Write the quantised graph; static schemes start from the plain one, the rest from the fused one."""
    asked = parse(scheme)
    if scheme == "fp32":
        shutil.copyfile(source.fused, out)
    elif asked.base == "int8-dynamic":
        _dynamic(source.fused, out, per_channel=asked.per_channel)
    else:
        _static(
            source.plain,
            out,
            source.calibration(),
            activations={"s8": "QInt8", "u8": "QUInt8"}[asked.activations],
            symmetric=asked.activations == "s8",
        )
    return {}


def _dynamic(model: Path, out: Path, *, per_channel: bool) -> None:
    from onnx import TensorProto
    from onnxruntime.quantization import QuantType, quantize_dynamic

    # fused operators have no shape inference: the default type stands in for it
    options = {"DefaultTensorType": TensorProto.FLOAT}
    with _quiet():
        quantize_dynamic(
            str(model), str(out), weight_type=QuantType.QInt8, per_channel=per_channel, op_types_to_quantize=WEIGHTED, extra_options=options
        )


def _static(model: Path, out: Path, calibration: Iterable[Feeds], *, activations: str, symmetric: bool) -> None:
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with _quiet():
        quantize_static(
            str(model),
            str(out),
            _Reader(calibration),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["MatMul", "Gemm", "Gather", "Conv"],
            extra_options={"ActivationSymmetric": symmetric, "WeightSymmetric": True},
        )


class _Reader:
    """Calibration inputs one by one, as `CalibrationDataReader` hands them out."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


class _quiet:  # noqa: N801  a context manager reads better in lower case
    """onnxruntime.quantization talks through the root logger, and wrongly here: the models are pre-processed."""

    def __enter__(self) -> None:
        logging.disable(logging.WARNING)

    def __exit__(self, *error: object) -> None:
        logging.disable(logging.NOTSET)
