"""Small ONNX models that nobody here built, and damaged ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCABULARY, WIDTH, CLASSES = 50, 32, 2


def weights(random: np.random.Generator) -> dict[str, Any]:
    return {
        "table": random.normal(size=(VOCABULARY, WIDTH)).astype(np.float32),
        "inner": random.normal(size=(WIDTH, 64)).astype(np.float32),
        "outer": random.normal(size=(64, CLASSES)).astype(np.float32),
        "one": np.array([1], np.int64),
    }


def classifier(opset: int = 17, ir_version: int = 8, domain: str = "") -> onnx.ModelProto:
    """Ids and a mask [batch, length] to logits [batch, 2]: the mean of masked embeddings through two layers."""
    node = helper.make_node
    nodes = [
        node("Gather", ["table", "ids"], ["looked"]),
        node("Cast", ["mask"], ["shares"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["shares", "two"], ["column"]),
        node("Mul", ["looked", "column"], ["masked"]),
        node("ReduceSum", ["masked", "one"], ["pooled"], keepdims=0),
        node("MatMul", ["pooled", "inner"], ["first"]),
        node("Relu" if not domain else "Surprise", ["first"], ["active"], domain=domain),
        node("MatMul", ["active", "outer"], ["logits"]),
    ]
    shape = ["batch", "length"]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in (weights(np.random.default_rng(0)) | {"two": np.array([2], np.int64)}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    model = helper.make_model(graph, opset_imports=opsets)
    model.ir_version = ir_version
    return model


def picture(dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """An image [n, 3, h, w], its sizes open, to four numbers: a convolution and its means."""
    kernel = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["maps"]), helper.make_node("GlobalAveragePool", ["maps"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "picture",
        [helper.make_tensor_value_info("x", dtype, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 1, 1])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def save(model: onnx.ModelProto, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())
    return file


def save_apart(model: onnx.ModelProto, file: Path, location: str = "weights.bin") -> Path:
    """With its weights beside it, but not what shapes are made of, which ONNX Runtime wants inside."""
    file.parent.mkdir(parents=True, exist_ok=True)
    onnx.save_model(model, str(file), save_as_external_data=True, all_tensors_to_one_file=True, location=location, size_threshold=256)
    return file


def pointing(file: Path, location: str, **more: str) -> Path:
    """A model whose table lies where `location` says."""
    model = classifier()
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "table")
    table.ClearField("raw_data")
    table.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **more}.items():
        table.external_data.add(key=key, value=value)
    return save(model, file)


def _flipped(model: bytes, draw: random.Random, folder: Path) -> Path:
    """Bits of the graph's description, which is at the front: flipped in a weight they leave a sound model."""
    data = bytearray(model)
    for _ in range(draw.randint(2, 12)):
        data[draw.randrange(400)] ^= 1 << draw.randrange(8)
    return _written(bytes(data), folder)


def _cut(model: bytes, draw: random.Random, folder: Path) -> Path:
    return _written(model[: draw.randrange(len(model))], folder)


def _cyclic(model: bytes, draw: random.Random, folder: Path) -> Path:
    parsed = classifier()
    nodes = parsed.graph.node
    late = draw.randrange(2, len(nodes))
    nodes[draw.randrange(late)].input[0] = nodes[late].output[0]
    return save(parsed, folder / "model.onnx")


def _huge(model: bytes, draw: random.Random, folder: Path) -> Path:
    """A tensor, an input or a made constant of absurd dimensions."""
    parsed, size = classifier(), 2 ** draw.randint(33, 62)
    kind = draw.randrange(3)
    if kind == 0:
        draw.choice(parsed.graph.initializer).dims[0] = size
    elif kind == 1:
        for value in parsed.graph.input:
            value.type.tensor_type.shape.dim[1].dim_value = size
    else:
        parsed.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2 ** draw.randint(13, 20)], np.int64), "huge"))
        parsed.graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge"], ["zeros"]))
        parsed.graph.node.insert(1, helper.make_node("ReduceSum", ["zeros"], ["nothing"], keepdims=0))
        parsed.graph.node.append(helper.make_node("Add", ["logits", "nothing"], ["sum"]))
        parsed.graph.output[0].name = "sum"
    return save(parsed, folder / "model.onnx")


def _orphaned(model: bytes, draw: random.Random, folder: Path) -> Path:
    return pointing(folder / "model.onnx", f"gone{draw.randrange(99)}.bin")


def _outside(model: bytes, draw: random.Random, folder: Path) -> Path:
    return pointing(
        folder / "model.onnx", draw.choice(["/etc/passwd", "../secret.bin", "a/../../secret.bin", "/dev/zero", "C:\\secret.bin", "..\\secret", ""])
    )


def _endless(model: bytes, draw: random.Random, folder: Path) -> Path:
    """A loop of 2⁴⁰ turns."""
    parsed = classifier()
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Mul", ["sum", "sum"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, None),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", TensorProto.FLOAT, None)],
    )
    parsed.graph.initializer.append(numpy_helper.from_array(np.array(2**40, np.int64), "turns"))
    parsed.graph.node.append(helper.make_node("Loop", ["turns", "", "logits"], ["late"], body=body))
    parsed.graph.output[0].name = "late"
    return save(parsed, folder / "model.onnx")


def _written(data: bytes, folder: Path) -> Path:
    file = folder / "model.onnx"
    file.write_bytes(data)
    return file


MUTATIONS: tuple[Callable[[bytes, random.Random, Path], Path], ...] = (_flipped, _cut, _cyclic, _huge, _orphaned, _outside)


def mutated(folder: Path, count: int) -> Iterator[tuple[str, Path]]:
    """Damaged models, the same ones in the same order each time, with what was done to them."""
    model = classifier().SerializeToString()
    for number in range(count):
        draw, mutate = random.Random(number), MUTATIONS[number % len(MUTATIONS)]
        place = folder / f"{number:03}{mutate.__name__}"
        place.mkdir()
        yield mutate.__name__, mutate(model, draw, place)


def endless(folder: Path) -> Path:
    """A model that never answers."""
    folder.mkdir()
    return _endless(b"", random.Random(0), folder)


def graph(nodes: list[Any], inputs: dict[str, list[Any] | None], outputs: dict[str, list[Any] | None], **weights: Any) -> onnx.ModelProto:
    """A model of floats in few words: inputs and outputs by name with their shapes, weights as numpy arrays."""
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in some.items()] for some in (inputs, outputs)]
    made = helper.make_graph(nodes, "graph", *values, [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()])
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def scaled(by: Any, output: str = "y", shape: list[Any] | None = None) -> onnx.ModelProto:
    """y = x · by, for x [1, 4] where no shape is given."""
    sizes = shape or [1, 4]
    return graph([helper.make_node("Mul", ["x", "by"], [output])], {"x": sizes}, {output: sizes}, by=np.asarray(by, np.float32))
