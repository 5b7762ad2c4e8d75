"""Rows to calibrate with and rows to judge on, never the same: from the user's file, and drawn where it has too few.

.npz     one array for each input, the first axis counts samples        folder   of such files
.npy     one array, for a model of one input                            .jsonl   {"input": [...], ...} a line, or [...] for one input
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from numpy.typing import NDArray

from edgedistill.errors import DataError, Fault, nearest
from edgedistill.foreign.child import first_line
from edgedistill.foreign.inputs import Feeds, Input, draw

CALIBRATION = 64  # rows; ranges of activations settle with fewer
JUDGING_FROM = 1_000_000  # numbers of synthetic rows that judge: no row has two roles
OBJECTS = "Object arrays cannot be loaded"  # how numpy says it
MOST = 10  # faults that are told
CASTS = {("i", "u"), ("u", "i"), ("i", "f"), ("u", "f"), ("i", "b"), ("u", "b"), ("b", "i"), ("b", "u"), ("b", "f"), ("b", "b")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Rows by role; an int is the number of a synthetic one. `places` are those of the file's rows in it: calibration's, then judging's."""

    inputs: tuple[Input, ...]
    calibration: tuple[Feeds | int, ...]
    judging: tuple[Feeds | int, ...]
    places: tuple[int, ...]
    facts: Mapping[str, Any]

    def feed(self, row: Feeds | int) -> Feeds:
        """A row as the graph takes it."""
        return draw(self.inputs, row) if isinstance(row, int) else row


def gather(inputs: Sequence[Input], file: Path | None, count: int) -> Samples:
    """`count` judging rows and up to `CALIBRATION` others."""
    found = [] if file is None else read(file, inputs)
    kept = _different(found)
    rows = [found[at] for at in kept]
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
        "sentence": _sentence(len(found), len(rows), len(calibration), real, count),
    }
    places = tuple(kept[at] for at in order[: apart + count])
    return Samples(inputs=tuple(inputs), calibration=tuple(calibration), judging=tuple(judging), places=places, facts=facts)


def _sentence(found: int, rows: int, calibration: int, real: int, count: int) -> str:
    if not rows:
        return (
            f"SYNTHETIC: calibrated on {calibration} and judged on {count} made-up inputs, because no --calibration file was given; "
            "they say little about real ones"
        )
    few = f"the file has {found} row{'s' * (found != 1)}" + (f", {found - rows} of them repeats" if found > rows else "")
    topped = f", and on {count - real} SYNTHETIC ones, because {few}" if real < count else ""
    return f"calibrated on {calibration} row{'s' * (calibration != 1)} of the file, judged on {real} other{'s' * (real != 1)}{topped}"


def _different(rows: Sequence[Feeds]) -> list[int]:
    """Where each row is for the first time: the same one must not calibrate and judge."""
    found: dict[bytes, int] = {}
    for at, row in enumerate(rows):
        found.setdefault(sha256(b"".join(row[name].tobytes() for name in sorted(row))).digest(), at)
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


def not_taken(file: str, place: int, error: Exception) -> DataError:
    """That the model does not run on a row of the user's file."""
    hint = "every row must be one that the model takes: ids within its tables, no more places than it knows"
    return DataError(f"--calibration {file}: sample {place} (from 0): the model does not run on it: {first_line(error)}", hint)


