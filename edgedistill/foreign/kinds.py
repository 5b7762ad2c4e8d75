"""What an output of a foreign graph is, and so how two files' answers are held against each other. The first of these rules that speaks decides:

    whole numbers, truth values     `equal`   the share of equal ones
    --classes NAME                  `argmax`  for those that it names; `near` for all others
    a class axis of one             `near`    a regression, one probability, a map of one channel
    the name                        `argmax`  where its last known word is of `DECISIONS` (logits, probs, scores …), `near` where it is of `VALUES`
    the operator that makes it      `argmax`  after a softmax, along its axis; `near` after an LSTM, a GRU, an RNN
    a state                         `near`    three dimensions, and the sizes of an input
    a map                           `near`    four dimensions, more than one pixel
    as long as the input            `near`    its class axis is an open one of an input: samples, positions
    the class axis                  `argmax`  up to `FEW` places; `IMAGENET`; from `VOCABULARY` on where the model reads ids
    nothing                         `near`    an embedding, a hidden state, features

The class axis is the last one, in outputs of four and more dimensions the second (channels); axes of one behind it do not count.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ConfigError, Fault, nearest
from edgedistill.foreign.inputs import Input

FEW = 64  # classes; the usual tag sets have fewer, and the usual embeddings are wider
IMAGENET = (1000, 1001)  # classes, without and with one for the background
VOCABULARY = 10_000  # pieces; no usual hidden state is as wide
DECISIONS = {"logit", "prob", "probability", "probabilities", "score", "softmax", "class", "cls", "label", "prediction", "pred"}
VALUES = {"embedding", "embed", "emb", "vector", "hidden", "state", "feature", "feat", "hn", "cn", "present", "past", "cache", "key", "value"}
VALUES |= {"attention", "box", "bbox", "landmark", "keypoint", "offset", "coord", "audio", "wave", "waveform", "depth"}
PASSING = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten")
SOFTMAX, RECURRENT = ("Softmax", "LogSoftmax"), ("LSTM", "GRU", "RNN")
STEPS = 8  # operators that an output is followed back through
NONE = "none"  # what --classes says where no output is of classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How an output is measured, why, and along which axis it decides (`argmax`) or is counted (`items`)."""

    measure: str
    why: str
    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Clues:
    """What a graph says of its outputs: what makes each of them with which softmax axis, and their dimensions; the open ones of its inputs."""

    makers: Mapping[str, tuple[str, int | None]]
    shapes: Mapping[str, tuple[int | str, ...]]
    open_of_inputs: frozenset[str]


def clues(model: Any) -> Clues:
    """What a parsed model says."""
    by_output = {name: node for node in model.graph.node for name in node.output}
    return Clues(
        makers={one.name: _maker(one.name, by_output) for one in model.graph.output},
        shapes={one.name: _dims(one) for one in model.graph.output},
        open_of_inputs=frozenset(size for one in model.graph.input for size in _dims(one) if isinstance(size, str) and size),
    )


def _dims(value: Any) -> tuple[int | str, ...]:
    return tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param for dim in value.type.tensor_type.shape.dim)


def _maker(name: str, by_output: Mapping[str, Any]) -> tuple[str, int | None]:
    """The operator that an output comes from, behind those that only change its form; the axis of a softmax with nothing behind it."""
    node = by_output.get(name)
    for step in range(STEPS):
        if node is None or node.op_type not in PASSING:
            break
        node = by_output.get(node.input[0])
        if step == STEPS - 1:
            node = None
    if node is None:
        return "", None
    direct = name in node.output and node.op_type in SOFTMAX
    return node.op_type, next((int(one.i) for one in node.attribute if one.name == "axis"), -1) if direct else None


def named(asked: Collection[str], outputs: Sequence[str]) -> Collection[str] | None:
    """The outputs that --classes names; None where it is not given. Raises ConfigError with those that the model has not."""
    if not asked:
        return None
    if set(asked) == {NONE} and NONE not in outputs:
        return ()
    faults = [Fault(f"--classes {name}", "the model has no such output", nearest(name, outputs)) for name in asked if name not in outputs]
    if faults:
        raise ConfigError(faults)
    return asked


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """An output as the rules see it."""

    name: str
    answer: NDArray[Any]
    clues: Clues
    inputs: Sequence[Input]
    axis: int
    asked: Collection[str] | None

    @property
    def width(self) -> int:
        return int(self.answer.shape[self.axis]) if self.answer.ndim else 1


