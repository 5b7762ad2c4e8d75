"""What a foreign graph takes: names, types, sizes, and inputs that make sense to it, drawn where there are no real ones.

A graph says types and shapes, not meaning. Meaning is inferred: an integer that indexes a table (`Gather`, an embedding, a one-hot) is an id
below the table's size, names with `mask` are 0 or 1, one number named a sample rate is 16000, four dimensions with one, three or four channels are
an image in [0, 1], other floats are standard normal. Every guess carries its `why`, which the bundle repeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.runtime import DTYPES

PASSING = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Slice", "Transpose", "Flatten", "Tile", "Concat", "Split", "Clip")
CHANNELS = (1, 3, 4)
SIDE = 224  # of an image whose graph leaves it open
SEQUENCES = (64, 16, 1)  # lengths that are tried where the graph leaves one open
UNKNOWN = (128, 2)  # integers below these are tried where nothing says what they mean
MOST_ELEMENTS = 2**27  # of one input: half a gigabyte of fp32
RATES, RATE = ("sr", "rate", "fs", "sample_rate", "sampling_rate", "samplerate", "samplingrate"), 16000  # names of a sample rate; what speech has
STEPS = 8  # graph operators that an input is followed through

Feeds = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One input: `shape` as the graph says it, `sizes` as synthetic ones have it, `kind` what is drawn, integers below `high`."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    sizes: tuple[int, ...]
    kind: str
    high: int
    why: str


def inputs_of(session: Any, model: Any, shapes: Mapping[str, Sequence[int]], sequence: int, unknown: int) -> list[Input]:
    """The inputs of a session on a parsed model. Raises ConfigError listing those that no tensor can be drawn for."""
    entries = session.get_inputs()
    faults = [Fault(f"--shape {name}", "the model has no such input", nearest(name, [one.name for one in entries])) for name in shapes]
    faults = [fault for fault, name in zip(faults, shapes, strict=True) if name not in {one.name for one in entries}]
    tables, shapeless = _Tables(model), without_shape(model)
    found = []
    for entry in entries:
        asked = shapes.get(entry.name)
        try:
            shape = (None,) * len(asked or ()) if entry.name in shapeless or not entry.shape else entry.shape
            found.append(_input(entry, shape, tables, asked, sequence, unknown))
        except ValueError as error:
            faults.append(Fault(f"input '{entry.name}'", str(error)))
    if not entries:
        faults.append(Fault("", "the model has no inputs: there is nothing to hold its answers against"))
    if faults:
        raise ConfigError(faults)
    return found


def without_shape(model: Any) -> list[str]:
    """The inputs of which a graph does not say how many axes they have. ONNX Runtime shows them as scalars, and takes any shape for both."""
    weights = {one.name for one in model.graph.initializer}
    return [one.name for one in model.graph.input if one.name not in weights and not one.type.tensor_type.HasField("shape")]


def _input(entry: Any, said: Sequence[Any], tables: _Tables, asked: Sequence[int] | None, sequence: int, unknown: int) -> Input:
    if entry.type not in DTYPES:
        raise ValueError(f"is a {entry.type}; only tensors of numbers and truth values can be fed")
    dtype = DTYPES[entry.type]
    shape = tuple(size if not isinstance(size, int) or size >= 0 else None for size in said)
    if 0 in shape:
        raise ValueError(f"has the shape {list(shape)}: nothing is in it")
    sizes = _sizes(shape, asked, sequence)
    if np.prod([float(size) for size in sizes]) > MOST_ELEMENTS:
        raise ValueError(f"has {' × '.join(map(str, sizes))} elements; at most {MOST_ELEMENTS:,} can be fed")
    kind, high, why = _meaning(entry.name, dtype, sizes, tables.high(entry.name), unknown)
    return Input(name=entry.name, dtype=dtype, shape=shape, sizes=sizes, kind=kind, high=high, why=why)


def _sizes(shape: Sequence[int | str | None], asked: Sequence[int] | None, sequence: int) -> tuple[int, ...]:
    if asked is None:
        return tuple(size if isinstance(size, int) else default(at, len(shape), sequence) for at, size in enumerate(shape))
    fits = len(asked) == len(shape) and all(not isinstance(size, int) or size == wanted for size, wanted in zip(shape, asked, strict=True))
    if not fits or min(asked, default=1) < 1:
        raise ValueError(f"--shape says {list(asked)}, the graph {list(shape)}")
    return tuple(asked)


def default(at: int, rank: int, sequence: int) -> int:
    """The size of an open dimension: one example, three channels, an image's side, else the sequence."""
    return 1 if at == 0 else (3 if at == 1 else SIDE) if rank == 4 else sequence


