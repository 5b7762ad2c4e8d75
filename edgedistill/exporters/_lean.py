"""What a fused graph computes for nobody: tokens that the answer does not read, and token types that are always the first.

Both leave the answers as they are and take a fifth off a small student's time (benchmarks/LOG.md). Graphs of another make stay untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

NORMS = ("LayerNormalization",)
SUMS = ("Add", "Sum")
BIASED = ("BiasGelu", "FastGelu", "Gelu")
PLAIN = ("Tanh", "Relu", "Erf")
BY_TOKEN = (*NORMS, *SUMS, *BIASED, *PLAIN, "MatMul")  # what one token's answer needs no other token for
TOKENS = (*BY_TOKEN, "Attention", "MultiHeadAttention", "EmbedLayerNormalization", "SkipLayerNormalization")  # [batch, tokens, width]


def trim(model: Any) -> None:
    """Both savings, in place."""
    one_token(model.graph)
    first_type(model)


def one_token(graph: Any) -> None:
    """Where one token alone is read at the end, let the operators behind the last attention see that token alone.

    The Gather of the token moves up through operators that treat every token by itself, as long as nobody else reads them.
    """
    constants, makers, readers = _tables(graph)
    for pick in [node for node in graph.node if node.op_type == "Gather" and _picks_one_token(node, constants)]:
        inside = _behind(pick, constants, makers, readers)
        made = {name for node in inside for name in node.output}
        edges = {name for node in inside for name in node.input if name and name not in made and name not in constants}
        if edges and all(name in makers and makers[name].op_type in TOKENS for name in edges):
            _move(graph, pick, inside, sorted(edges), constants)


def first_type(model: Any) -> None:
    """Add the first token type's row into the positions' table where every token has that type, and no input says otherwise."""
    graph = model.graph
    constants, makers, _ = _tables(graph)
    for node in graph.node:
        if node.op_type != "EmbedLayerNormalization" or not node.input[1] or not {node.input[3], node.input[4]} <= constants.keys():
            continue
        if not _always_zero(node.input[1], model, constants, makers):
            continue
        positions, types = (_array(constants[node.input[index]]) for index in (3, 4))
        folded = f"{node.input[3]}_with_type"
        graph.initializer.append(_tensor(folded, (positions + types[0]).astype(np.float32)))
        node.input[1], node.input[3], node.input[4] = "", folded, ""
    _sweep(graph)


def _picks_one_token(node: Any, constants: Mapping[str, Any]) -> bool:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0)
    index = constants.get(node.input[1])
    return axis == 1 and index is not None and not index.dims


def _behind(pick: Any, constants: Mapping[str, Any], makers: Mapping[str, Any], readers: Mapping[str, list[Any]]) -> list[Any]:
    """The operators above the pick that it may move through, nearest first."""
    inside: list[Any] = []
    waiting = [pick.input[0]]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node in inside or not _treats_tokens_alone(node, constants):
            continue
        if all(reader is pick or reader in inside for output in node.output for reader in readers.get(output, [])):
            inside.append(node)
            waiting += list(node.input)
    return inside


def _treats_tokens_alone(node: Any, constants: Mapping[str, Any]) -> bool:
    """Constants beside the tokens are of one width: a bias, a scale, or a matrix on the right."""
    if node.op_type not in BY_TOKEN:
        return False
    if node.op_type == "MatMul":
        return node.input[0] not in constants and node.input[1] in constants and len(constants[node.input[1]].dims) == 2
    return all(len(constants[name].dims) <= 1 for name in node.input if name in constants)


def _move(graph: Any, pick: Any, inside: list[Any], edges: list[str], constants: Mapping[str, Any]) -> None:
    """Pick the token from everything that comes in, as a sequence of one, and the first of one at the end."""
    index, zero = f"{pick.name}_token", f"{pick.name}_only"
    graph.initializer.append(_tensor(index, _array(constants[pick.input[1]]).reshape(1).astype(np.int64)))
    graph.initializer.append(_tensor(zero, np.array(0, np.int64)))
    pick.input[1] = zero
    for edge in edges:
        at = next(place for place, node in enumerate(graph.node) if edge in node.output)
        graph.node.insert(at + 1, _node("Gather", [edge, index], [f"{edge}_token"], f"{pick.name}/{edge}", axis=1))
        for node in inside:
            for place, name in enumerate(node.input):
                if name == edge:
                    node.input[place] = f"{edge}_token"


def _always_zero(name: str, model: Any, constants: Mapping[str, Any], makers: Mapping[str, Any]) -> bool:
    """Whether a tensor is made of zeros alone: of the graph's inputs only shapes go into it, and it comes out as zeros at two of them."""
    inputs, seen, waiting, nodes = {entry.name for entry in model.graph.input}, set(), [name], []
    while waiting:
        one = waiting.pop()
        if one in inputs:
            return False
        if one in seen or one in constants or one not in makers:
            continue
        seen.add(one)
        nodes.append(makers[one])
        waiting += [] if makers[one].op_type == "Shape" else [entry for entry in makers[one].input if entry]
    return all(not np.any(_run(name, model, nodes, shape)) for shape in ((1, 3), (2, 7)))


def _run(name: str, whole: Any, nodes: list[Any], shape: tuple[int, int]) -> Any:
    """A tensor that only shapes go into, computed by ONNX Runtime for inputs of zeros of this shape."""
    import onnx

    from edgedistill.runtime import onnxruntime

    graph = whole.graph
    wanted = {id(node) for node in nodes}
    ordered = [node for node in graph.node if id(node) in wanted]
    fed = {entry for node in ordered for entry in node.input} - {output for node in ordered for output in node.output}
    given = [tensor for tensor in graph.initializer if tensor.name in fed]
    inputs = [entry for entry in graph.input if entry.name in fed]
    part = onnx.helper.make_graph(ordered, "part", inputs, [onnx.helper.make_empty_tensor_value_info(name)], given)
    model = onnx.helper.make_model(part, opset_imports=whole.opset_import, ir_version=whole.ir_version)
    session = onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {entry.name: np.zeros(shape, np.int64) for entry in session.get_inputs()})[0]


def _sweep(graph: Any) -> None:
    """Take out what nobody reads any more."""
    kept = {output.name for output in graph.output}
    read = kept | {name for node in graph.node for name in node.input}
    while dead := [node for node in graph.node if not read & set(node.output)]:
        for node in dead:
            graph.node.remove(node)
        read = kept | {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)


def _tables(graph: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]]]:
    """Constants by name, the node behind each tensor, the nodes that read it; what leaves the graph has a reader that is no node."""
    readers: dict[str, list[Any]] = {output.name: [None] for output in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return {tensor.name: tensor for tensor in graph.initializer}, {name: node for node in graph.node for name in node.output}, readers


def _array(tensor: Any) -> Any:
    import onnx

    return onnx.numpy_helper.to_array(tensor)


def _tensor(name: str, values: Any) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(values, name)


def _node(operator: str, inputs: list[str], outputs: list[str], name: str, **attributes: Any) -> Any:
    import onnx

    return onnx.helper.make_node(operator, inputs, outputs, name=name, **attributes)
