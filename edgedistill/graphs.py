"""What is in an ONNX file, and the same graph at one shape."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LARGE = 1_800_000_000  # bytes of weights beyond which they lie beside the graph: a protobuf message ends at 2 GB
KINDS = {1: "fp32", 10: "fp16", 3: "int8", 2: "uint8", 6: "int32", 7: "int64", 21: "uint4", 22: "int4", 4: "uint16", 5: "int16", 9: "bool"}
GRAPH, INITIALIZER, EXTERNAL, KEY, VALUE = 7, 5, 13, 1, 2  # fields of a model, a graph, a tensor, and of one of its entries (onnx.proto)
WIDTHS = {0: 0, 1: 8, 2: 0, 5: 4}  # wire types of protobuf; bytes of those that have always as many
EMBEDDING_OPERATORS = ("Gather", "EmbedLayerNormalization", "GatherBlockQuantized")


def summary(file: Path) -> dict[str, Any]:
    """Node counts by operator, most frequent first, and the bytes of the weights by what they are for and how they are kept."""
    import onnx

    graph = onnx.load(str(file), load_external_data=False).graph
    operators = Counter(node.op_type for node in graph.node)
    return {"nodes": len(graph.node), "operators": dict(operators.most_common()), "bytes": dict(_bytes(graph).most_common())}


def save(model: Any, out: Path, apart: str | None = None) -> None:
    """Write a graph; weights that make it too large for one file lie in another beside it, `apart`, else called after it."""
    import onnx

    large = sum(tensor.ByteSize() for tensor in model.graph.initializer) > LARGE
    location = apart or f"{out.name}.data"
    if large:
        out.with_name(location).unlink(missing_ok=True)  # onnx would write behind what is there
    onnx.save(model, str(out), **({"save_as_external_data": True, "location": location} if large else {}))


def beside(file: Path) -> list[Path]:
    """The files that hold a graph's weights outside of it. Raises ValueError for a file that is no graph. Needs no onnx: a bundle's user has none."""
    model = memoryview(file.read_bytes())
    tensors = (tensor for at, graph in _fields(model) if at == GRAPH for inner, tensor in _fields(graph) if inner == INITIALIZER)
    entries = ({at: bytes(part) for at, part in _fields(entry)} for tensor in tensors for at, entry in _fields(tensor) if at == EXTERNAL)
    names = {entry[VALUE].decode() for entry in entries if entry.get(KEY) == b"location" and VALUE in entry}
    return [file.parent / name for name in sorted(names)]


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The number and the content of every field of a protobuf message that has a length. Raises ValueError where it is none."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind not in WIDTHS or not key >> 3:
            raise ValueError(f"no protobuf message at byte {at}")
        size, start = (WIDTHS[kind], at) if kind in (1, 5) else _varint(message, at)
        at = start + size if kind != 0 else start
        if at > len(message):
            raise ValueError(f"a protobuf message that ends before byte {at}")
        if kind == 2:
            yield key >> 3, message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends. Raises ValueError where it does not."""
    value = 0
    for place, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"no number at byte {at}")


def parts(file: Path) -> dict[str, Path]:
    """A graph and the weights outside of it, each by its path from the graph's folder: what has to travel with it.

    A file that is no graph travels alone, and what lies outside of the folder does not: whoever opens the graph says what is wrong.
    """
    folder = file.parent.resolve()
    try:
        apart = [one for one in beside(file) if one.is_file() and one.resolve().is_relative_to(folder)]
    except (ValueError, OSError):
        apart = []
    return {one.relative_to(file.parent).as_posix(): one for one in (file, *apart)}


def copied(file: Path, out: Path) -> list[str]:
    """Copy a graph to `out`, and the weights outside of it beside that; the names of all, the graph's first."""
    shutil.copyfile(file, out)
    apart = beside(file)
    for one in apart:
        shutil.copyfile(one, out.with_name(one.name))
    return [out.name, *(one.name for one in apart)]


def nested(file: Path) -> list[str]:
    """The operators of a file that have graphs inside, by name and kind; none of a file that is no graph."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        nodes = onnx.load(str(file), load_external_data=False).graph.node
    except (DecodeError, OSError):
        return []
    return [f"{node.name or node.output[0]} ({node.op_type})" for node in nodes if any(one.HasField("g") or one.graphs for one in node.attribute)]


def size(file: Path) -> int:
    """The bytes of a graph with its weights, wherever they are."""
    return sum(one.stat().st_size for one in parts(file).values())


def _bytes(graph: Any) -> Counter[str]:
    """Bytes of the initialisers: embeddings, matrices, the rest; with their type."""
    looked_up = {name for node in graph.node if node.op_type in EMBEDDING_OPERATORS for name in node.input}
    found: Counter[str] = Counter()
    for tensor in graph.initializer:
        kind = "embeddings" if tensor.name in looked_up else "matrices" if len(tensor.dims) >= 2 else "the rest"
        found[f"{kind} {KINDS.get(tensor.data_type, 'other')}"] += _size(tensor)
    return found


def _size(tensor: Any) -> int:
    import onnx

    count = 1
    for dimension in tensor.dims:
        count *= dimension
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return (count + 1) // 2
    return int(count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)


def fixed(file: Path, out: Path, sizes: Mapping[str, int]) -> Path:
    """The graph with its named dynamic dimensions at one size each, written to `out`."""
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed

    model = onnx.load(str(file))
    for name, size in sizes.items():
        make_dim_param_fixed(model.graph, name, size)
    fix_output_shapes(model)
    save(model, out)
    return out
