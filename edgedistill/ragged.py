"""Arrays of different shapes in one file: what the teacher said of each example, and what a model decided.

    values [Σ u · k], shapes [n, 2] = (u, c), for n arrays of u answers over c classes

A class costs two bytes, a row eight more. Over a vocabulary only the `TOP` likeliest are kept (k = TOP < c): their numbers in `ids`, their
logits, and in `rest` [Σ u] the logarithm of the mass of all others, which a reader spreads evenly. Leaving the tail out would tell the
student that everything else is impossible (Anshumann et al. 2025, arXiv:2503.16870, measure that bias).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP = 64
WIDE = 1024  # classes beyond which only the likeliest are kept
CLOSED = -1e4  # the logit of a class that a row does not have: no probability, and still a number


@dataclass(frozen=True, slots=True, kw_only=True)
class Ragged:
    """n arrays [u, c], made whole when they are asked for."""

    values: NDArray[Any]
    shapes: NDArray[np.int32]
    starts: NDArray[np.int64]
    ids: NDArray[np.int32] | None = None
    rest: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.shapes)

    def __getitem__(self, index: int) -> NDArray[Any]:
        count, classes = (int(size) for size in self.shapes[index])
        start = int(self.starts[index])
        if self.ids is None or self.rest is None:
            return self.values[start : start + count * classes].reshape(count, classes)
        kept = slice(start, start + count * TOP)
        whole = np.empty((count, classes), np.float32)
        whole[:] = (self.rest[start // TOP : start // TOP + count] - np.log(classes - TOP))[:, None]
        np.put_along_axis(
            whole, self.ids[kept].reshape(count, TOP).astype(np.int64), self.values[kept].reshape(count, TOP).astype(np.float32), axis=1
        )
        return whole

    def is_finite(self) -> bool:
        """Whether every value is a number."""
        return bool(np.isfinite(self.values).all())


def save(file: Path, arrays: Sequence[NDArray[Any]], dtype: Any = np.float32, *, vocabulary: bool = False) -> None:
    """Write arrays [u, c] (one-dimensional ones count as [1, c]); logits over a `vocabulary` keep their `TOP` likeliest classes."""
    whole = [array[None] if array.ndim == 1 else array for array in arrays]
    shapes = np.array([array.shape for array in whole], np.int32).reshape(-1, 2)
    parts: dict[str, NDArray[Any]] = {"shapes": shapes}
    if vocabulary and len(whole) and min(array.shape[1] for array in whole) > WIDE:
        kept = [_likeliest(array) for array in whole]
        parts["ids"] = np.concatenate([ids.ravel() for ids, _, _ in kept])
        parts["rest"] = np.concatenate([rest for _, _, rest in kept])
        parts["values"] = np.concatenate([values.ravel() for _, values, _ in kept]).astype(dtype)
    else:
        parts["values"] = np.concatenate([array.ravel() for array in whole]).astype(dtype) if len(whole) else np.zeros(0, dtype)
    with file.open("wb") as stream:
        np.savez(stream, **parts)  # type: ignore[arg-type]


def _likeliest(array: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.float32]]:
    wide = array.astype(np.float64)
    ids = np.argpartition(-wide, TOP, axis=1)[:, :TOP]
    values = np.take_along_axis(wide, ids, axis=1)
    top = wide.max(axis=1, initial=-np.inf)
    np.put_along_axis(wide, ids, -np.inf, axis=1)
    rest = top + np.log(np.exp(wide - top[:, None]).sum(axis=1).clip(min=1e-30))
    return ids.astype(np.int32), values.astype(np.float32), rest.astype(np.float32)


def load(*files: Path) -> Ragged:
    """The arrays of one file, or of several as if they were one."""
    parts = []
    for file in files:
        with np.load(file) as found:
            parts.append({name: found[name] for name in found.files})
    shapes = np.concatenate([part["shapes"] for part in parts])
    sparse = all("ids" in part for part in parts if len(part["shapes"])) and any("ids" in part for part in parts)
    sizes = shapes[:, 0].astype(np.int64) * (TOP if sparse else shapes[:, 1])
    whole = {name: np.concatenate([part[name] for part in parts if name in part]) for name in ("values", *(("ids", "rest") if sparse else ()))}
    return Ragged(shapes=shapes, starts=np.concatenate([[0], np.cumsum(sizes)])[:-1], **whole)


def cut(task: Any, raw: NDArray[Any], rows: Sequence[Any]) -> Iterator[NDArray[Any]]:
    """A batch's raw answer [b, …] as one array [answers, classes] for each row."""
    picked, at = task.pick(raw, task.picks(rows)), 0
    for row in rows:
        count, classes = task.shape(row)
        yield picked[at : at + count, :classes]
        at += count


def joined(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Arrays [n_i, c_i] as one [Σ n_i, max c_i]; classes that a row does not have are closed."""
    widest = max(array.shape[1] for array in arrays)
    if all(array.shape[1] == widest for array in arrays):
        return np.concatenate(arrays)
    return np.concatenate([np.pad(array, ((0, 0), (0, widest - array.shape[1])), constant_values=CLOSED) for array in arrays])
