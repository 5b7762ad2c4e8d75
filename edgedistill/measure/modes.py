"""How long a model runs, in how many processes, with how many threads, at which batch and shape: from a mode and a job to the jobs to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.errors import ConfigError

Job = Mapping[str, Any]
Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Mode:
    """At least so many samples and so many seconds of each subject, over all of its processes; both must be reached.

    Source: MLPerf Mobile's pairs of a least number of queries and a least duration (Janapa Reddi and others 2022, arXiv:2012.02328); `full`
    has its 1024 and 60 s. Eight processes: what an interval of nine in ten asks for where the machine is busy (`trust.interval`).
    `minute_s` is what the first and last minute of a sustained run are; 0: they are not compared.

    Where the machine is slow or has fewer cores than threads, that may never be reached. So a subject's runs, warm-ups included, take at most
    `most_s` seconds, each process its share, and whole passes over the rows; and no process takes more than `last_s` in all.
    """

    min_runs: int
    min_s: float
    processes: int = 8
    minute_s: float = 0.0
    most_s: float = 1800.0
    last_s: float = 7200.0


MODES: Mapping[str, Mode] = {
    "smoke": Mode(64, 6.0, most_s=120.0, last_s=900.0),
    "quick": Mode(128, 10.0, most_s=240.0, last_s=900.0),
    "full": Mode(1024, 60.0, most_s=1200.0, last_s=3600.0),
    "sustained": Mode(1024, 600.0, processes=1, minute_s=60.0),
}


def pace(mode: Mode) -> dict[str, Any]:
    """What a job says of a mode: each process does its share."""
    return {"min_runs": -(-mode.min_runs // mode.processes), "min_s": mode.min_s / mode.processes, "max_s": mode.most_s / mode.processes / 2}


def swept(job: Job, *, threads: Sequence[int], batches: Sequence[int] = (1,)) -> list[Job]:
    """The job for every number of threads and every batch, in that order. The golden answers stay those of single rows, and stay checked."""
    return [
        {**job, "threads": thread, **({"timed": [batched(one, batch) for one in job["feeds"]]} if batch > 1 else {})}
        for thread in threads
        for batch in batches
    ]


def batched(feed: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """A row so many times along its first axis; a number without axes stays one."""
    arrays = {name: _array(tensor) for name, tensor in feed.items()}
    return {name: {**feed[name], "values": np.concatenate([array] * batch) if array.ndim else array} for name, array in arrays.items()}


def shaped(job: Job, shapes: Shapes) -> Job:
    """The job with its first row in stated shapes, its values again and again: what is fed is of the data's kind, and what it costs is the shape's.

    Inputs of the row that have the shape of a stated one go along with it: a mask is as long as its ids.

    Raises ConfigError naming the inputs where there is no such one, or its number of axes differs.
    """
    row = job["feeds"][0]
    for name, shape in shapes.items():
        if name not in row:
            raise ConfigError(f"--shape {name}: there is no such input", hint=f"the inputs are: {', '.join(sorted(row))}")
        if len(shape) != _array(row[name]).ndim:
            raise ConfigError(
                f"--shape {name}={_listed(shape)}: the input has {_array(row[name]).ndim} axes, as in {_listed(_array(row[name]).shape)}"
            )
    arrays = {name: _array(tensor) for name, tensor in row.items()}
    alike = {arrays[name].shape: shape for name, shape in shapes.items()}
    filled = {name: {**row[name], "values": _filled(array, shapes.get(name) or alike.get(array.shape))} for name, array in arrays.items()}
    return {**job, "timed": [filled]}


def _array(tensor: Mapping[str, Any]) -> NDArray[Any]:
    return np.asarray(tensor["values"], tensor["dtype"])


def _filled(array: NDArray[Any], shape: Sequence[int] | None) -> NDArray[Any]:
    """Each axis cut, or its entries again from the first on."""
    for axis, size in enumerate(shape or ()):
        array = np.take(array, np.arange(size), axis=axis, mode="wrap")
    return array


def _listed(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))
