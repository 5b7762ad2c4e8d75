"""Weights as small integers: eight bits by tensor or by output channel, four bits by block.

Symmetric:   scale = max|w| / most, zero = 0                                 Either:  q = round(w / scale) + zero
Asymmetric:  scale = (max − min) / (most − least), zero = least − min / scale, both ends including 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.quantizers._graph import Graph
from edgedistill.schemes import Scheme

TINY = 1e-30  # a channel of zeros has a scale too
TYPES: dict[tuple[str, bool], tuple[int, int, Any]] = {  # kind, reduced → least, most: seven bits, so that two products fit 16: 2 · 255 · 64 < 2¹⁵
    ("s8", False): (-128, 127, np.int8),
    ("s8", True): (-64, 63, np.int8),
    ("u8", False): (0, 255, np.uint8),
    ("u8", True): (0, 127, np.uint8),
}
BLOCK = 32
MIDDLE = 8  # four bits without sign: 8 stands for 0


@dataclass(frozen=True, slots=True)
class Small:
    """Integers with their scale and zero point, scalars or vectors."""

    values: NDArray[Any]
    scale: NDArray[np.float32]
    zero: NDArray[Any]


def eight(weight: NDArray[np.float32], kind: tuple[str, bool], axis: int | None, *, symmetric: bool) -> Small:
    """A weight as integers of a kind, by channel along `axis` or, where that is None, by tensor."""
    least, most, dtype = TYPES[kind]
    others = None if axis is None else tuple(index for index in range(weight.ndim) if index != axis % weight.ndim)
    shape = [-1 if axis is not None and index == axis % weight.ndim else 1 for index in range(weight.ndim)]
    if symmetric:
        scale = np.maximum(np.abs(weight).max(axis=others) / most, TINY).astype(np.float32)
        zero = np.zeros(scale.shape)
    else:
        low, high = np.minimum(weight.min(axis=others), 0), np.maximum(weight.max(axis=others), 0)
        scale = np.maximum((high - low) / (most - least), TINY).astype(np.float32)
        zero = np.clip(np.rint(least - low / scale), least, most)
    values = np.rint(weight / scale.reshape(shape)) + zero.reshape(shape)
    return Small(np.clip(values, least, most).astype(dtype), scale, zero.astype(dtype))


def matrix(graph: Graph, weight: str, scheme: Scheme, axis: int) -> tuple[str, ...]:
    """Names of the integers, scale and zero point of a weight that is multiplied.

    Signed ones get a zero point too where a CPU multiplies them by tensor: a trained matrix reaches far on one side only (in MiniLM's, from −0.6
    to 7.9), and the second half of the range costs no time.
    """
    symmetric = scheme.weights == "s8" and (scheme.per_channel or scheme.activations == "s8" or axis == 0 or graph.symmetric)
    return _once(graph, weight, (scheme.weights, scheme.reduced), axis if scheme.per_channel else None, symmetric)


def table(graph: Graph, weight: str, scheme: Scheme) -> tuple[str, ...]:
    """The same of a weight that is looked up: nothing adds up, so all eight bits are used."""
    return _once(graph, weight, (scheme.weights, False), -1 if scheme.per_channel else None, symmetric=graph.symmetric)


def _once(graph: Graph, weight: str, kind: tuple[str, bool], axis: int | None, symmetric: bool) -> tuple[str, ...]:
    """Made once, whoever reads them, in every copy of the graph."""
    key = (weight, *map(str, (*kind, axis, symmetric)))
    if key not in graph.shared:
        small = eight(graph.array(weight), kind, axis, symmetric=symmetric)
        graph.shared[key] = tuple(graph.constant(f"{weight}_{part}", getattr(small, part)) for part in ("values", "scale", "zero"))
    return graph.shared[key]


def four(rows: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Rows in blocks of 32 along their length, the last one filled with zeros: nibbles [rows, blocks, 32] in 0 … 15, and scales [rows, blocks].

    The number of largest magnitude becomes −8, the end that reaches further:  scale = that / −8, q = round(w / scale) + 8.
    """
    count, width = rows.shape
    blocks = np.pad(rows, ((0, 0), (0, -width % BLOCK))).reshape(count, -1, BLOCK)
    furthest = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=-1, keepdims=True), axis=-1)
    scale = (furthest / -MIDDLE).astype(np.float32)  # [rows, blocks, 1]
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=np.abs(scale) > TINY)
    nibbles: NDArray[np.uint8] = np.clip(np.rint(blocks * inverse) + MIDDLE, 0, 2 * MIDDLE - 1).astype(np.uint8)
    return nibbles, scale[..., 0]


def packed(nibbles: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two nibbles a byte along the last dimension, the first one low."""
    return nibbles[..., 0::2] + np.uint8(16) * nibbles[..., 1::2]
