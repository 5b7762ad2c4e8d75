"""What ONNX Runtime's own tools make: fp16, and 16-bit activations as QNN's accelerators take them."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.quantizers import Feeds, Source, _parts
from edgedistill.quantizers._graph import Graph

HOPELESS, MASKED = -1e4, -100.0


def half(file: Path, out: Path) -> None:
    """Weights and computation in fp16, inputs and outputs as they were. Operators without fp16 kernels are cast around when the file is loaded."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    graph = Graph(file)
    with _quiet():
        model = convert_float_to_float16(graph.whole(), keep_io_types=True, disable_shape_infer=True)
    Graph(model).save(out)


def sixteen(source: Source, out: Path) -> None:
    """Every operator between Q/DQ pairs of com.microsoft, activations in 16 bits, weights and tables in 8."""
    from onnxruntime.quantization import QuantType, quantize
    from onnxruntime.quantization.execution_providers.qnn import get_qnn_qdq_config
    from onnxruntime.quantization.shape_inference import quant_pre_process

    graph = Graph(source.plain)
    _soften(graph)
    tables = {node.input[0] for node in graph.nodes if node.op_type == "Gather" and node.name in _parts.weighted(graph)}
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        plain = str(Path(folder) / "plain.onnx")
        graph.save(Path(plain))
        quant_pre_process(plain, plain, skip_optimization=True, skip_symbolic_shape=True)  # the tool wants to know every type
        config = get_qnn_qdq_config(
            plain,
            _Reader(source.calibration()),
            activation_type=QuantType.QUInt16,
            weight_type=QuantType.QUInt8,
            init_overrides={table: [{"quant_type": QuantType.QUInt8}] for table in tables},
        )
        quantize(plain, str(out), config)


def _soften(graph: Graph) -> None:
    """Masks of −3 · 10³⁸ become −100: nothing is left of e⁻¹⁰⁰, and 16 bits from there to the scores are fine enough to tell them apart."""
    for name in list(graph.constants):
        if graph.is_float(name) and (values := graph.array(name)).size and values.min() < HOPELESS:
            graph.constants.pop(name)
            graph.constant(name, np.maximum(values, np.float32(MASKED)))


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
