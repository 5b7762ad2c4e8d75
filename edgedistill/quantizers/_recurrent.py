"""LSTMs with integer weights: com.microsoft's DynamicQuantizeLSTM. ONNX Runtime has none for GRU and RNN, which stay as they are.

Weights [directions, 4 · hidden, width] are kept turned, [directions, width, 4 · hidden], with one scale a direction or one a column; the
kernel wants one zero point for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedistill.quantizers._graph import MICROSOFT, Graph, attributes, make
from edgedistill.quantizers._weights import eight
from edgedistill.schemes import Scheme

KNOWN = {"activation_alpha", "activation_beta", "activations", "clip", "direction", "hidden_size", "input_forget"}
INPUTS = 8  # X, W, R, B, sequence_lens, initial_h, initial_c, P


def fits(graph: Graph, node: Any) -> bool:
    """Whether an operator is an LSTM that has an integer form."""
    if node.op_type != "LSTM" or not all(graph.is_float(name) for name in node.input[1:3]):
        return False
    return not {name for name, value in attributes(node).items() if name not in KNOWN and value}  # layout is 0 or not known


def quantize(graph: Graph, node: Any, scheme: Scheme) -> list[Any]:
    """The operator that stands in an LSTM's place."""
    graph.needs(MICROSOFT)
    given = [*node.input, *[""] * (INPUTS - len(node.input))]
    first, second = (_turned(graph, name, scheme) for name in given[1:3])
    kept = {name: value for name, value in attributes(node).items() if name in KNOWN}
    inputs = [given[0], first[0], second[0], *given[3:], *first[1:], *second[1:]]
    return [make("DynamicQuantizeLSTM", inputs, node.output, node.name, domain=MICROSOFT, **kept)]


def _turned(graph: Graph, weight: str, scheme: Scheme) -> tuple[str, ...]:
    """Names of the integers, scales and zero points of a weight, made once."""
    key = ("recurrent", weight, scheme.weights, str(scheme.reduced), str(scheme.per_channel))
    if key not in graph.shared:
        symmetric, axis = scheme.weights == "s8", -1 if scheme.per_channel else None
        turned = graph.array(weight).transpose(0, 2, 1)  # [directions, width, 4 · hidden]
        if symmetric:
            parts = [eight(one, (scheme.weights, scheme.reduced), axis, symmetric=True) for one in turned]
        else:
            parts = [eight(turned, (scheme.weights, scheme.reduced), None, symmetric=False)] * len(turned)
        values = np.stack([one.values for one in parts]) if symmetric else parts[0].values
        scale, zero = (np.stack([getattr(one, name) for one in parts]) for name in ("scale", "zero"))
        names = (("values", values), ("scale", scale), ("zero", zero))
        graph.shared[key] = tuple(graph.constant(f"{weight}_{part}", value) for part, value in names)
    return graph.shared[key]
