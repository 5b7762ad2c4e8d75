"""Quantisation with ONNX Runtime's own tools: fp32 as it is, dynamic int8, static int8 as QDQ.

`SCHEMES` is the list. Dynamic int8 quantises the embeddings too (`Gather`): leaving them out keeps most of a small student's bytes in
fp32. QOperator S8S8 is not offered: on x86 it was measured 50 to 115 times slower than QDQ (microsoft/onnxruntime, quantize.py warns).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

Feeds = Mapping[str, NDArray[Any]]
WEIGHTED = ["MatMul", "Gemm", "Attention", "EmbedLayerNormalization", "Gather"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """The two graphs of an export: `plain` operators for static quantisation, `fused` for the rest."""

    plain: Path
    fused: Path


def fp32(exported: Exported, out: Path, calibration: Iterable[Feeds]) -> None:
    """The fused graph, unchanged."""
    shutil.copyfile(exported.fused, out)


def int8_dynamic(exported: Exported, out: Path, calibration: Iterable[Feeds]) -> None:
    """Weights int8 per tensor, embeddings included; activations uint8, scaled anew for each input. Needs no calibration."""
    _dynamic(exported.fused, out, per_channel=False)


def int8_dynamic_per_channel(exported: Exported, out: Path, calibration: Iterable[Feeds]) -> None:
    """As `int8-dynamic`, with one scale for each output channel of a weight."""
    _dynamic(exported.fused, out, per_channel=True)


def int8_static_s8s8(exported: Exported, out: Path, calibration: Iterable[Feeds]) -> None:
    """QDQ, weights and activations int8 and symmetric: what ARM's kernels take without flipping an operand."""
    _static(exported.plain, out, calibration, activations="QInt8", symmetric=True)


def int8_static_u8s8(exported: Exported, out: Path, calibration: Iterable[Feeds]) -> None:
    """QDQ, activations uint8, weights int8: what x86 with VNNI multiplies."""
    _static(exported.plain, out, calibration, activations="QUInt8", symmetric=False)


SCHEMES = {
    "fp32": fp32,
    "int8-dynamic": int8_dynamic,
    "int8-dynamic-per-channel": int8_dynamic_per_channel,
    "int8-static-s8s8": int8_static_s8s8,
    "int8-static-u8s8": int8_static_u8s8,
}


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
