"""Which reader reads what: by the file's extension, or by what kind of place it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from inspect import signature
from itertools import islice
from pathlib import Path
from types import ModuleType

from edgedistill import plugins
from edgedistill.data._record import Record, shown
from edgedistill.errors import ConfigError, DataError, Fault, nearest

HEAD = 100  # rows that `columns` looks at: objects of a JSON file may leave keys out


def read(located: Path | str, *, split: str = "train", columns: Sequence[str] = ()) -> Iterator[Record]:
    """A stream of rows; `columns` names the columns of a file that has no header.

    Raises ConfigError at once where no reader fits; DataError on the way, and when there is no row.
    """
    module = reader(located)
    if not columns:
        return _not_empty(located, module.records(located, split))
    _check_names(located, module, columns)
    return _not_empty(located, module.records(located, split, tuple(columns)))


def columns(located: Path | str, split: str = "train", names: Sequence[str] = ()) -> list[str]:
    """The names of the columns, in their order; `names` are those of a file without a header."""
    head = islice(read(located, split=split, columns=names), HEAD)
    return list(dict.fromkeys(column for record in head for column in (*record.values, *record.blobs)))


def reader(located: Path | str) -> ModuleType:
    """The module that reads this place: the one that recognises it, else by its extension.

    An entry point `edgedistill.data` named `xlsx` reads .xlsx files.
    """
    if isinstance(located, str):
        return plugins.load("data", "hub")
    for name in plugins.names("data"):
        module = plugins.load("data", name)
        if hasattr(module, "recognises") and module.recognises(located):
            return module
    if located.is_dir():
        raise _unknown_folder(located)
    known = extensions()
    extension = extension_of(located)
    try:
        return plugins.load("data", known.get(extension, extension.removeprefix(".") or "?"))
    except ConfigError as error:
        raise ConfigError(f"{shown(located)}: no reader for '{extension}'", hint=nearest(extension, known)) from error


def _check_names(located: Path | str, module: ModuleType, columns: Sequence[str]) -> None:
    if "columns" not in signature(module.records).parameters:
        what = f"{shown(located)}: this format names its columns itself, but `columns` is given"
        raise ConfigError(what, hint="take `columns` out of the recipe; it is for files without a header")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or not all(name.strip() for name in columns):
        what = f"names {', '.join(map(repr, twice))} twice" if twice else "holds an empty name"
        raise ConfigError(f"{shown(located)}: `columns` {what}", hint="one name for each column of the file, in their order")


def _unknown_folder(folder: Path) -> ConfigError:
    files = sorted(file.name for file in folder.iterdir() if file.is_file())[:8]
    what = f"{shown(folder)}: not a folder saved by `datasets`, and not one that has a folder of images for each class"
    return ConfigError(what, hint=f"name a file in it: {', '.join(files) or 'it holds none'}")


def extension_of(path: Path) -> str:
    """`.csv` of `train.csv.gz`."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def extensions() -> dict[str, str]:
    """The name of the reader for each extension."""
    return {extension: name for name in plugins.names("data") for extension in plugins.load("data", name).EXTENSIONS}


def _not_empty(located: Path | str, records: Iterator[Record]) -> Iterator[Record]:
    record = None
    for record in records:
        yield record
    if record is None:
        blank = isinstance(located, Path) and located.is_file() and located.stat().st_size == 0
        raise DataError([Fault(shown(located), "the file is empty" if blank else "it holds no rows")])
