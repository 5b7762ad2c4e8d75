"""Sizes that a graph leaves open, tried until it runs: a short ladder for each, in a bounded number of runs and seconds.

First the usual ones (`inputs.SEQUENCES`, an image's side). Then, where a graph runs at none of them, each open dimension climbs its ladder: whole
numbers that the graph itself holds and the sizes of its weights, then what recognisers, detectors and 16 kHz frames take. Dimensions of one
name have one size, also where --shape gives it for one of them. An input without any shape tries whole ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from typing import Any

from edgedistill.errors import ConfigError, Fault
from edgedistill.foreign.inputs import SEQUENCES, SIDE, UNKNOWN, Input, default, inputs_of, without_shape

TRIES, SECONDS = 400, 12.0
ELEMENTS = 2**24  # of one input; sizes that make more are not tried
OWN = 12  # of the graph's own numbers
LEAST = 16  # of them; smaller ones are numbers of heads and axes, and come last
USUAL = 6  # sides that come before the graph's own numbers, which are channels more often
LENGTHS = (512, 256, 320, 480, 640, 160, 1600, 576, 128, 1024, 2048, 400, 4096, 16000, 32, 8, 4, 3, 2, 1)
SIDES = (SIDE, 320, 48, 640, 512, 32, 64, 256, 128, 96, 112, 384, 416, 299, 1024)
CHANNELS = (3, 1, 4, 2)
WHOLE = ((1, 64), (1, 3, SIDE, SIDE), (1, 64, 64), (64,), (1, 512), (1, 1, 28, 28), (1, 512, 80), ())  # of an input without a shape
ROWS = (1, 2, 16, 64)  # on the first axis, which is the batch where nothing else is said
FLOATS = ("tensor(float)", "tensor(float16)", "tensor(double)")
COMBINATIONS, MOST = 20_000, 14  # that are put in order, and open dimensions that climb; further ones take their first size

Place = tuple[str, int | None]  # an input and its axis; None where the whole shape is open
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    """Places that share one size, and what is tried for it."""

    places: tuple[Place, ...]
    ladder: tuple[Any, ...]


class Attempts:
    """Inputs of a session, one set after another until somebody stops: `tried` counts them, `answered` ends them early.

    `real` says that rows come from a file, which has sizes: none are looked for. Raises ConfigError where it must be known how many axes they have.
    """

    def __init__(self, session: Any, model: Any, asked: Shapes, *, real: bool) -> None:
        self.session, self.model, self.asked = session, model, asked
        self.tried = 0
        self.answered = False  # a run came to an end: its sizes are not what is wrong
        self._seen: set[tuple[Input, ...]] = set()
        self._shapeless = without_shape(model)
        self._real = real
        missing = [name for name in self._shapeless if name not in asked] if real else []
        if missing:
            what = "is needed beside --calibration: the graph does not say how many axes this input has"
            raise ConfigError(Fault(f"--shape {name}", what, f"like --shape {name}=1,3,{SIDE},{SIDE}") for name in missing)

    def __iter__(self) -> Iterator[list[Input]]:
        """Raises ConfigError as `inputs_of` does."""
        for unknown, sequence in product(UNKNOWN, SEQUENCES):
            yield from self._new(inputs_of(self.session, self.model, {**self._usual(sequence), **self.asked}, sequence, unknown))
        if self._real:
            return
        started = time.monotonic()
        for shapes in islice(self._climbing(), TRIES):
            for unknown in UNKNOWN:
                if self.answered or time.monotonic() - started > SECONDS:
                    return
                found = inputs_of(self.session, self.model, {**self.asked, **shapes}, SEQUENCES[0], unknown)
                yield from self._new([_told(one) if shapes.get(one.name) else one for one in found])

    def _usual(self, sequence: int) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs that have none, and of those that share a dimension's name with one that --shape gives."""
        known, shapes = self._known(), self._shapes()
        found = {name: shape for name, shape in shapes.items() if any(isinstance(size, str) and size in known for size in shape)}
        sized = {
            name: tuple(size if isinstance(size, int) else known.get(size) or default(at, len(shape), sequence) for at, size in enumerate(shape))
            for name, shape in found.items()
        }
        return sized | {name: (1, sequence) for name in self._shapeless if name not in self.asked}

    def _new(self, inputs: list[Input]) -> Iterator[list[Input]]:
        if tuple(inputs) not in self._seen:
            self._seen.add(tuple(inputs))
            self.tried += 1
            yield inputs

    def hint(self) -> str:
        """The command line that says the sizes."""
        words = [f"--shape {name}={','.join(map(str, shape))}" for name, shape in self._shapes().items() if _is_open(shape)]
        words += [f"--shape {name}=1,3,{SIDE},{SIDE}" for name in self._shapeless if name not in self.asked]
        if not words:
            return "give real inputs with --calibration FILE"
        return f"say the sizes, with numbers in place of names: {' '.join(words)}; or give real inputs with --calibration FILE"

    def _shapes(self) -> dict[str, list[Any]]:
        """What the graph says of the sizes of inputs that --shape does not name."""
        entries = [one for one in self.session.get_inputs() if one.name not in self.asked and one.name not in self._shapeless]
        return {one.name: [_named(size) for size in one.shape] for one in entries}

    def _climbing(self) -> Iterator[dict[str, tuple[int, ...]]]:
        """Shapes of the inputs that have open sizes, the likeliest first."""
        shapes, known = self._shapes(), self._known()
        open_ones = self._open(shapes, known)
        climbing = min(sum(len(one.ladder) > 1 for one in open_ones), MOST)
        most = max(2, int(COMBINATIONS ** (1 / max(climbing, 1))))
        ladders = [one.ladder[: most if at < MOST else 1] for at, one in enumerate(open_ones)]
        for ranks in sorted(product(*(range(len(ladder)) for ladder in ladders)), key=sum):
            sizes = {place: ladders[at][rank] for at, rank in enumerate(ranks) for place in open_ones[at].places}
            found = {name: tuple(sizes.get((name, at), known.get(size, size)) for at, size in enumerate(shape)) for name, shape in shapes.items()}
            found = {name: shape for name, shape in found.items() if _is_open(shapes[name])}
            found |= {name: tuple(size) for (name, at), size in sizes.items() if at is None}
            if found and all(prod(shape) <= ELEMENTS and all(isinstance(size, int) for size in shape) for shape in found.values()):
                yield found

    def _known(self) -> dict[str, int]:
        """Sizes of names, from inputs that --shape gives."""
        given = [one for one in self.session.get_inputs() if len(self.asked.get(one.name, ())) == len(one.shape) > 0]
        pairs = (pair for one in given for pair in zip(map(_named, one.shape), self.asked[one.name], strict=True))
        return {name: size for name, size in pairs if isinstance(name, str) and name}

    def _open(self, shapes: Mapping[str, Sequence[Any]], known: Mapping[str, int]) -> list[_Open]:
        """The dimensions that are open, those of one name together."""
        own = _own_numbers(self.model)
        groups: dict[Any, list[tuple[Place, tuple[int, ...]]]] = {}
        for name, shape in shapes.items():
            for at, size in enumerate(shape):
                if not isinstance(size, int) and size not in known:
                    groups.setdefault(size or (name, at), []).append(((name, at), _ladder(at, len(shape), bool(size), own)))
        found = [_Open(places=tuple(place for place, _ in some), ladder=min((ladder for _, ladder in some), key=len)) for some in groups.values()]
        whole = (*((1, size) for size in own), *WHOLE)
        found += [_Open(places=((name, None),), ladder=whole) for name in self._shapeless if name not in self.asked]
        scalars = [one.name for one in self.session.get_inputs() if one.type in FLOATS and shapes.get(one.name) == []]
        return found + [_Open(places=((name, None),), ladder=((), *whole[:-1])) for name in scalars]  # exporters write so what they do not know


