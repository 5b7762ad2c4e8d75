"""One row on its way out of a file, and how its values become strings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the 1-based number of the line it starts on (of the row, in formats without lines), and its values by column.

    `blobs` holds what is no text, by column: an encoded image. Such a column may be in `values` too: with the file's name.
    """

    line: int
    values: Mapping[str, str]
    blobs: Mapping[str, bytes] = field(default_factory=dict)


def typed(number: int, row: Mapping[str, object], classes: Mapping[str, Sequence[str]]) -> Record:
    """A row of a format with types: what is no text, alone or as `datasets` writes images ({bytes, path}), becomes a blob."""
    blobs: dict[str, bytes] = {}
    values: dict[str, object] = {}
    for column, value in row.items():
        content, value = _parted(value)
        if content is not None:
            blobs[str(column)] = content
        values[column] = value
    return Record(number, strings(values, classes), blobs)


def _parted(value: object) -> tuple[bytes | None, object]:
    """The blob in a value, if it has one, and what remains to be written as text."""
    if isinstance(value, dict) and value.keys() == {"bytes", "path"}:
        return value["bytes"] or None, value["path"]
    if isinstance(value, bytes) and not _is_text(value):
        return value, ""
    return None, value


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def strings(row: Mapping[str, object], classes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A row as strings; an integer of a column in `classes` becomes the class's name."""
    return {str(column): named(value, classes[column]) if column in classes else string(value) for column, value in row.items()}


def string(value: object) -> str:
    """A value as a person would write it in a csv file: nothing for None and NaN, JSON for what has parts."""
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN, which pandas writes for missing, is the value that differs from itself
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, bool | list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def named(value: object, names: Sequence[str]) -> str:
    """The name of a class number, or of each in a list; nothing for -1, which `datasets` writes for hidden labels.

    Raises ValueError beyond the last class.
    """
    if isinstance(value, list):
        return string([named(one, names) for one in value])
    if not isinstance(value, int):
        return string(value)
    if value >= len(names):
        raise ValueError(f"class number {value}, but only {len(names)} classes have names")
    return names[value] if value >= 0 else ""


def class_names(features: Mapping[str, object]) -> dict[str, Sequence[str]]:
    """The names of the classes, by column, of the features of `datasets`: of class numbers, alone or in lists such as a sentence's tags."""
    inner = {column: getattr(feature, "feature", feature) for column, feature in features.items()}
    return {column: feature.names for column, feature in inner.items() if type(feature).__name__ == "ClassLabel"}  # type: ignore[attr-defined]


def shown(located: Path | str) -> str:
    """A place as short as it can be said: relative to where the user stands, if it is below."""
    path = Path(located)
    return str(path.relative_to(Path.cwd())) if isinstance(located, Path) and path.is_relative_to(Path.cwd()) else str(located)
