"""Whether a file's first line names its columns, or is a row already."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from edgedistill.data import csv, txt
from edgedistill.data._faults import Faults
from edgedistill.data._guess._names import is_known
from edgedistill.data._guess._table import listed, number_in
from edgedistill.data._read import read, reader
from edgedistill.data._record import shown
from edgedistill.data._text import lines
from edgedistill.data.images import SUFFIXES
from edgedistill.errors import ConfigError

LOOKED_AT = 1_000  # rows
MARK = re.compile(r"-?\d+(\.\d+)?|__label__\S+")  # what opens the lines of a text file of labelled rows
NUMBERS = 0.9  # share of a column's values


def provisional(path: Path) -> tuple[str, ...]:
    """A name for each column of a file that has no header, () where it has one or needs none.

    Raises ConfigError where a text file holds a table with a header.
    """
    module = reader(path)
    if module is csv:
        first = csv.first_row(path)
        names = _numbered(len(first))
        rows = [[record.values[name] for name in names] for record in islice(read(path, columns=names), 1, LOOKED_AT)] if len(names) > 1 else []
        return names if _is_row([field.strip() for field in first], rows) else ()
    return _of_text(path) if module is txt else ()


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"column {number}" for number in range(1, count + 1))


def _is_row(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line is like those below: a number over numbers, a list over lists, an image over images, a label that comes again."""
    if any(is_known(cell) for cell in first):
        return False
    return any(_is_like(cell, [row[place].strip() for row in rows if row[place].strip()]) for place, cell in enumerate(first) if cell)


def _is_like(cell: str, below: Sequence[str]) -> bool:
    if not below:
        return False
    if number_in(cell) is not None or listed(cell) is not None:
        kind = number_in if number_in(cell) is not None else listed
        return sum(kind(value) is not None for value in below) >= NUMBERS * len(below) or cell in below
    if cell.lower().endswith(SUFFIXES):
        return True
    return len(Counter(below)) <= max(2, len(below) / 2) and cell in below


def _of_text(path: Path) -> tuple[str, ...]:
    """Names for the parts of lines: at tabs where all lines have as many, else a label and the text behind it."""
    faults = Faults(path)
    head = [line.rstrip("\r\n") for line in islice((line for line in lines(path, faults) if line.strip()), LOOKED_AT)]
    faults.settle()
    tabs = {line.count("\t") for line in head}
    if len(tabs) == 1 and tabs != {0}:
        if any(is_known(cell) for cell in head[0].split("\t")):
            raise ConfigError(f"{shown(path)}: a table with a header in a .txt file", hint=f"mv {shown(path)} {shown(path.with_suffix('.tsv'))}")
        return _numbered(tabs.pop() + 1)
    marks = Counter(line.split(None, 1)[0] for line in head)
    labelled = all(MARK.fullmatch(mark) for mark in marks) and all(len(line.split(None, 1)) == 2 for line in head)
    return _numbered(2) if labelled and len(marks) <= max(2, len(head) / 2) else ()
