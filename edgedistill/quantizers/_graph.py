"""An ONNX graph that can be rewritten: who makes a tensor, who reads it, what is constant."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import graphs, runtime

MICROSOFT = "com.microsoft"


class Graph:
    """A model's graph with its constants by name. Weights that lie beside the file are read in."""

    def __init__(self, model: Path | Any) -> None:
        import onnx

        self.model = onnx.load(str(model)) if isinstance(model, Path) else model
        self.constants: dict[str, Any] = self._lifted()
        self.shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # constants made once for all their readers
        self.symmetric = False  # whether signed weights must do without a zero point, as accelerators ask
        names: set[str] = set()
        for index, node in enumerate(self.nodes):
            node.name = self.fresh(node.name or f"{node.op_type}_{index}", names)

    def copy(self) -> Graph:
        """Another graph of the same nodes, to be rewritten apart. They hold their constants together, so that weights are quantised once."""
        import onnx

        found = Graph.__new__(Graph)
        found.model = onnx.ModelProto()
        found.model.CopyFrom(self.model)
        found.constants, found.shared, found.symmetric = self.constants, self.shared, self.symmetric
        return found

    @property
    def nodes(self) -> Any:
        """The nodes in their order, as the protobuf holds them."""
        return self.model.graph.node

    @property
    def outputs(self) -> set[str]:
        """Names of the graph's outputs."""
        return {output.name for output in self.model.graph.output}

    @property
    def opset(self) -> int:
        """The version of the standard operators."""
        return next(int(entry.version) for entry in self.model.opset_import if entry.domain in ("", "ai.onnx"))

    def makers(self) -> dict[str, Any]:
        """The node behind each tensor."""
        return {output: node for node in self.nodes for output in node.output}

    def readers(self) -> dict[str, list[Any]]:
        """The nodes that read each tensor."""
        found: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                found.setdefault(name, []).append(node)
        return found

    def array(self, name: str) -> NDArray[Any]:
        """A constant's values."""
        import onnx

        found: NDArray[Any] = onnx.numpy_helper.to_array(self.constants[name])
        return found

    def is_float(self, name: str) -> bool:
        """Whether a name is a constant of fp32."""
        import onnx

        return name in self.constants and self.constants[name].data_type == onnx.TensorProto.FLOAT

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """Add a constant; its name, made different from every other one's."""
        import onnx

        name = self.fresh(name, self.constants)
        self.constants[name] = onnx.numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def int4(self, name: str, value: NDArray[np.int8]) -> str:
        """Add a constant of numbers in −8 … 7, two a byte."""
        import onnx

        name = self.fresh(name, self.constants)
        flat = np.pad(value.ravel(), (0, value.size % 2)).astype(np.uint8) & 15
        raw = (flat[0::2] | (flat[1::2] << 4)).tobytes()
        self.constants[name] = onnx.helper.make_tensor(name, onnx.TensorProto.INT4, value.shape, raw, raw=True)
        return name

    @staticmethod
    def fresh(name: str, taken: Any) -> str:
        """The name, or with a number behind it when it is taken; taken from now on where `taken` is a set."""
        found, index = name, 1
        while found in taken:
            found, index = f"{name}_{index}", index + 1
        if isinstance(taken, set):
            taken.add(found)
        return found

    def rewrite(self, change: Callable[[Any], Sequence[Any] | None]) -> None:
        """Put the nodes that `change` returns in each node's place; None leaves it."""
        found: list[Any] = []
        for node in self.nodes:
            new = change(node)
            found.extend([node] if new is None else new)
        del self.nodes[:]
        self.nodes.extend(found)

    def whole(self, outputs: Sequence[str] = ()) -> Any:
        """The model with the constants that are used; `outputs` are tensors to hand out besides its own."""
        import onnx

        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs if name not in self.outputs)
        used = {name for node in self.nodes for name in _inputs(node)} | self.outputs
        model.graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in used)
        return model

    def save(self, out: Path, *, outputs: Sequence[str] = ()) -> None:
        """Write `whole`; weights that make it too large for one file lie in another beside it."""
        graphs.save(self.whole(outputs), out)

    @contextmanager
    def session(self, outputs: Sequence[str] = ()) -> Iterator[Any]:
        """The graph in ONNX Runtime, through a file that goes when it is closed."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "graph.onnx"
            self.save(file, outputs=outputs)
            yield runtime.open_session(file)

    def needs(self, domain: str) -> None:
        """Say that operators of a domain are used."""
        import onnx

        if all(entry.domain != domain for entry in self.model.opset_import):
            self.model.opset_import.append(onnx.helper.make_opsetid(domain, 1))

    def _lifted(self) -> dict[str, Any]:
        """The constants, nodes of that kind among them; what is known of tensors inside goes, for it is soon wrong."""
        import onnx

        found = {}
        for tensor in self.model.graph.initializer:
            found[tensor.name] = onnx.TensorProto()
            found[tensor.name].CopyFrom(tensor)  # else it would go with the list that it is in
        del self.model.graph.initializer[:], self.model.graph.value_info[:]

        def lift(node: Any) -> list[Any] | None:
            value = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            if node.op_type != "Constant" or value is None:
                return None
            tensor = found[node.output[0]] = onnx.TensorProto()
            tensor.CopyFrom(value)
            tensor.name = node.output[0]
            return []

        self.rewrite(lift)
        return found


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes as Python values."""
    import onnx

    return {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}


def make(kind: str, inputs: Sequence[str], outputs: Sequence[str], name: str, *, domain: str = "", **attributes: Any) -> Any:
    """A node."""
    import onnx

    return onnx.helper.make_node(kind, list(inputs), list(outputs), name=name, domain=domain, **attributes)


def _inputs(node: Any) -> Iterator[str]:
    """What a node reads, inner graphs included."""
    yield from node.input
    for entry in node.attribute:
        for graph in [entry.g, *entry.graphs]:
            for inner in graph.node:
                yield from _inputs(inner)
