"""Which reader reads what: by the file's extension, or by what kind of place it is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

from edgedistill import plugins
from edgedistill.data._record import Record, shown
from edgedistill.errors import ConfigError, DataError, Fault, nearest

HEAD = 100  # rows that `columns` looks at: objects of a JSON file may leave keys out


def read(located: Path | str, *, split: str = "train") -> Iterator[Record]:
    """A stream of rows. Raises ConfigError at once where no reader fits; DataError on the way, and when there is no row."""
    return _not_empty(located, reader(located).records(located, split))


def columns(located: Path | str, split: str = "train") -> list[str]:
    """The names of the columns, in their order."""
    head = islice(read(located, split=split), HEAD)
    return list(dict.fromkeys(column for record in head for column in record.values))


def reader(located: Path | str) -> ModuleType:
    """The module that reads this place. An entry point `edgedistill.data` named `xlsx` reads .xlsx files."""
    if isinstance(located, str):
        return plugins.load("data", "hub")
    if located.is_dir():
        return plugins.load("data", "saved")
    known = extensions()
    extension = extension_of(located)
    try:
        return plugins.load("data", known.get(extension, extension.removeprefix(".") or "?"))
    except ConfigError as error:
        raise ConfigError(f"{shown(located)}: no reader for '{extension}'", hint=nearest(extension, known)) from error


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
