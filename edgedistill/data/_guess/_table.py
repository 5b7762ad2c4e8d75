"""A file's columns, and what each of them holds: read once, counted row by row."""

from __future__ import annotations

import json
import math
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgedistill.data._read import read
from edgedistill.data._record import Record
from edgedistill.data.images import SUFFIXES

LOOKED_AT = 1_000_000  # rows; seconds of reading, and enough to scale a training by
SAMPLE = 1_000  # rows that tell the shape of what is nested
CLASSES = 1_000  # more distinct values than this are no classes
MOST_TOKENS = 0xFFFF
BYTES_A_TOKEN = 4  # English words, three-byte scripts
BYTES_A_LISTED_TOKEN = 6  # quotes, commas and blanks between words are no tokens


@dataclass(slots=True)
class Column:
    """What one column held."""

    name: str
    filled: int = 0
    characters: int = 0
    spaced: int = 0
    nested: int = 0
    numeric: int = 0
    fractions: int = 0
    images: int = 0
    low: float = math.inf
    high: float = -math.inf
    values: Counter[str] = field(default_factory=Counter)
    many: bool = False
    tokens: array[int] = field(default_factory=lambda: array("H"))

    def add(self, value: str, row: int) -> None:
        """Take the value of one row, counted from 0, into account."""
        value = value.strip()
        self.tokens.extend([0] * (row - len(self.tokens)))
        listed = bool(value) and value[0] in "[{" and value[-1] in "]}"
        self.tokens.append(min(len(value.encode("utf-8", "replace")) // (BYTES_A_LISTED_TOKEN if listed else BYTES_A_TOKEN), MOST_TOKENS))
        if not value:
            return
        self.filled += 1
        self.characters += len(value)
        self.spaced += " " in value
        self.nested += listed
        self.images += value.lower().endswith(SUFFIXES)
        self._add_number(value)
        if not self.many:
            self.values[value] += 1
            self.many = len(self.values) > CLASSES

    def _add_number(self, value: str) -> None:
        number = number_in(value)
        if number is not None:
            self.numeric += 1
            self.fractions += bool(number % 1)
            self.low, self.high = min(self.low, number), max(self.high, number)

    @property
    def mean(self) -> float:
        """Characters of a value, on average."""
        return self.characters / max(self.filled, 1)

    @property
    def prose(self) -> bool:
        """Whether most values hold spaces; links and keys do not."""
        return self.flat and self.spaced > self.filled / 2

    @property
    def flat(self) -> bool:
        """Whether values are single: not JSON lists and objects."""
        return self.filled > 0 and self.nested <= self.filled / 2

    @property
    def pictures(self) -> bool:
        """Whether every value is the name of an image file."""
        return self.filled > 0 and self.images == self.filled

    @property
    def numbers(self) -> bool:
        """Whether every value is a number."""
        return self.filled > 0 and self.numeric == self.filled

    @property
    def measure(self) -> bool:
        """Whether these are numbers with fractions: something measured, not named."""
        return self.numbers and self.fractions > 0

    def __str__(self) -> str:
        held = f"more than {CLASSES:,}" if self.many else f"{len(self.values):,}"
        return f"{self.name!r}: {self.filled:,} filled, {held} distinct, {self.mean:.0f} characters on average"


@dataclass(frozen=True, slots=True)
class Table:
    """A file's columns in their order; `names` are the provisional ones of a file without a header. `sample` holds the first rows."""

    path: Path
    names: tuple[str, ...]
    rows: int
    columns: Mapping[str, Column]
    sample: tuple[Record, ...]

    def parts(self, name: str) -> list[Any]:
        """What the column's JSON lists hold in the sample; nothing where a value is no list."""
        found = []
        for record in self.sample:
            value = record.values.get(name, "").strip()
            parsed = listed(value) if value else []
            if parsed is None:
                return []
            found.append(parsed)
        return found


def survey(path: Path, names: tuple[str, ...]) -> Table:
    """Read the file, or as much of it as tells what it holds. Raises DataError as the reader does."""
    columns: dict[str, Column] = {}
    sample: list[Record] = []
    rows = 0
    for row, record in enumerate(read(path, columns=names)):
        rows = row + 1
        if row < SAMPLE:
            sample.append(record)
        for name, value in record.values.items():
            columns.setdefault(name, Column(name)).add(value, row)
        if rows == LOOKED_AT:
            break
    return Table(path, names, rows, columns, tuple(sample))


def number_in(value: str) -> float | None:
    """The finite number that a value is, if it is one."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def listed(value: str) -> list[Any] | None:
    """The JSON list that a value is, if it is one."""
    if not value.startswith("["):
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):  # brackets in a text; nested a thousand deep
        return None
    return found if isinstance(found, list) else None
