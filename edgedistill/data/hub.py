"""A data set of the Hugging Face hub, streamed at a revision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edgedistill import packages
from edgedistill.data._record import Record, class_names, typed
from edgedistill.errors import ConfigError

EXTENSIONS = ()  # `hub:OWNER/NAME` has none
UNIT = "row"


def parts(located: str) -> tuple[str, str | None]:
    """`hub:OWNER/NAME@REVISION` as its name and revision."""
    name, _, revision = located.removeprefix("hub:").partition("@")
    return name, revision or None


def records(path: Path | str, split: str) -> Iterator[Record]:
    """Each row of the split, downloaded as it is read."""
    datasets = packages.load("datasets", "reading from the hub")
    name, revision = parts(str(path))
    number = 0
    try:
        stream = datasets.load_dataset(name, revision=revision, split=split, streaming=True)
        features = stream.features or {}
        classes = class_names(features)
        for column in [column for column, kind in features.items() if type(kind).__name__ == "Image"]:
            stream = stream.cast_column(column, datasets.Image(decode=False))  # bytes as they lie: decoding is the task's
        for number, row in enumerate(stream, start=1):
            yield typed(number, row, classes)
    except Exception as error:  # no network, no such name, revision or split, a file that does not parse: `datasets` has no common class for them
        where = f"{path} row {number + 1}" if number else f"{path}"
        hint = "check the name, revision and split; without a network, name a file or a folder saved by `datasets`"
        raise ConfigError(f"{where}: {type(error).__name__}: {error}", hint=hint) from error
