"""What ONNX Runtime's own tools make: fp16, and 16-bit activations as QNN's accelerators take them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgedistill.quantizers import Feeds, Source, _parts
from edgedistill.quantizers._graph import Graph


def half(source: Source, out: Path) -> None:
    """Weights and computation in fp16, inputs and outputs as they were. Operators without fp16 kernels are cast around when the file is loaded."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = Graph(source.fused)
    with _quiet():
        model = convert_float_to_float16(graph.whole(), keep_io_types=True, disable_shape_infer=True)
    Graph(model).save(out)


def sixteen(source: Source, out: Path) -> None:
    """Every operator between Q/DQ pairs of com.microsoft, activations in 16 bits, weights and tables in 8."""
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config

    graph = Graph(source.plain)
    tables = {node.input[0] for node in graph.nodes if node.op_type == "Gather" and node.name in _parts.weighted(graph)}
    with _quiet():
        config = get_qnn_qdq_config(
            str(source.plain),
            _Reader(source.calibration()),
            activation_type=QuantType.QUInt16,
            weight_type=QuantType.QUInt8,
            init_overrides={table: [{"quant_type": QuantType.QUInt8}] for table in tables},
        )
        quantize(str(source.plain), str(out), config)


class _Reader:
    """Calibration inputs one by one, as `CalibrationDataReader` hands them out."""

    def __init__(self, feeds: Iterable[Feeds]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, Any] | None:
        """The next inputs; None when there are no more."""
        feed = next(self._feeds, None)
        return None if feed is None else dict(feed)


@contextmanager
def _quiet() -> Iterator[None]:
    """The tools talk through the root logger, and wrongly here: the models are pre-processed."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