def _rows(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    if file.suffix not in READERS:
        raise DataError(f"--calibration {file}: unknown ending '{file.suffix}'", hint=nearest(file.suffix, READERS))
    try:
        return READERS[file.suffix](file, inputs)
    except DataError as error:
        raise DataError(replace(fault, where=f"--calibration {file}: {fault.where}") for fault in error.faults) from error
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:  # what numpy and zipfile raise for files that are none
        raise DataError(f"--calibration {file}: {error}") from error


def _npz(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    if _is_array(file):
        raise ValueError("one bare array; name it .npy")
    if not is_zipfile(file):
        raise ValueError("it is not a .npz file, which numpy.savez(FILE, NAME=ARRAY, …) writes")
    arrays, faults = {}, []
    with np.load(file, allow_pickle=False) as document:
        for name in document.files:
            try:
                arrays[name] = _numbers(document[name])
            except ValueError as error:
                faults.append(_no_numbers(name, inputs, error))
    if faults:
        raise DataError(faults)
    return _split(arrays, inputs)


def _npy(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    if len(inputs) != 1:
        raise ValueError(f"one array, and the model takes {', '.join(one.name for one in inputs)}; save them as .npz")
    if not _is_array(file):
        raise ValueError("it is not a .npy file, which numpy.save(FILE, ARRAY) writes")
    try:
        return _split({inputs[0].name: _numbers(np.load(file, allow_pickle=False))}, inputs)
    except ValueError as error:
        if OBJECTS not in str(error):
            raise
        raise DataError([_no_numbers(inputs[0].name, inputs, error)]) from error


def _is_array(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX


def _numbers(found: Any) -> NDArray[Any]:
    """An array of a .npz. Raises ValueError for another kind of file in it."""
    if not isinstance(found, np.ndarray):
        raise ValueError("it is no array")
    return found


def _no_numbers(name: str, inputs: Sequence[Input], error: ValueError) -> Fault:
    """What is wrong with an array that numpy does not read."""
    if OBJECTS not in str(error):
        return Fault(f"'{name}'", str(error))
    wanted = next((one.dtype for one in inputs if one.name == name), "numbers")
    hint = "rows of different lengths make such an array: pad them, or write a .jsonl with one row a line"
    return Fault(f"'{name}'", f"its type is object, which only pickle reads; the graph takes {wanted}", hint)


def _jsonl(file: Path, inputs: Sequence[Input]) -> list[Feeds]:
    with file.open("rb") as stream:
        return _each((f"line {number}", partial(_row, line, inputs)) for number, line in enumerate(stream, 1) if line.strip())


def _row(line: bytes, inputs: Sequence[Input]) -> Feeds:
    """The row of a line of JSON."""
    try:
        values = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON: {error.msg} at column {error.colno}") from error
    row = {inputs[0].name: values} if isinstance(values, list) and len(inputs) == 1 else values
    if not isinstance(row, dict):
        raise ValueError(f"an object with {', '.join(one.name for one in inputs)} was expected")
    return _checked({name: _batched(_array(name, value), inputs, name) for name, value in row.items()}, inputs)


def _array(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"'{name}': its lists are of different lengths") from error


def _each(makers: Iterable[tuple[str, Callable[[], Feeds]]]) -> list[Feeds]:
    """The rows that are made. Raises DataError with the places of ten that cannot be, and how many more there are."""
    rows: list[Feeds] = []
    faults: list[Fault] = []
    for where, make in makers:
        try:
            rows.append(make())
        except DataError as error:
            faults += [replace(fault, where=f"{where}: {fault.where}") for fault in error.faults]
        except (ValueError, RecursionError) as error:  # the second: brackets nested a thousand deep
            faults.append(Fault(where, str(error)))
    if faults:
        more = [Fault("", f"and {len(faults) - MOST} more")] if len(faults) > MOST else []
        raise DataError(faults[:MOST] + more)
    return rows


def _batched(array: NDArray[Any], inputs: Sequence[Input], name: str) -> NDArray[Any]:
    """A sample without the axis of the batch gets it."""
    ranks = {one.name: len(one.shape) for one in inputs}
    return array[None] if array.ndim == ranks.get(name, array.ndim) - 1 else array


READERS: Mapping[str, Callable[[Path, Sequence[Input]], list[Feeds]]] = {".npz": _npz, ".npy": _npy, ".jsonl": _jsonl}


def _split(arrays: Mapping[str, NDArray[Any]], inputs: Sequence[Input]) -> list[Feeds]:
    """Arrays with samples on the first axis as rows: as many samples in each as a graph of a fixed batch takes."""
    _names(arrays, inputs)
    parts = {one.name: _parts(arrays[one.name], one) for one in inputs}
    counts = {name: len(found) for name, found in parts.items()}
    if len(set(counts.values())) > 1:
        raise ValueError(f"different numbers of samples: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    samples = ({name: found[at] for name, found in parts.items()} for at in range(next(iter(counts.values()))))
    return _each((f"sample {at}", partial(_checked, sample, inputs)) for at, sample in enumerate(samples))


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


def _checked(row: Mapping[str, NDArray[Any]], inputs: Sequence[Input]) -> Feeds:
    _names(row, inputs)
    return {one.name: _cast(row[one.name], one) for one in inputs}


def _cast(array: NDArray[Any], one: Input) -> NDArray[Any]:
    """The array in the input's type. Raises ValueError where it does not fit, or holds what is no number."""
    wanted = np.dtype(one.dtype)
    if array.dtype.kind != wanted.kind and (array.dtype.kind, wanted.kind) not in CASTS:
        raise ValueError(f"'{one.name}' is {array.dtype}, the graph takes {one.dtype}")
    fits = array.ndim == len(one.shape) and all(not isinstance(size, int) or size == have for size, have in zip(one.shape, array.shape, strict=True))
    if not fits or not array.size:
        raise ValueError(f"'{one.name}' has the shape {list(array.shape)}, the graph takes {list(one.shape)}")
    with np.errstate(over="ignore"):
        cast = array.astype(wanted)
    if wanted.kind in "iu" and not np.array_equal(cast, array):
        raise ValueError(f"'{one.name}' does not fit {one.dtype}")
    if wanted.kind == "f" and not np.isfinite(cast).all():
        raise ValueError(f"'{one.name}' holds NaN or infinity")
    return np.ascontiguousarray(cast)