def _named(size: Any) -> Any:
    """A dimension's size or name; "" for one that has no name, whatever stands there instead."""
    if isinstance(size, int):
        return size if size >= 0 else ""
    return "" if size is None or size.strip() in ("", "?") else size


def _is_open(shape: Sequence[Any]) -> bool:
    return any(not isinstance(size, int) for size in shape)


def _ladder(at: int, rank: int, named: bool, own: Sequence[int]) -> tuple[int, ...]:
    """What is tried for the size of an open axis."""
    if at == 0 and rank > 1:
        return ROWS
    if rank == 4 and at == 1:
        return CHANNELS
    large = [size for size in own if size >= LEAST]
    if rank == 4:
        return tuple(dict.fromkeys((*SIDES[:USUAL], *large, *SIDES[USUAL:])))
    unnamed = (1,) if rank > 2 and not named else ()  # a batch that is not the first axis, as states have it
    return tuple(dict.fromkeys((*unnamed, *large, *LENGTHS, *own)))


def _own_numbers(model: Any) -> list[int]:
    """Whole numbers in the graph that may be sizes, and how wide what its weights multiply must be; the first few of them."""
    from onnx import TensorProto, numpy_helper

    tensors = [
        *model.graph.initializer,
        *(one.t for node in model.graph.node if node.op_type == "Constant" for one in node.attribute if one.name == "value"),
    ]
    found: list[int] = []
    for tensor in tensors:
        if len(tensor.dims) == 2:
            found.append(int(tensor.dims[0]))
        elif tensor.data_type in (TensorProto.INT64, TensorProto.INT32) and prod(tensor.dims) <= 8 and tensor.data_location != TensorProto.EXTERNAL:
            found += [int(value) for value in numpy_helper.to_array(tensor).ravel()]
    return list(dict.fromkeys(value for value in found if 1 < value <= 2**16))[:OWN]


def _told(one: Input) -> Input:
    """The input with the word that its sizes were tried out, and how to pin them."""
    return replace(one, why=f"{one.why}; its open sizes were tried out, and --shape {one.name}={','.join(map(str, one.sizes))} pins them")