def _meaning(name: str, dtype: str, sizes: Sequence[int], table: tuple[int, str] | None, unknown: int) -> tuple[str, int, str]:
    """What is drawn for an input, below which number, and why."""
    lower, kind = name.lower(), np.dtype(dtype).kind
    if kind == "b":
        return "bool", 2, "truth values"
    if lower in RATES and np.prod(sizes) == 1:
        return "constant", RATE, f"named a sample rate: {RATE}"
    if "mask" in lower:
        return "mask", 2, "named a mask: ones, then zeros"
    image = len(sizes) == 4 and (sizes[1] in CHANNELS or sizes[3] in CHANNELS)
    if kind == "f":
        return ("image", 1, "four dimensions with channels: an image in [0, 1]") if image else ("normal", 0, "standard normal")
    if "position" in lower:
        return "positions", table[0] if table else max(sizes, default=1), "named positions: 0, 1, 2 …"
    if any(word in lower for word in ("type", "segment")) and (table is None or table[0] <= 16):
        return "types", min(2, table[0]) if table else 2, "named token types: 0, then 1"
    if table is not None:
        return "ids", table[0], table[1]
    if np.dtype(dtype).itemsize == 1:
        return "ids", 128 if dtype == "int8" else 256, "bytes"
    return "ids", unknown, f"nothing says what they mean: integers below {unknown}"


class _Tables:
    """What the graph looks integers up in."""

    def __init__(self, model: Any) -> None:
        from onnx import numpy_helper

        graph = model.graph
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.uses: dict[str, list[tuple[Any, int]]] = {}
        for node in graph.node:
            if node.op_type == "Constant":
                self.constants |= {name: one.t for name in node.output for one in node.attribute if one.name == "value"}
            for at, name in enumerate(node.input):
                self.uses.setdefault(name, []).append((node, at))
        self.values: Callable[[Any], NDArray[Any]] = numpy_helper.to_array

    def high(self, name: str) -> tuple[int, str] | None:
        """The size of the smallest table that an input indexes, and how that was seen."""
        found, now, seen = [], {name}, set[str]()
        for _ in range(STEPS):
            seen |= now
            uses = [use for one in now for use in self.uses.get(one, ())]
            found += [table for node, at in uses if (table := self._table(node, at))]
            now = {output for node, at in uses if node.op_type in PASSING and (at == 0 or node.op_type == "Concat") for output in node.output} - seen
        return min(found, default=None)

    def _table(self, node: Any, at: int) -> tuple[int, str] | None:
        table: dict[tuple[str, int], Callable[[], int | None]] = {
            ("Gather", 1): lambda: self._rows(node.input[0], next((one.i for one in node.attribute if one.name == "axis"), 0)),
            ("EmbedLayerNormalization", 0): lambda: self._rows(node.input[2], 0),
            ("EmbedLayerNormalization", 1): lambda: self._rows(node.input[4], 0),
            ("OneHot", 0): lambda: self._number(node.input[1]),
            ("Equal", 0): lambda: self._range(node.input[1]),
            ("Equal", 1): lambda: self._range(node.input[0]),
        }
        size = table.get((node.op_type, at), lambda: None)()
        said = {"Equal": "compared with 0, 1, 2 … as one-hot", "OneHot": "made one-hot"}.get(node.op_type, "indexes a table")
        return (size, f"{said} of {size}") if size else None

    def _rows(self, name: str, axis: int) -> int | None:
        """How many rows a constant table has; a table of one row is a lookup of another kind."""
        dims = self.constants[name].dims if name in self.constants else ()
        return int(dims[axis]) if -len(dims) <= axis < len(dims) and dims[axis] > 1 else None

    def _number(self, name: str) -> int | None:
        values = self._small(name)
        return int(values.ravel()[0]) if values is not None and values.size == 1 else None

    def _range(self, name: str) -> int | None:
        """n where the constant is 0, 1 … n − 1."""
        values = self._small(name)
        return int(values.size) if values is not None and values.size > 2 and np.array_equal(values.ravel(), np.arange(values.size)) else None

    def _small(self, name: str) -> NDArray[Any] | None:
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == 1 or np.prod([float(size) for size in tensor.dims]) > 2**20:
            return None
        return self.values(tensor)


