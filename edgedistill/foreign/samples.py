"""Rows to calibrate with and rows to judge on, never the same: from the user's file, and drawn where it has too few.

.npz     one array for each input, the first axis counts samples        folder   of such files
.npy     one array, for a model of one input                            .jsonl   {"input": [...], ...} a line, or [...] for one input
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import DataError, Fault, nearest
from edgedistill.foreign.inputs import Feeds, Input, draw

CALIBRATION = 64  # rows; ranges of activations settle with fewer
JUDGING_FROM = 1_000_000  # numbers of synthetic rows that judge: no row has two roles
CASTS = {("i", "u"), ("u", "i"), ("i", "f"), ("u", "f"), ("i", "b"), ("u", "b"), ("b", "i"), ("b", "u"), ("b", "f"), ("b", "b")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Rows by role; an int is the number of a synthetic one. `sentence` says where they are from."""

    inputs: tuple[Input, ...]
    calibration: tuple[Feeds | int, ...]
    judging: tuple[Feeds | int, ...]
    facts: Mapping[str, Any]

    def feed(self, row: Feeds | int) -> Feeds:
        """A row as the graph takes it."""
        return draw(self.inputs, row) if isinstance(row, int) else row


def gather(inputs: Sequence[Input], file: Path | None, count: int) -> Samples:
    """`count` judging rows and up to `CALIBRATION` others."""
    rows = [] if file is None else _different(read(file, inputs))
    if rows:
        inputs = [replace(one, sizes=rows[0][one.name].shape) for one in inputs]
    order = np.random.default_rng(0).permutation(len(rows))
    apart = min(CALIBRATION, -(-len(rows) // 4))
    calibration: list[Feeds | int] = [rows[at] for at in order[:apart]] or list(range(CALIBRATION))
    judging: list[Feeds | int] = [rows[at] for at in order[apart : apart + count]]
    real = len(judging)
    judging += range(JUDGING_FROM, JUDGING_FROM + count - real)
    facts = {
        "source": "file" if rows else "synthetic",
        "calibration_rows": len(calibration),
        "judged_from_file": real,
        "judged_synthetic": count - real,
        "sentence": _sentence(len(rows), len(calibration), real, count),
    }
    return Samples(inputs=tuple(inputs), calibration=tuple(calibration), judging=tuple(judging), facts=facts)


def _sentence(rows: int, calibration: int, real: int, count: int) -> str:
    if not rows:
        return (
            f"SYNTHETIC: calibrated on {calibration} and judged on {count} made-up inputs, because no --calibration file was given; "
            "they say little about real ones"
        )
    topped = f", and on {count - real} SYNTHETIC ones, because the file has too few" if real < count else ""
    return f"calibrated on {calibration} rows of the file, judged on {real} others{topped}"


def _different(rows: Sequence[Feeds]) -> list[Feeds]:
    """Each row once: the same one must not calibrate and judge."""
    found = {sha256(b"".join(row[name].tobytes() for name in sorted(row))).digest(): row for row in rows}
    return list(found.values())


def read(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    """The rows of a file or a folder, checked. Raises DataError with what is wrong in which array."""
    files = sorted(file.glob("*.npz")) if file.is_dir() else [file]
    if not files or not all(one.is_file() for one in files):
        raise DataError(f"--calibration {file}: {'no .npz file is in the folder' if file.is_dir() else 'there is no such file'}")
    rows = [row for one in files for row in _rows(one, inputs)]
    if not rows:
        raise DataError(f"--calibration {file}: it has no rows")
    return rows


def _rows(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    if file.suffix not in READERS:
        raise DataError(f"--calibration {file}: unknown ending '{file.suffix}'", hint=nearest(file.suffix, READERS))
    try:
        found = list(READERS[file.suffix](file, inputs))
    except (OSError, ValueError, EOFError, KeyError) as error:  # what numpy and json raise for files that are none
        raise DataError(f"--calibration {file}: {error}") from error
    return found


def _npz(file: Path, inputs: Sequence[Input]) -> Iterator[Feeds]:
    with np.load(file, allow_pickle=False) as document:
        if isinstance(document, np.ndarray):
            raise ValueError("one bare array; name it .npy")
        yield from _split({name: document[name] for name in document.files}, inputs)


def _npy(file: Path, inputs: Sequence[Input]) -> Iterator[Feeds]:
    array = np.load(file, allow_pickle=False)
    if len(inputs) != 1 or not isinstance(array, np.ndarray):
        raise ValueError(f"one array, and the model takes {', '.join(one.name for one in inputs)}; save them as .npz")
    yield from _split({inputs[0].name: array}, inputs)


def _jsonl(file: Path, inputs: Sequence[Input]) -> Iterator[Feeds]:
    with file.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            values = json.loads(line)
            row = {inputs[0].name: values} if isinstance(values, list) and len(inputs) == 1 else values
            if not isinstance(row, dict):
                raise ValueError(f"line {number}: an object with {', '.join(one.name for one in inputs)} was expected")
            arrays = {name: np.asarray(value) for name, value in row.items()}
            yield from _checked({name: _batched(array, inputs, name) for name, array in arrays.items()}, inputs, f"line {number}")


def _batched(array: NDArray[Any], inputs: Sequence[Input], name: str) -> NDArray[Any]:
    """A sample without the axis of the batch gets it."""
    ranks = {one.name: len(one.shape) for one in inputs}
    return array[None] if array.ndim == ranks.get(name, array.ndim) - 1 else array


READERS: Mapping[str, Callable[[Path, Sequence[Input]], Iterator[Feeds]]] = {".npz": _npz, ".npy": _npy, ".jsonl": _jsonl}


def _split(arrays: Mapping[str, NDArray[Any]], inputs: Sequence[Input]) -> Iterator[Feeds]:
    """Arrays with samples on the first axis as rows: as many samples in each as a graph of a fixed batch takes."""
    _names(arrays, inputs)
    parts = {one.name: _parts(arrays[one.name], one) for one in inputs}
    counts = {name: len(found) for name, found in parts.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"different numbers of samples: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    for at in range(next(iter(counts.values()))):
        yield from _checked({name: found[at] for name, found in parts.items()}, inputs, f"sample {at}")


def _parts(array: NDArray[Any], one: Input) -> list[NDArray[Any]]:
    if array.ndim == len(one.shape) + 1:
        return list(array)
    if array.ndim != len(one.shape):
        raise ValueError(f"'{one.name}' has the shape {list(array.shape)}, the graph takes {list(one.shape)}")
    batch = one.shape[0] if one.shape and isinstance(one.shape[0], int) else 1
    return [array[at : at + batch] for at in range(0, len(array) - batch + 1, batch)]


def _names(arrays: Mapping[str, Any], inputs: Sequence[Input]) -> None:
    known = [one.name for one in inputs]
    faults = [Fault(f"'{name}'", "the model has no such input", nearest(name, known)) for name in arrays.keys() - set(known)]
    faults += [Fault(f"'{name}'", "is missing") for name in known if name not in arrays]
    if faults:
        raise DataError(faults)


def _checked(row: Mapping[str, NDArray[Any]], inputs: Sequence[Input], where: str) -> Iterator[Feeds]:
    _names(row, inputs)
    yield {one.name: _cast(row[one.name], one, where) for one in inputs}


def _cast(array: NDArray[Any], one: Input, where: str) -> NDArray[Any]:
    """The array in the input's type. Raises ValueError where it does not fit, or holds what is no number."""
    wanted = np.dtype(one.dtype)
    if array.dtype.kind != wanted.kind and (array.dtype.kind, wanted.kind) not in CASTS:
        raise ValueError(f"{where}: '{one.name}' is {array.dtype}, the graph takes {one.dtype}")
    fits = array.ndim == len(one.shape) and all(not isinstance(size, int) or size == have for size, have in zip(one.shape, array.shape, strict=True))
    if not fits or not array.size:
        raise ValueError(f"{where}: '{one.name}' has the shape {list(array.shape)}, the graph takes {list(one.shape)}")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(cast, array):
        raise ValueError(f"{where}: '{one.name}' does not fit {one.dtype}")
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise ValueError(f"{where}: '{one.name}' holds NaN or infinity")
    return np.ascontiguousarray(cast)