def kind_of(name: str, answer: NDArray[Any], said: Clues, inputs: Sequence[Input], asked: Collection[str] | None) -> Kind:
    """How an output is measured, by one of its answers and by what the graph says of it; `asked` are the outputs that --classes names."""
    axis = said.makers.get(name, ("", None))[1]
    if axis is None or not -answer.ndim <= axis < answer.ndim:
        axis = 1 if answer.ndim >= 4 else _last(answer)
    seen = _Seen(name=name, answer=answer, clues=said, inputs=inputs, axis=axis, asked=asked)
    found = next(filter(None, (rule(seen) for rule in RULES)))
    return replace(found, axis=axis)


def _last(answer: NDArray[Any]) -> int:
    """The last axis that is not one; of [n, 1] it is the one: that is no list of n classes."""
    axis = answer.ndim - 1
    while axis >= 2 and answer.shape[axis] == 1:
        axis -= 1
    return max(axis, 0)


def _whole(seen: _Seen) -> Kind | None:
    return Kind(measure="equal", why="whole numbers or truth values are decisions already") if seen.answer.dtype.kind != "f" else None


def _asked(seen: _Seen) -> Kind | None:
    if seen.asked is None:
        return None
    if seen.name in seen.asked and seen.width > 1:
        return Kind(measure="argmax", why="--classes names it")
    return None if seen.name in seen.asked else Kind(measure="near", why="--classes names others" if seen.asked else "--classes says none")


def _single(seen: _Seen) -> Kind | None:
    what = "its second axis, the channels, has" if seen.answer.ndim >= 4 else "its last axis has"
    return Kind(measure="near", why=f"{what} one place: no largest value to compare") if seen.width < 2 else None


def _by_name(seen: _Seen) -> Kind | None:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", seen.name).lower())
    known = [
        (word, bool(one & DECISIONS)) for word in words if (one := {word, word.removesuffix("s"), word.removesuffix("es")}) & (DECISIONS | VALUES)
    ]
    return Kind(measure="argmax" if known[-1][1] else "near", why=f"its name says '{known[-1][0]}'") if known else None


def _by_operator(seen: _Seen) -> Kind | None:
    operator = seen.clues.makers.get(seen.name, ("", None))[0]
    if operator in SOFTMAX:
        return Kind(measure="argmax", why=f"a {operator} makes it")
    return Kind(measure="near", why=f"it is a state of the {operator} that makes it") if operator in RECURRENT else None


def _state(seen: _Seen) -> Kind | None:
    if seen.answer.ndim != 3:
        return None
    twin = next((one.name for one in seen.inputs if one.sizes == seen.answer.shape and np.dtype(one.dtype).kind == "f"), None)
    return Kind(measure="near", why=f"it has the sizes of the input '{twin}', as a state has") if twin else None


def _map(seen: _Seen) -> Kind | None:
    pixels = int(np.prod(seen.answer.shape[2:])) if seen.answer.ndim >= 4 else 1
    return Kind(measure="near", why=f"a map of {seen.width} channels") if pixels > 1 else None


def _as_long(seen: _Seen) -> Kind | None:
    shape = seen.clues.shapes.get(seen.name, ())
    size = shape[seen.axis] if len(shape) == seen.answer.ndim and shape else 0
    return Kind(measure="near", why=f"its last axis is the input's '{size}'") if size in seen.clues.open_of_inputs else None


def _by_width(seen: _Seen) -> Kind | None:
    width = seen.width
    if width <= FEW:
        return Kind(measure="argmax", why=f"{width} places on its class axis: at most {FEW} are taken for classes")
    if width in IMAGENET:
        return Kind(measure="argmax", why=f"{width} places, as many as ImageNet's classes")
    if width >= VOCABULARY and any(one.kind == "ids" for one in seen.inputs):
        return Kind(measure="argmax", why=f"the model reads ids, and {width} places are a vocabulary")
    return None


def _nothing(seen: _Seen) -> Kind | None:
    return Kind(measure="near", why=f"nothing says that its {seen.width} places are classes")


RULES: tuple[Callable[[_Seen], Kind | None], ...] = (
    _whole,
    _asked,
    _single,
    _by_name,
    _by_operator,
    _state,
    _map,
    _as_long,
    _by_width,
    _nothing,
)


def items(array: NDArray[Any], axis: int) -> NDArray[Any]:
    """An output whose length depends on the data as rows, one an item [items, values]."""
    first = np.moveaxis(array, axis, 0)
    return first.reshape(len(first), math.prod(first.shape[1:]))


def varying(shapes: Collection[tuple[int, ...]]) -> Iterator[int]:
    """The axes on which shapes of one rank differ."""
    return (axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1)