def draw(inputs: Sequence[Input], row: int) -> dict[str, NDArray[Any]]:
    """One synthetic row, the same for the same number. Inputs of a row share its length."""
    share = np.random.default_rng([0, row]).uniform(0.25, 1)
    return {one.name: np.asarray(DRAWN[one.kind](one, np.random.default_rng([1, row, at]), share)).astype(one.dtype) for at, one in enumerate(inputs)}


def _ids(one: Input, random: np.random.Generator, share: float) -> NDArray[Any]:
    """Ids out of a stretch of the table whose width differs between rows: rows that differ in what they hold, not only in noise."""
    width = int(np.exp(random.uniform(0, np.log(max(one.high, 1)))) + 0.5)
    low = int(random.integers(0, max(one.high - width, 0) + 1))
    return random.integers(low, min(low + width, one.high), one.sizes)


def _mask(one: Input, random: np.random.Generator, share: float) -> NDArray[Any]:
    last = one.sizes[-1] if one.sizes else 1
    return np.broadcast_to(np.arange(last) < max(1, round(share * last)), one.sizes)


def _types(one: Input, random: np.random.Generator, share: float) -> NDArray[Any]:
    last = one.sizes[-1] if one.sizes else 1
    return np.broadcast_to((np.arange(last) >= share * last / 2) * (one.high - 1), one.sizes)


def _positions(one: Input, random: np.random.Generator, share: float) -> NDArray[Any]:
    return np.broadcast_to(np.arange(one.sizes[-1] if one.sizes else 1) % one.high, one.sizes)


def _image(one: Input, random: np.random.Generator, share: float) -> NDArray[Any]:
    """Blocks of random size with some noise: flat noise looks the same to every network."""
    first = one.sizes[1] in CHANNELS
    height, width = one.sizes[2:] if first else one.sizes[1:3]
    blocks = int(random.integers(2, 33))
    tall, wide = (np.arange(size) * blocks // size for size in (height, width))
    coarse = random.random((one.sizes[0], one.sizes[1] if first else one.sizes[3], blocks, blocks))
    image = np.clip(coarse[:, :, tall[:, None], wide[None, :]] * random.uniform(0.3, 1) + random.normal(0, 0.05, (height, width)), 0, 1)
    return image if first else image.transpose(0, 2, 3, 1)


DRAWN: Mapping[str, Callable[[Input, np.random.Generator, float], NDArray[Any]]] = {
    "ids": _ids,
    "mask": _mask,
    "types": _types,
    "positions": _positions,
    "image": _image,
    "normal": lambda one, random, share: random.standard_normal(one.sizes),
    "bool": lambda one, random, share: random.random(one.sizes) < 0.5,
    "constant": lambda one, random, share: np.full(one.sizes, one.high),
}
