"""A folder that `datasets` saved: one data set, or a dictionary of splits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedistill import packages
from edgedistill.data._record import Record, class_names, shown, typed
from edgedistill.errors import ConfigError, DataError, Fault, nearest

EXTENSIONS = ()  # a folder has none
UNIT = "row"
MARKS = ("dataset_dict.json", "state.json")
BATCH = 1024


def is_saved(folder: Path) -> bool:
    """Whether `datasets` saved this folder."""
    return any((folder / mark).is_file() for mark in MARKS)


def recognises(path: Path) -> bool:
    """Whether this is such a folder."""
    return path.is_dir() and is_saved(path)


def records(path: Path, split: str) -> Iterator[Record]:
    """Each row of the split; a folder that is no dictionary of splits has one."""
    chosen = _chosen(path, split)
    classes = class_names(chosen.features)
    number = 0
    try:
        for table in chosen.with_format("arrow").iter(BATCH):  # arrow: values as they lie, no image or audio is decoded
            for number, row in enumerate(table.to_pylist(), start=number + 1):  # noqa: B020  counts on over batches
                yield typed(number, row, classes)
    except (OSError, ValueError) as error:  # damaged files, as pyarrow says it; a class without a name
        raise DataError([Fault(f"{shown(path)} row {number + 1}", f"cannot be read: {error}")]) from error


def _chosen(path: Path, split: str) -> Any:
    datasets = packages.load("datasets", "reading a folder saved by `datasets`")
    try:
        whole = datasets.load_from_disk(str(path))
    except Exception as error:  # a missing or damaged arrow file or JSON: any of OSError, ValueError, KeyError, TypeError, pyarrow's own
        raise DataError(f"{shown(path)}: cannot be read: {error}") from error
    if not isinstance(whole, dict):
        return whole
    if split not in whole:
        raise ConfigError(f"{shown(path)}: no split '{split}'", hint=nearest(split, whole))
    return whole[split]
