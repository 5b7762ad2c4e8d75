"""Every tensor and every operator of a model's message, those of graphs inside operators and of functions among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def tensors(model: Any) -> Iterator[Any]:
    """Every tensor of a model: of graphs inside operators and of functions too."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)
    for training in model.training_info:
        yield from _graph_tensors(training.initialization)
        yield from _graph_tensors(training.algorithm)


def _graph_tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Any) -> Iterator[Any]:
    for attribute in (one for node in nodes for one in node.attribute):
        yield from ([attribute.t] if attribute.HasField("t") else [])
        yield from attribute.tensors
        for sparse in [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []), *attribute.sparse_tensors]:
            yield from (sparse.values, sparse.indices)
    for graph in (graph for node in nodes for graph in inner(node)):
        yield from _graph_tensors(graph)


def nodes(model: Any) -> Iterator[Any]:
    """Every operator of a model, those inside operators and functions too."""
    for some in (model.graph.node, *(function.node for function in model.functions)):
        yield from _nodes(some)


def _nodes(some: Any) -> Iterator[Any]:
    for node in some:
        yield node
        for graph in inner(node):
            yield from _nodes(graph.node)


def inner(node: Any) -> list[Any]:
    """The graphs inside an operator."""
    return [graph for one in node.attribute for graph in [*([one.g] if one.HasField("g") else []), *one.graphs]]


def called(node: Any) -> str:
    """An operator as a sentence names it: by its name and kind, and by what it makes where it has no name."""
    made = next((name for name in node.output if name), "nothing")
    return f"{node.name} ({node.op_type})" if node.name else f"{node.op_type}, which makes '{made}'"
